"""One driver for tests/cases/cluster/edge_cases.yaml, and for the table that docs/galera.md shows of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.classify import classify
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.recovery import recovery
from tests.unit.cluster.shorthand import cluster, sentences, told

if TYPE_CHECKING:
    from nornir_stack.tasks.cluster.member import Member

ROOT = Path(__file__).parents[3]
CASES: list[dict[str, Any]] = YAML(typ="safe").load(ROOT / "tests/cases/cluster/edge_cases.yaml")


def seen_in(case: dict[str, Any]) -> Seen[Member]:
    seen = cluster(case["seen"])
    values = {host: replace(seen[host], data=host not in case.get("without_data", ()) and seen[host].data) for host in seen}
    return Seen(values, seen.missing, seen.hosts)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_edge_case(case: dict[str, Any]) -> None:
    """The class, both decisions and their sentences are as the case says."""
    seen, missing = seen_in(case), case.get("missing", ())
    klass = classify(seen, missing_ok=missing)
    form = forming(seen, missing_ok=missing)
    recover = recovery(seen, missing_ok=missing, keep=case.get("keep"))
    expected = {"class": case["class"]}
    got = {"class": klass.kind.value}
    for name, decision in (("form", form), ("recover", recover)):
        if name in case:
            expected[name] = parts(case[name])
            got[name] = parts(told(decision))
    assert got == expected
    said = " ".join((*klass.problems, sentences(form), sentences(recover)))
    assert [part for part in case.get("says", ()) if part not in said] == [], said
    assert [part for part in case.get("says_not", ()) if part in said] == [], said


def parts(line: str) -> str:
    return "; ".join(sorted(line.split("; ")))


def table() -> str:
    rows = ["| case | seen | class | `galera.form` | `galera.recover` | source |", "| --- | --- | --- | --- | --- | --- |"]
    for case in CASES:
        seen = "<br>".join(f"{host}: {line}" for host, line in case["seen"].items())
        words = [f"missing: {', '.join(case['missing'])}"] if "missing" in case else []
        words += [f"keep: {case['keep']}"] if "keep" in case else []
        cells = (
            case["case"],
            "<br>".join([seen, *words]),
            case["class"],
            case.get("form", ""),
            case.get("recover", ""),
            case["source"],
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_documentation_shows_these_cases() -> None:
    """docs/galera.md holds the table of these cases as it is generated from them."""
    text = (ROOT / "docs/galera.md").read_text()
    shown = text.partition("<!-- cases -->\n")[2].partition("\n<!-- end of cases -->")[0]
    assert shown == table()
