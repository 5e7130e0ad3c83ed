"""Archives of nodes' small things: which are made, confirmed, deleted, and what is told."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory

from nornir_stack import schema
from nornir_stack.errors import Refused
from nornir_stack.secret import Secret
from nornir_stack.seen import Seen
from nornir_stack.tasks.maintenance.archives import PACK, Kept, Sight, expected, going, keeping, packed, parse
from nornir_stack.tasks.maintenance.backup import archiving, preparing, proved
from nornir_stack.tasks.maintenance.settings import Archive, Backup, Care

if TYPE_CHECKING:
    from pathlib import Path

    from nornir_stack.chain import Chain

NOW, TIME, DIGEST, OTHER = 1_796_000_000.0, "20261129T030000Z", "0123456789ab", "ba9876543210"
ON = Archive(keeper="keep1", keep=2)
LINE = Secret(literal="a-line-between-nodes")


def kept(node: str, number: int, digest: str = DIGEST, hours: float = 1, mode: str = "600") -> Kept:
    time = f"202611{number:02}T030000Z"
    path = f"/var/backups/site/{node}/{node}-{time}-{digest}.tar.gz"
    return Kept(path, node, time, digest, NOW - hours * 3600, 2000, mode)


def sight(digest: str = DIGEST, wanted: Archive | None = ON, keeper: str = "keep1", *archives: Kept) -> Sight:
    return Sight(NOW, TIME, digest, archives, wanted, keeper)


def keeper(*archives: Kept) -> Sight:
    return sight("", None, "keep1", *archives)


def names(chain: Chain) -> list[str]:
    return [part.name for part in chain.parts]


def decided(**nodes: Sight) -> Chain:
    return archiving(Seen(nodes), line=LINE)


def test_a_node_with_something_new_is_archived_and_proved() -> None:
    """None before, or a newest one of another digest; what was the same once before and is again is new."""
    assert names(decided(ctl=sight(), keep1=keeper())) == ["ctl", "proof"]
    back = keeper(kept("ctl", 1), kept("ctl", 2, OTHER))
    chain = decided(ctl=sight(), keep1=back)
    assert names(chain) == ["ctl", "delete on keep1", "proof"]
    assert chain.reasons == ("1 of 1 nodes have something new: ctl.",)
    assert [part.name for part in chain.parts[0].parts] == ["pack", "listen", "send", "store", "tidy"]  # type: ignore[union-attr]


def test_a_node_that_keeps_its_own_sends_nothing() -> None:
    """And needs no way to anybody."""
    alone = sight(DIGEST, Archive(), "ctl")
    chain = decided(ctl=alone)
    assert [part.name for part in chain.parts[0].parts] == ["pack", "store"]  # type: ignore[union-attr]
    assert names(preparing(Seen({"ctl": alone}))) == ["look"]
    assert names(preparing(Seen({"ctl": sight(), "keep1": keeper()}))) == ["tools", "keeper keep1", "look"]


def test_the_same_night_nothing_is_done() -> None:
    """The next night an archive whose node is as it was is confirmed."""
    assert names(decided(ctl=sight(), keep1=keeper(kept("ctl", 28)))) == []
    assert names(decided(ctl=sight(), keep1=keeper(kept("ctl", 28, hours=24)))) == ["confirm on keep1"]


def test_the_oldest_go() -> None:
    """As many stay as are wanted, that of tonight among them; another node's are not counted."""
    archives = [kept("ctl", 1), kept("ctl", 2), kept("net", 1), kept("ctl", 3)]
    assert going(archives, {"ctl": 2, "net": 2}) == [archives[0].path]
    assert going(archives, {"ctl": 2, "net": 2}, ["ctl", "net"]) == [archives[0].path, archives[1].path]
    assert going(archives, {"net": 1}) == []


def test_who_was_not_seen_is_due() -> None:
    """The others are archived; one under maintenance is no news; nobody wants one: that is refused."""
    chain = preparing(Seen({"ctl": sight()}, {"net": "unreachable: no route", "old": "under maintenance: disk"}))
    assert chain.due == ("net was not seen: unreachable: no route",)
    assert decided(ctl=sight()).due == ("ctl has no archive: its keeper keep1 was not seen",)
    with pytest.raises(Refused, match=r"no node has care\.archive"):
        preparing(Seen({"ctl": keeper()}))


def test_what_did_not_arrive_is_told_at_the_end() -> None:
    """Or lies there for others to read."""
    name = kept("ctl", 28).path.rpartition("/")[2]
    wanted = {"ctl": ("keep1", name)}
    assert proved(Seen({"keep1": keeper(kept("ctl", 28))}), wanted=wanted).parts == ()
    with pytest.raises(Refused, match="ctl has no archive of tonight on keep1"):
        proved(Seen({"keep1": keeper()}), wanted=wanted)
    with pytest.raises(Refused, match="has mode 644, and is for root alone"):
        proved(Seen({"keep1": keeper(kept("ctl", 28, mode="644"))}), wanted=wanted)


def test_the_look_is_read() -> None:
    """A file of another name is nobody's archive; names of nodes may have dashes."""
    one = "/srv/a b/ctl-1/ctl-1-20261128T030000Z-0123456789ab.tar.gz"
    text = f"now 1796000000 {TIME}\ndigest {DIGEST}ffff  -\nkept 5.5 2000 600 {one}\nkept 5 1 600 /srv/x/ctl-1/other.tar.gz\n"
    assert parse(text, ON, "keep1") == Sight(
        NOW, TIME, DIGEST, (Kept(one, "ctl-1", "20261128T030000Z", DIGEST, 5.5, 2000, "600"),), ON, "keep1"
    )
    assert packed(ON) == ["etc", "root/.ssh", "var/spool/cron"]
    assert packed(None) == []


def test_the_survey_looks_for_them_on_their_keeper() -> None:
    """Of every node that it keeps, its own only where it keeps it."""
    own = {"ctl": {"keeper": "keep1"}, "keep1": {"folder": "/srv/own"}, "net": None}
    hosts = Hosts(
        {
            name: Host(name, data={"care": {"archive": value}} if value else {}, defaults=Defaults())
            for name, value in own.items()
        }
    )
    inventory = Inventory(hosts, Groups(), Defaults())
    assert expected(inventory, "keep1") == {
        "of ctl": Backup(files="/var/backups/site/ctl/*.tar.gz"),
        "of keep1": Backup(files="/srv/own/keep1/*.tar.gz"),
    }
    assert keeping(inventory, "ctl") == {}
    (finding,) = Care.judge({"ctl": Care(archive=Archive(keeper="keep"))}, inventory)
    assert (finding.field, finding.text) == ("archive.keeper", "there is no host 'keep': did you mean 'keep1'?")


def test_an_archive_does_not_pack_itself() -> None:
    """A folder below one of the paths is refused."""
    _, complaints = schema.read(Care, {"archive": {"paths": ["/var/"], "folder": "/var/backups/site"}})
    assert complaints[0].text == "the archives in /var/backups/site would be packed with /var/: keep them elsewhere"


def test_a_link_that_leads_nowhere_is_packed(tmp_path: Path) -> None:
    """It is something that is there; what is not there is left out."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    paths = [str(tmp_path / name)[1:] for name in ("link", "gone")]
    script = f'{PACK}\npack "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", str(tmp_path / "extra"), *paths], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getnames() == [paths[0], "extra"]
