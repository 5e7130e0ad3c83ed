"""A report as HTML: a fragment for notebooks, and a page that needs nothing from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from nornir_stack.show import began, closing, effect_count, sections
from nornir_stack.show_values import value_rows
from nornir_stack.words import count_words, elapsed, mark_of, word_of

if TYPE_CHECKING:
    from nornir_stack.results import Report, StageReport

_STYLE = """
.nornir-stack { --ink: #1c2026; --dim: #5b6470; --line: #d9dde3; --card: #f6f7f9; --good: #18703a; --change: #8a5a00;
  --bad: #b3211f; --odd: #7a3d99; --paper: #ffffff; color: var(--ink); background: var(--paper); padding: 1rem 1.2rem;
  font: 15px/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .nornir-stack { --ink: #e6e8eb; --dim: #a0a8b3; --line: #3a4049; --card: #22262c;
  --paper: #15181c;
  --good: #6fcf8f; --change: #e6b450; --bad: #ff8a80; --odd: #d3a4ec; } }
.nornir-stack h1 { font-size: 1.35rem; margin: 0; }
.nornir-stack h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
.nornir-stack p { margin: .2rem 0; }
.nornir-stack .dim { color: var(--dim); }
.nornir-stack .closing { margin: .6rem 0 1rem; font-size: 1.05rem; font-weight: 600; }
.nornir-stack .scroll { overflow-x: auto; }
.nornir-stack table { border-collapse: collapse; text-align: left; font-size: inherit; color: inherit; }
.nornir-stack th, .nornir-stack td { padding: .3rem 1.4rem .3rem 0; border: 0; border-bottom: 1px solid var(--line);
  vertical-align: top; text-align: left; background: none; }
.nornir-stack thead th { color: var(--dim); font-weight: 600; font-size: .85rem; }
.nornir-stack tbody th { font-weight: 500; }
.nornir-stack .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.nornir-stack .status { white-space: nowrap; }
.nornir-stack .ok { color: var(--good); } .nornir-stack .changed { color: var(--change); }
.nornir-stack .failed, .nornir-stack .unreachable, .nornir-stack .timed-out, .nornir-stack .cancelled,
.nornir-stack .not-reached { color: var(--bad); } .nornir-stack .unknown { color: var(--odd); }
.nornir-stack .skipped { color: var(--dim); }
.nornir-stack ul { margin: 0; padding-left: 1.2rem; }
.nornir-stack li { margin: .2rem 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.nornir-stack code, .nornir-stack pre { font: .9em/1.45 ui-monospace, monospace; background: none; color: inherit; }
.nornir-stack pre { margin: .3rem 0 .8rem; padding: .6rem .8rem; background: var(--card); border-radius: 6px;
  overflow-x: auto; }
.nornir-stack pre span { display: block; }
.nornir-stack .plus { color: var(--good); } .nornir-stack .minus { color: var(--bad); }
"""

_FRAGMENT = """<section class="nornir-stack" aria-label="report of {{ report.chain }}"><style>{{ style }}</style>
<h1>{{ report.chain }}</h1>
<p class="dim">{{ "dry run" if report.dry_run else "run" }} {{ report.run }}, begun {{ began }}</p>
<p class="closing {{ verdict }}">{{ closing }}</p>
{% if report.stages %}<div class="scroll"><table>
<thead><tr><th scope="col">stage</th><th scope="col">status</th><th scope="col">hosts</th>
<th scope="col" class="number">{{ "pending" if report.dry_run else "changed" }}</th>
<th scope="col" class="number">time</th></tr></thead>
<tbody>{% for stage in stages %}<tr><th scope="row">{{ stage.name }}</th>
<td class="status {{ stage.kind }}"><span aria-hidden="true">{{ stage.mark }}</span> {{ stage.status }}</td>
<td>{{ stage.hosts }}</td>
<td class="number">{{ stage.effects or "" }}</td><td class="number">{{ stage.time }}</td></tr>
{% endfor %}</tbody></table></div>{% endif %}
{% for title, lines in sections %}<h2>{{ title }}</h2><ul>{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ul>
{% endfor %}
{% if effects %}<h2>{{ "Would change" if report.dry_run else "Changed" }}</h2>
{% for effect in effects %}<p><strong>{{ effect.host }}</strong> <span class="dim">{{ effect.where }}</span></p>
<ul>{% for what in effect.whats %}<li><code>{{ what }}</code></li>{% endfor %}</ul>
{% if effect.diff %}<pre tabindex="0" aria-label="diff">{% for kind, line in effect.diff -%}
<span class="{{ kind }}">{{ line }}</span>{% endfor %}</pre>
{% endif %}{% endfor %}{% endif %}
{% if values %}<h2>Seen at the end</h2><div class="scroll"><table>
<thead><tr><th scope="col">what</th><th scope="col">hosts</th><th scope="col">value</th></tr></thead>
<tbody>{% for field, text, hosts in values %}<tr><th scope="row">{{ field }}</th><td>{{ hosts }}</td><td>{{ text }}</td></tr>
{% endfor %}</tbody></table></div>{% endif %}
</section>"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{ chain }}: {{ closing }}</title>
<style>body { margin: 1rem auto; max-width: 68rem; background: #ffffff; }
@media (prefers-color-scheme: dark) { body { background: #15181c; } }</style></head>
<body><main>{{ fragment }}</main></body></html>
"""


def page(report: Report) -> str:
    """A whole page, self-contained."""
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    whole = _environment().from_string(_PAGE)
    title = closing(report).plain.partition(": ")[2]
    return whole.render(chain=report.chain, closing=title, fragment=Markup(fragment(report)))  # noqa: S704  escaped there


def fragment(report: Report) -> str:
    """What a notebook shows; every text in it is escaped."""
    template = _environment().from_string(_FRAGMENT)
    return template.render(
        report=report,
        style=_STYLE,
        began=began(report),
        closing=closing(report).plain.partition(": ")[2],
        verdict="failed" if not report.ok else "changed" if report.changed else "ok",
        stages=[_stage(stage, dry_run=report.dry_run) for stage in report.stages],
        sections=[(title, [line.plain for line in lines]) for title, lines in sections(report) if lines],
        effects=_effects(report),
        values=value_rows(report),
    )


def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined)


def _stage(stage: StageReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": str(stage.status).replace(" ", "-"),
        "mark": mark_of(stage.status, "utf-8"),
        "status": word_of(stage.status, dry_run=dry_run),
        "hosts": count_words([host.status for host in stage.hosts], dry_run=dry_run) or "none",
        "effects": effect_count(stage),
        "time": elapsed(stage.duration) if stage.duration else "",
    }


def _effects(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "host": host.host,
            "where": f"{stage.name}, {task.task}",
            "whats": task.effects or ("(it does not say what)",),
            "diff": [(_kind(line), line) for line in task.diff.rstrip("\n").split("\n")] if task.diff else [],
        }
        for stage in report.stages
        for host in stage.hosts
        for task in host.tasks
        if task.changed
    ]


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "head"
    return "plus" if line.startswith("+") else "minus" if line.startswith("-") else "dim"
