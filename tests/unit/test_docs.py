"""README and docs: every Python snippet runs, every command line of nornir-stack is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import catalogue
from nornir_stack.cli.main import main
from nornir_stack.cli.parser import build

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NOTEBOOK = ROOT / "docs" / "notebook.md"
_FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^ {4}(nornir-stack [^`\n#>]+)", re.MULTILINE)
_MENTION = re.compile(r"`nornir-stack ([a-z]+)[^`]*`")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]+))?\)")
_NAME = re.compile(r"`([a-z0-9]+\.[a-z0-9_]+)[ `]")
# what it is of, where that is kept, and what it printed
_RUN = re.compile(r"^<!-- real output of (?:[^\n]* )?(\S+) -->\n```text\n.+?^```$", re.MULTILINE | re.DOTALL)


def snippets() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(_FENCED.findall(page.read_text())):
            yield pytest.param(block, id=f"{page.name}-{number}")


def commands() -> Iterator[Any]:
    for page in PAGES:
        for whole in _COMMAND.findall(page.read_text()):
            line = re.split(r" {2,}|;", whole)[0]  # what stands further right explains it
            if not re.search(r"[\[|<…]|\.\.\.|[A-Z]{3,}", line):  # a synopsis, not a command line
                yield pytest.param(line.strip(), id=f"{page.name}: {line.strip()}")


def sections(page: Path) -> dict[str, str]:
    """The anchor of each heading, as GitHub makes it, to what stands below it and below the headings under it."""
    text = page.read_text()
    prose = re.sub(r"^```.*?^```$", lambda block: re.sub(r"[^\n]", " ", block[0]), text, flags=re.MULTILINE | re.DOTALL)
    found = list(_HEADING.finditer(prose))
    ends = [
        next((later.start() for later in found[number + 1 :] if len(later[1]) <= len(one[1])), len(text))
        for number, one in enumerate(found)
    ]
    anchors = [re.sub(r"[^\w\- ]", "", one[2].lower()).replace(" ", "-") for one in found]
    return {anchor: text[one.start() : end] for anchor, one, end in zip(anchors, found, ends, strict=True)}


def posts() -> Iterator[Any]:
    """The rows of the notebook's first table: what does it here, and where that is written."""
    table = re.search(r"^\| ---.*\n((?:\|.*\n)+)", NOTEBOOK.read_text(), re.MULTILINE)
    assert table
    for row in table[1].splitlines():
        what, here, page = row.strip("| ").split(" | ")
        yield pytest.param(here, _LINK.findall(page), id=what)


@pytest.mark.parametrize("block", list(snippets()))
def test_python_snippets_run(block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A snippet does what the page says it does; hosts that do not answer are part of what it can show."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    exec(compile(block, "snippet", "exec"), {"__name__": "snippet"})  # noqa: S102  the point of the test


@pytest.mark.parametrize("line", list(commands()))
def test_command_lines_are_taken(line: str) -> None:
    """The program's parser takes the line, and what it runs exists."""
    words = shlex.split(line)[1:]
    given = build().parse_args(words)
    if words[0] in {"run", "check"}:
        assert callable(catalogue.find(given.name).load())


def test_commands_that_are_mentioned_exist() -> None:
    """A command that a page mentions in passing is one of the program's."""
    known = build().format_help()
    for page in PAGES:
        for word in _MENTION.findall(page.read_text()):
            assert re.search(rf"\b{word}\b", known), f"{page.name}: nornir-stack {word}"


def test_links_lead_somewhere() -> None:
    """Every relative link of a page leads to a file of the checkout."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_anchors_lead_to_a_heading() -> None:
    """Every link to a section of a page leads to one that it has."""
    for page in PAGES:
        for target, anchor in _LINK.findall(page.read_text()):
            if anchor:
                assert anchor in sections(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize(("here", "links"), list(posts()))
def test_a_post_of_the_notebook_has_a_task_and_a_real_run(here: str, links: list[tuple[str, str]]) -> None:
    """What it names can be run; each section that it leads to is there, and one shows a real run of a file that is there."""
    names = _NAME.findall(here)
    assert names, here
    for name in names:
        assert callable(catalogue.find(name).load())
    found = [sections(NOTEBOOK.parent / page)[anchor] for page, anchor in links]
    runs = [file for section in found for file in _RUN.findall(section)]
    assert runs, links
    for file in runs:
        assert (ROOT / file).is_file(), file


def test_pages_of_the_notebook_show_real_runs() -> None:
    """No page that a post leads to is without one."""
    pages = {page for post in posts() for page, _ in post.values[1]}
    assert [page for page in sorted(pages) if not _RUN.search((NOTEBOOK.parent / page).read_text())] == []


def test_the_plan_of_addresses_is_shown_as_the_page_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/network.md: every line of its output is what the program prints for its plan, in that order."""
    page = (ROOT / "docs" / "network.md").read_text()
    plan = re.search(r"^ {4}data:\n(?: {4}.*\n)+", page, re.MULTILINE)
    output = re.search(r"^```text\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)
    assert plan
    assert output
    (tmp_path / "defaults.yaml").write_text(dedent(plan[0]))
    (tmp_path / "hosts.yaml").write_text("ctrl: {}\n")
    (tmp_path / "groups.yaml").write_text("{}\n")
    assert main(["inventory", "show", "--network", "-i", str(tmp_path)]) == 0
    printed = iter(capsys.readouterr().out.splitlines())
    assert [line for line in output[1].splitlines() if line not in printed] == []
