"""Reports for people: what a person must find in them."""

from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from nornir_stack.results import Attempt, HostReport, Report, StageReport, Status, TaskReport
from nornir_stack.show import closing, coloured_diff, print_report
from nornir_stack.show_html import fragment, page
from nornir_stack.show_values import value_rows
from tests.unit.made_up import DIFF

CHANGED = TaskReport("configure", Status.CHANGED, changed=True, diff=DIFF, effects=("write /etc/a.conf",))
FAILED = TaskReport(
    "configure",
    Status.FAILED,
    error="`systemctl restart mariadb` ended with status 1: <b>no</b>",
    attempts=(Attempt(Status.FAILED, "busy", 0, 1),) * 2,
)
SEEN = tuple(
    HostReport(f"db{n}", Status.OK, tasks=(TaskReport("observe", Status.OK, value={"size": 3, "name": f"db{n}"}),))
    for n in (1, 2)
)
GOOD = Report(
    "made.form",
    "r1",
    stages=(
        StageReport(
            "prepare",
            "stage",
            Status.CHANGED,
            (
                HostReport("db1", Status.CHANGED, tasks=(CHANGED,)),
                HostReport("db2", Status.OK, tasks=(TaskReport("configure", Status.OK),)),
                HostReport("db3", Status.SKIPPED, "under maintenance: disk swap"),
            ),
            duration=1.5,
        ),
        StageReport("elect", "plan", Status.OK, (), decided=("db1 goes first",)),
        StageReport("verify", "stage", Status.OK, SEEN, duration=0.2),
    ),
    duration=41.23,
)
BAD = dataclasses.replace(
    GOOD,
    left=("lb1 still drains db2",),
    warnings=("a processor failed",),
    stages=(
        StageReport(
            "prepare",
            "stage",
            Status.FAILED,
            (HostReport("db1", Status.CHANGED, tasks=(CHANGED,)), HostReport("db2", Status.FAILED, tasks=(FAILED,))),
            (f"db2 failed: {FAILED.error}",),
        ),
        StageReport(
            "verify",
            "stage",
            Status.NOT_REACHED,
            tuple(HostReport(f"db{n}", Status.NOT_REACHED, "prepare did not end well") for n in (1, 2)),
            ("prepare did not end well",),
        ),
    ),
)
DRY = dataclasses.replace(GOOD, dry_run=True)


def text_of(report: Report, *, diffs: bool = False) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream), diffs=diffs)
    return stream.getvalue()


def test_the_table_has_a_line_for_every_stage() -> None:
    """Status, how many hosts ended how, how many changes, wall time."""
    text = text_of(GOOD)
    assert re.search(r"prepare +\S+ changed +1 ok, 1 changed, 1 skipped +1 +1.5 s", text)
    assert re.search(r"verify +\S+ ok +2 ok +0.2 s", text)
    assert "elect: db1 goes first" in text
    assert "db3: under maintenance: disk swap" in text


def test_the_closing_line_says_what_changed_even_if_nothing_did() -> None:
    """The last line is what a person reads first, and what cron's mail is judged by."""
    assert text_of(GOOD).splitlines()[-1] == "made.form: 1 changed on 1 host in 41.2 s"
    assert closing(dataclasses.replace(GOOD, stages=GOOD.stages[1:])).plain == "made.form: 0 changed in 41.2 s"
    assert closing(DRY).plain == "made.form: 1 change pending on 1 host in 41.2 s"
    assert closing(dataclasses.replace(DRY, stages=GOOD.stages[1:])).plain == "made.form: 0 changes pending in 41.2 s"
    assert closing(BAD).plain == "made.form: failed (1 failed, 1 not reached), 1 changed on 1 host in 41.2 s"
    assert closing(dataclasses.replace(GOOD, interrupted=True)).plain.startswith("made.form: interrupted, 1 changed")


def test_hosts_that_are_not_ok_are_told_once_and_in_full() -> None:
    """The error stands under the host, with the attempts; the stage does not repeat it; the rest is one line a stage."""
    text = text_of(BAD)
    assert f"db2 failed in prepare, configure: {FAILED.error} (after 2 attempts)" in text
    assert text.count("systemctl restart") == 1
    assert "db1, db2 not reached in verify: prepare did not end well" in text
    assert "lb1 still drains db2" in text
    assert "a processor failed" in text


def test_what_no_stream_can_write_is_escaped() -> None:
    """Under cron stdout may know ASCII only, and a node may print what is no text at all: the report is printed."""
    task = dataclasses.replace(FAILED, error="caf\udce9 na\u00efve")
    stage = StageReport("prepare", "stage", Status.FAILED, (HostReport("db1", Status.FAILED, tasks=(task,)),))
    for terminal in (False, True):
        for encoding, shown in (("ascii", "caf\\udce9 na\\xefve"), ("utf-8", "caf\\udce9 na\u00efve")):
            raw = io.BytesIO()
            stream = io.TextIOWrapper(raw, encoding)
            print_report(dataclasses.replace(GOOD, stages=(stage,)), Console(file=stream, force_terminal=terminal, width=200))
            stream.flush()
            assert shown in raw.getvalue().decode(encoding)


def test_a_barrier_s_problem_is_told() -> None:
    """Where every host is ok and the barrier was not met, the problem is the only thing that tells why."""
    stage = dataclasses.replace(GOOD.stages[0], status=Status.FAILED, problems=("db2 is Donor, not Synced",))
    assert "prepare: db2 is Donor, not Synced" in text_of(dataclasses.replace(GOOD, stages=(stage,)))


def test_a_dry_run_has_its_diffs_and_says_would() -> None:
    """Nothing was changed, so nothing is called changed; a real run shows diffs only when asked."""
    text = text_of(DRY)
    assert "Would change" in text
    assert "1 ok, 1 would change, 1 skipped" in text
    assert "+a = 2" in text
    assert "+a = 2" not in text_of(GOOD)
    assert "+a = 2" in text_of(GOOD, diffs=True)


def test_a_diff_is_coloured_by_its_signs() -> None:
    """Green for what comes, red for what goes, and the text is kept."""
    text = coloured_diff(DIFF)
    assert text.plain == DIFF.rstrip("\n")
    styles = {text.plain[span.start : span.end].strip(): span.style for span in text.spans}
    assert styles["-a = 1"] == "red"
    assert styles["+a = 2"] == "green"


def test_what_all_hosts_agree_on_is_said_once() -> None:
    """What was seen at the end: equal values together, others host by host."""
    assert value_rows(GOOD) == [("size", "3", "all 2"), ("name", "db1", "db1"), ("name", "db2", "db2")]
    assert value_rows(BAD) == []


@pytest.mark.parametrize(("kind", "rows"), [("stage", 3), ("plan", 0)])
def test_what_a_failed_run_saw(kind: str, rows: int) -> None:
    """A task that failed on one host still shows the others' answers; a plan that refused shows its reason alone."""
    hosts = (*SEEN, HostReport("db3", Status.FAILED, tasks=(FAILED,)))
    failed = dataclasses.replace(GOOD, stages=(StageReport("look", kind, Status.FAILED, hosts, ("refused",)),))
    assert len(value_rows(failed)) == rows


def test_a_host_is_named_once() -> None:
    """An error that begins with its host's name, as it must where it stands alone, does not repeat it in the report."""
    failed = HostReport("db3", Status.FAILED, tasks=(dataclasses.replace(FAILED, error="db3: its disk is full"),))
    stages = (StageReport("look", "stage", Status.FAILED, (failed,), ("db3 failed: db3: its disk is full",)),)
    lines = [line.strip() for line in text_of(dataclasses.replace(GOOD, stages=stages)).splitlines() if "disk" in line]
    assert lines == ["db3 failed in look, configure: its disk is full (after 2 attempts)"]


def test_lines_in_files_are_not_wrapped_and_have_no_codes() -> None:
    """A long error can be found with grep; no blanks at the ends of lines."""
    lines = text_of(BAD).splitlines()
    assert max(map(len, lines)) > 80
    assert [line for line in lines if line != line.rstrip() or "\x1b" in line] == []


def test_on_a_terminal_lines_keep_to_its_width() -> None:
    """80 columns, and narrower ones."""
    for width in (40, 80):
        stream = io.StringIO()
        print_report(BAD, Console(file=stream, width=width, force_terminal=True, color_system=None))
        assert max(map(len, stream.getvalue().splitlines())) <= width


def test_brackets_are_text() -> None:
    """An effect such as `edit [mysqld]` is no markup."""
    task = dataclasses.replace(CHANGED, effects=("set [mysqld] size", "[/red]"))
    stage = StageReport("[bold]s[/bold]", "stage", Status.CHANGED, (HostReport("db1", Status.CHANGED, tasks=(task,)),))
    text = text_of(dataclasses.replace(GOOD, stages=(stage,)))
    assert "set [mysqld] size" in text
    assert "[bold]s[/bold]" in text


def test_a_report_from_json_looks_the_same() -> None:
    """What `nornir-stack report` shows later is what the run showed."""
    assert text_of(Report.from_json(BAD.to_json())) == text_of(BAD)


class Page(HTMLParser):
    """Collects what a page loads, and checks that its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No script, no link, no font: it can be mailed. Every tag is closed."""
    for report in (GOOD, BAD, DRY):
        text = page(report)
        found = Page(text)
        assert (found.loads, found.open) == ([], [])
        assert "url(" not in text
        assert "<script" not in text


def test_texts_of_nodes_are_escaped() -> None:
    """What a node said cannot become part of the page."""
    assert "&lt;b&gt;no&lt;/b&gt;" in fragment(BAD)
    assert "<b>no" not in fragment(BAD)


def test_a_notebook_shows_the_fragment() -> None:
    """The report is the last expression of a cell."""
    assert GOOD._repr_html_() == fragment(GOOD)
    assert "1 changed on 1 host" in fragment(GOOD)
