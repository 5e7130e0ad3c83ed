"""What is counted and taken away of deleted rows: which tables, on whose node, what is told."""

from __future__ import annotations

import pytest

from nornir_stack.chain import Stage
from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.maintenance.purge import Deleted, counting, left, purge, purging, swept
from nornir_stack.tasks.maintenance.purge_table import GLANCE, NOVA, TABLE

DAY = "2026-08-30"
ROWS = {"nova": {"nova.instances": 3, "nova.shadow_instances": 5, "nova_cell0.instances": 1}}
CTL = Deleted(programs=("nova-manage", "glance-manage"))
DB = Deleted(DAY, ROWS, counted=True)
WORDS = {"days": 90, "rows": 1000, "batches": 100}


def test_tables_of_nova_with_their_shadows() -> None:
    """A table without a shadow keeps its deleted rows whatever is run, so they are not counted as something to be done."""
    tables = [("nova", "instances"), ("nova", "shadow_instances"), ("nova", "services"), ("nova_cell0", "instances")]
    assert swept(tables, NOVA) == [("nova", "instances"), ("nova", "shadow_instances")]
    assert swept([("nova", "networks"), ("nova", "shadow_networks")], NOVA) == [("nova", "shadow_networks")]


def test_the_images_of_glance_stay() -> None:
    """Their ids are not to be had again (OSSN-0075)."""
    assert swept([("glance", "images"), ("glance", "image_tags")], GLANCE) == [("glance", "image_tags")]


def test_one_statement_counts_all() -> None:
    """Names in backticks, the day as an argument, each count with its place."""
    assert counting([("nova", "instances"), ("n`x", "t")]) == (
        "SELECT 0 AS i, COUNT(*) AS n FROM `nova`.`instances` WHERE deleted_at < %s"
        " UNION ALL SELECT 1 AS i, COUNT(*) AS n FROM `n``x`.`t` WHERE deleted_at < %s"
    )


def test_a_service_is_swept_where_its_command_is() -> None:
    """The databases may be elsewhere; what is told has every table, the fullest first."""
    chain = purging(Seen({"db1": DB, "ctl": CTL}), services=(), **WORDS)
    (stage,) = chain.parts
    assert isinstance(stage, Stage)
    assert (stage.name, str(stage.on)) == ("nova", "ctl")
    assert stage.bound[0].arguments["day"] == DAY
    wanted = "nova: 9 rows deleted before 2026-08-30: nova.shadow_instances 5, nova.instances 3, nova_cell0.instances 1"
    assert chain.reasons == (wanted,)
    assert purging(Seen({"db1": DB, "ctl": CTL}), services=("glance",), **WORDS).parts == ()


def test_nothing_to_do() -> None:
    """Is said as that."""
    chain = purging(Seen({"ctl": Deleted(DAY, counted=True)}), services=(), **WORDS)
    assert (chain.parts, chain.reasons) == ((), (f"nothing was deleted before {DAY} and is still there",))


def test_what_is_left_is_due() -> None:
    """Where the batches were not enough: the run says so, by its exit code too."""
    assert left(Seen({"ctl": DB}), services=()).due[0].startswith("still there: nova: 9 rows")
    assert left(Seen({"ctl": DB}), services=("heat",)).due == ()


def test_who_cannot_be_served_is_refused() -> None:
    """Nobody counted, nobody has the command; wrong words."""
    with pytest.raises(Refused, match="no database server could be asked: db1: unreachable"):
        purging(Seen({"ctl": CTL}, {"db1": "unreachable"}), services=(), **WORDS)
    with pytest.raises(Refused, match="nova left 9 rows, and no controller that was seen has nova-manage"):
        purging(Seen({"db1": DB}), services=(), **WORDS)
    with pytest.raises(UsageError, match="did you mean 'nova'"):
        purge(services=["nvoa"])
    with pytest.raises(UsageError, match="numbers above 0"):
        purge(days=0)


@pytest.mark.parametrize("service", TABLE)
def test_every_command_fills_in_its_words(service: str) -> None:
    """And is the service's own program; one that is repeated says by its status that there is more."""
    for each in TABLE[service].sweeps:
        words = [word.format(day=DAY, days=90, rows=1000) for word in each.argv]
        assert words[0] == TABLE[service].program
        assert not [word for word in words if "{" in word]
        assert not set(each.done) & set(each.more)
