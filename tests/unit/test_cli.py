"""The command line: what is typed, what comes out, with which exit code."""

from __future__ import annotations

import getpass
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nornir_stack import catalogue
from nornir_stack.catalogue import Entry
from nornir_stack.cli.main import main
from nornir_stack.results import Report, Status

ROOT = Path(__file__).parents[2]
FORM = "tests.unit.made_up:form"
TOUCH = "tests.unit.made_up:touch"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an inventory of three members, one of them under maintenance, and a gate; all of them here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NORNIR_STACK_INVENTORY", str(tmp_path / "inventory"))
    monkeypatch.setenv("MADE_UP_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr("nornir_stack.locks.NODE_LOCK", str(tmp_path / "lock"))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "hosts.yaml").write_text(
        "db1: {hostname: localhost, groups: [member]}\n"
        "db2: {hostname: localhost, groups: [member]}\n"
        "db3: {hostname: localhost, groups: [member], data: {maintenance: disk swap}}\n"
        "lb1: {hostname: localhost, groups: [gate]}\n"
    )
    (folder / "groups.yaml").write_text("member: {}\ngate: {}\n")
    (folder / "defaults.yaml").write_text("data: {connection: local}\n")
    return tmp_path


def last_report(place: Path) -> Report:
    return Report.from_json(max((place / "state").rglob("report.json")).read_text())


def program(*words: str) -> list[str]:
    """The command as a program of its own, with a lock file of its own."""
    lock = "import os, nornir_stack.locks as locks; locks.NODE_LOCK = os.environ['MADE_UP_LOCK']"
    hangup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # whatever the tests were started by
    code = f"import sys; {hangup}; {lock}; from nornir_stack.cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", code, *words]


# run and check


def test_run_changes_and_reports(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables on stdout, progress on stderr, the report on disk, exit code 0."""
    assert main(["run", FORM]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("made.form: 4 changed on 2 hosts in ")
    assert "+ prepare  2 changed, 1 skipped" in err
    assert last_report(place).stage("prepare").host("db3").status is Status.SKIPPED


def test_nothing_to_change_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The second run of a chain that converged."""
    assert main(["run", FORM, "changes=no"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("made.form: 0 changed in ")


def test_parameters_may_stand_between_options(place: Path) -> None:
    """Words and options in any order, as people type them."""
    assert main(["run", FORM, "missing=db1", "--wait", "1", "missing=db2", "-v", "bad=nobody"]) == 0
    assert [stage.name for stage in last_report(place).stages] == ["prepare", "elect", "verify"]


def test_a_host_that_failed_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Its error in full, and those that were not reached."""
    assert main(["run", FORM, "bad=db2"]) == 1
    out = capsys.readouterr().out
    assert "db2 failed in prepare, touch: db2 holds the data of another cluster: name it as lost" in out
    assert "not reached in verify: prepare did not end well" in out


def test_check_is_a_dry_run_with_diffs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3 and the diff where something would change, 0 where not; both leave the nodes alone."""
    assert main(["check", FORM]) == 3
    assert "+a = 2" in capsys.readouterr().out
    assert last_report(place).dry_run
    assert main(["check", FORM, "changes=no"]) == 0
    assert main(["run", FORM, "--dry-run"]) == 3


def test_one_task_runs_on_the_hosts_that_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stage of its own on --on, in which no other host stands; what it saw is shown."""
    assert main(["run", TOUCH, "--on", "db1,lb1", "size=3"]) == 0
    report = last_report(place)
    assert list(report.hosts) == ["db1", "lb1"]
    out = capsys.readouterr().out
    assert "size   all 2  3" in out


def test_one_task_runs_everywhere_if_no_host_is_named(place: Path) -> None:
    """All hosts of the inventory, those under maintenance skipped."""
    assert main(["run", TOUCH]) == 0
    assert last_report(place).hosts == {
        "db1": Status.CHANGED,
        "db2": Status.CHANGED,
        "db3": Status.SKIPPED,
        "lb1": Status.CHANGED,
    }


def test_on_restricts_acting(place: Path) -> None:
    """A chain's other hosts are in the report as skipped, with the reason."""
    assert main(["run", FORM, "--on=-db2"]) == 0
    assert "to which this run is limited" in last_report(place).stage("prepare").host("db2").reason


def test_json_goes_to_a_file_or_to_stdout(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a file the tables are printed too; `-` leaves stdout to the JSON."""
    assert main(["run", FORM, "--json", str(place / "r.json")]) == 0
    assert Report.from_json((place / "r.json").read_text()).chain == "made.form"
    assert "4 changed" in capsys.readouterr().out
    assert main(["check", FORM, "--json", "-"]) == 3
    assert Report.from_json(capsys.readouterr().out).dry_run


def test_a_secret_is_never_shown(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Given by reference, used by the task, and blotted out of stdout, stderr, journal and report."""
    monkeypatch.setenv("MADE_UP_PASSWORD", "correct-horse-battery")
    assert main(["run", "tests.unit.made_up:login", "password=env:MADE_UP_PASSWORD", "--on", "db1"]) == 0
    out, err = capsys.readouterr()
    assert "as ********" in out
    kept = "".join(path.read_text() for path in (place / "state").rglob("*.json*"))
    assert "correct-horse-battery" not in out + err + kept


# bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "run what? `nornir-stack list` shows the chains and tasks"),
        (["run", "made.from"], "there is no chain and no task 'made.from'"),
        (["run", FORM, "bda=db1"], "has no parameter 'bda': did you mean 'bad'?"),
        (["run", FORM, "changes=perhaps"], "changes=perhaps: input should be a valid boolean"),
        (["run", FORM, "--on", "db9"], "there is no host and no role 'db9': did you mean"),
        (["run", FORM, "-i", "/nowhere"], "there is no inventory folder '/nowhere'"),
        (["run", FORM, "--json", "/nowhere/r.json"], "cannot write /nowhere/r.json: No such file or directory"),
        (["run", "tests.unit.made_up:no_chain"], "gave no Chain but str"),
        (["run", "tests.unit.made_up:login"], "needs password=... (secret)"),
        (["run", "tests.unit.made_up:login", "password=hunter2222"], "password is a secret and never given as it is"),
        (["report"], "no run is on record in"),
        (["inventory", "show", "db9"], "there is no host 'db9' in the inventory: did you mean"),
    ],
)
def test_bad_input_is_one_sentence_and_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen and what to do, on stderr; no traceback."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert "hunter2222" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", FORM, "--bad=db1"], f"unknown option --bad=db1; parameters of {FORM} are given as name=value: bad="),
        (["list", "--jsno"], "unknown option --jsno"),
        (["rnu"], "invalid choice: 'rnu'"),
    ],
)
def test_a_wrong_option_is_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """argparse ends the program itself."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_broken_inventory_is_told_line_by_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem with its file and line; exit code 2; no run is on record."""
    (place / "inventory" / "hosts.yaml").write_text("db1:\n  hostnam: localhost\n  groups: [nobody]\n")
    assert main(["run", FORM]) == 2
    err = capsys.readouterr().err
    assert "hosts.yaml:2: " in err
    assert "hosts.yaml:3: " in err
    assert main(["inventory", "check"]) == 2
    assert not (place / "state").exists()


def test_a_fault_of_ours_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it happened, and that it is to be reported; exit code 1."""
    assert main(["run", "tests.unit.made_up:broken"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "made_up.py" in err
    assert "Please report it" in err


def test_a_fault_in_a_task_is_that_hosts_failure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Type, message and place in the report; no traceback on the terminal, and no nornir.log."""
    assert main(["run", "tests.unit.made_up:faulty", "--on", "db1"]) == 1
    out, err = capsys.readouterr()
    assert "ZeroDivisionError: db1" in out
    assert "Traceback" not in out + err
    assert not Path("nornir.log").exists()
    assert not list(place.rglob("nornir.log"))


# help, list, inventory, report


def test_help_of_a_chain_shows_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    """Docstring, names, types and defaults; the inventory is not read."""
    assert main(["run", FORM, "--help", "-i", "/nowhere"]) == 0
    out = capsys.readouterr().out
    assert "The most advanced member goes first." in out
    assert "missing  str,..." in out
    assert "changes  yes|no  (default yes)" in out


@pytest.mark.parametrize("words", [["lab", "status"], ["lab", "up"]])
def test_an_inventory_without_a_lab_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What has to be written, and where."""
    assert main(words) == 2
    assert "this inventory describes no lab" in capsys.readouterr().err


def test_help_without_a_chain_is_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`run --help` has options and examples."""
    assert main(["run", "--help"]) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_list_shows_what_can_be_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Chains and tasks with their first line and parameters; what cannot be imported hides nothing else."""
    gone = Entry("made.gone", "task", "tests.unit.made_up:gone")
    known = [Entry("made.form", "chain", FORM), gone, Entry("made.touch", "task", TOUCH)]
    monkeypatch.setattr("nornir_stack.cli.listing.entries", lambda: known)
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "  made.form\n      Form it.\n      bad=str\n" in out
    assert "made.gone\n      cannot be used: cannot import" in out
    assert main(["list", "form"]) == 0
    out = capsys.readouterr().out
    assert ("made.form" in out, "made.touch" in out, "tasks:" in out) == (True, False, False)
    assert main(["list", "mede"]) == 2
    assert "has 'mede' in its name: did you mean 'made'?" in capsys.readouterr().err
    assert main(["list", "--json"]) == 0
    data = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert data["made.touch"]["parameters"][-1] == {"name": "size", "type": "int", "required": False, "default": "1"}


def test_inventory_check_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    """How many hosts; a line for each; all of one."""
    assert main(["inventory", "check"]) == 0
    assert "4 hosts in 2 roles, no problem found" in capsys.readouterr().out
    assert main(["inventory", "show"]) == 0
    assert "disk swap" in capsys.readouterr().out
    assert main(["inventory", "show", "db3"]) == 0
    assert "maintenance: disk swap" in capsys.readouterr().out
    assert main(["inventory", "show", "--network"]) == 0
    assert "no networks are declared" in capsys.readouterr().out


def test_report_finds_runs_by_a_part_of_their_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last by default; as JSON; as a page; an ambiguous part is told."""
    assert [main(["run", FORM]), main(["check", TOUCH])] == [0, 3]
    capsys.readouterr()
    assert main(["report"]) == 0
    assert "3 changes pending" in capsys.readouterr().out
    assert main(["report", "made.form", "--json"]) == 0
    assert Report.from_json(capsys.readouterr().out).chain == "made.form"
    assert main(["report", "--html", str(place / "r.html")]) == 0
    assert (place / "r.html").read_text().startswith("<!doctype html>")
    assert main(["report", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["report", "made"]) == 2
    assert "2 runs have 'made' in their name" in capsys.readouterr().err


def test_a_run_that_was_killed_is_shown_by_its_journal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no report; what is on record is told, and the exit code says that it did not end."""
    main(["run", FORM])
    next((place / "state").rglob("report.json")).unlink()
    capsys.readouterr()
    assert main(["report"]) == 1
    out = capsys.readouterr().out
    assert "it goes on, or was killed" in out
    assert "+ prepare  2 changed" in out


# locks


def test_a_locked_host_is_4_and_the_holder_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run is told who, since when, for which run; `lock show` says the same; a broken lock is free."""
    process = started("run", FORM, f"until={place / 'go'}")
    wait_for(place / "go.db1")
    assert main(["run", FORM, "--wait", "0"]) == 4
    err = capsys.readouterr().err
    assert f"pid {process.pid} since " in err
    assert "(made.form)" in err
    assert main(["lock", "show"]) == 0
    assert f"lb1: held by {getpass.getuser()}@" in capsys.readouterr().out
    assert main(["lock", "break", "lb1"]) == 0
    assert f"pid {process.pid} since " in capsys.readouterr().out
    assert main(["lock", "show", "lb1"]) == 0
    assert capsys.readouterr().out == "lb1: free\n"
    assert main(["lock", "show", "lb9"]) == 2
    (place / "go").touch()
    process.communicate(timeout=30)


# signals, pipes, terminals: as a program of its own


def started(*words: str, stdout: int = subprocess.PIPE, **more: str) -> subprocess.Popen[str]:
    env = {**os.environ, **more}
    try:
        return subprocess.Popen(program(*words), cwd=ROOT, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True)
    finally:
        if stdout >= 0:
            os.close(stdout)


def said(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if wanted in line:
            return
    raise AssertionError(f"it never said {wanted!r}")


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_finishes_what_began_and_ends_with_130(place: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM, or the terminal's end: nothing new begins, the report is printed and kept."""
    process = started("run", FORM, f"until={place / 'go'}")
    wait_for(place / "go.db1")
    wait_for(place / "go.db2")
    process.send_signal(number)
    said(process, "stopping: nothing new begins")
    (place / "go").touch()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "made.form: interrupted, 2 changed" in out
    assert "Traceback" not in err
    assert last_report(place).interrupted


def test_the_exit_code_of_a_run_survives_a_closed_pipe() -> None:
    """`nornir-stack run ... | head -1` still tells cron that a host failed."""
    process = started("run", FORM, "bad=db2")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert "BrokenPipe" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [(), ("--json", "-")])
@pytest.mark.parametrize(("bad", "code"), [("db2", 1), ("", 0)])
def test_whoever_reads_no_further_changes_no_exit_code(words: tuple[str, ...], bad: str, code: int) -> None:
    """Tables or JSON: the run's own."""
    process = started("run", FORM, f"bad={bad}", *words, stdout=closed_pipe())
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (code, False)


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("words", [(), ("--json", "-")])
def test_a_report_that_cannot_be_printed_is_told(place: Path, words: tuple[str, ...]) -> None:
    """stdout on a full disk: what came of it is on record, one sentence says where, and 0 is not 0."""
    process = started("run", FORM, *words, stdout=os.open("/dev/full", os.O_WRONLY))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("nornir-stack: the report cannot be printed: No space left on device; `nornir-stack")
    assert "Traceback" not in err
    assert last_report(place).ok


def test_a_report_that_cannot_be_written_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The disk filled up while the run went on: nothing of it is lost."""
    assert main(["run", FORM, "--json", "/dev/full"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("made.form: 4 changed on 2 hosts in ")
    assert "cannot write /dev/full: No space left on device: the report is printed all the same" in err


def test_a_file_that_cannot_be_written_is_told_before_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not after an hour. A file that is there keeps what it has, and none is made, until there is a report."""
    kept = place / "kept.json"
    kept.write_text("kept")
    for path, said in ((place, "Is a directory"), ("/nowhere/r.json", "No such file or directory")):
        assert main(["run", FORM, "--json", str(path)]) == 2
        assert f"cannot write {path}: {said}" in capsys.readouterr().err
    assert not (place / "state").exists()
    for path in (kept, place / "none.json"):
        assert main(["run", FORM, "--on", "db9", "--json", str(path)]) == 2
    assert (kept.read_text(), (place / "none.json").exists()) == ("kept", False)


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "na\\xefve caf\\udce9"), ("utf-8", "na\u00efve caf\\udce9")])
def test_what_stdout_cannot_take_is_escaped(place: Path, encoding: str, shown: str) -> None:
    """Under cron there may be ASCII only; what a node prints may be no text at all."""
    words = ("run", "tests.unit.made_up:babble", "--on", "db1")
    for more in ((), ("--json", str(place / "r.json"))):
        process = started(*words, *more, PYTHONIOENCODING=encoding)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, "Traceback" in err) == (0, False), err
        assert shown in out
    assert main(["report", "--html", str(place / "r.html")]) == 0
    assert "na\u00efve caf\\udce9" in (place / "r.html").read_text(encoding="utf-8")


def test_a_terminal_that_is_gone_loses_no_report(place: Path) -> None:
    """ssh was dropped: what has begun is finished, and the report is on record."""
    controller, worker = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    words = program("run", FORM, f"until={place / 'go'}")
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=worker, stdout=worker, stderr=worker)
    os.close(worker)
    wait_for(place / "go.db1")
    wait_for(place / "go.db2")
    os.close(controller)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    (place / "go").touch()
    assert process.wait(timeout=30) != 0
    report = last_report(place)
    assert report.interrupted
    assert report.stage("prepare").host("db1").status is Status.CHANGED


def test_head_may_close_the_pipe() -> None:
    """Whoever has read enough is not complained to."""
    process = started("inventory", "show", PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(timeout=30)) == ("", 0)
    process.stderr.close()


def test_on_a_terminal_progress_is_drawn_and_the_report_is_left() -> None:
    """Both streams on one terminal: the live part is gone at the end, the tables stay."""
    controller, worker = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(program("run", FORM), cwd=ROOT, env=env, stdin=worker, stdout=worker, stderr=worker)
    os.close(worker)
    text, end = b"", time.monotonic() + 30
    while time.monotonic() < end and select.select([controller], [], [], 10)[0]:
        try:
            text += os.read(controller, 65536)
        except OSError:  # the last writer is gone
            break
    os.close(controller)
    assert process.wait(timeout=30) == 0
    assert b"\x1b[?25l" in text
    assert b"4 changed on 2 hosts" in text
    assert text.count(b"\x1b[?25h") == text.count(b"\x1b[?25l")


def test_help_imports_nothing_heavy() -> None:
    """`--help` must come at once: neither Nornir, nor rich, nor pydantic, nor an SSH library is loaded for it."""
    code = (
        "import sys\nfrom nornir_stack.cli.main import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    loaded = done.stdout.splitlines()[-1]
    assert [name for name in ("'nornir'", "'rich'", "'pydantic'", "'asyncssh'", "'ruamel'") if name in loaded] == []


# completion


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("nornir-stack ", {"run", "check", "list", "report"}),
        ("nornir-stack run --", {"--dry-run", "--on", "--json"}),
        (f"nornir-stack run {FORM} ch", {"changes="}),
        ("nornir-stack completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_the_tabulator_key_completes(line: str, wanted: set[str], place: Path) -> None:
    """Commands, options, and the parameters of the chain that was typed."""
    answers = place / "answers"
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "fish",
        "_ARGCOMPLETE_DFS": "\t",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answers),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(program(), cwd=ROOT, env=env, check=False, timeout=30)
    found = {answer.partition("\t")[0].strip() for answer in answers.read_text().splitlines()}
    assert wanted <= found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_for_a_shell_names_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be written to the shell's folder as it is."""
    assert main(["completion", shell]) == 0
    assert "nornir-stack" in capsys.readouterr().out


def test_names_complete_from_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `list` shows is what the key offers."""
    from nornir_stack.cli.parser import _names  # noqa: PLC0415  what is tested

    monkeypatch.setattr(catalogue, "entries", lambda: [Entry("made.form", "chain", FORM)])
    assert _names() == ["made.form"]
