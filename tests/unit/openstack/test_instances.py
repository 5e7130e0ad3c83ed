"""Instances of the cloud: what the inventory may say, what is done that there is what it says, and who answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import schema
from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.instance_parts import digest
from nornir_stack.tasks.openstack.instance_settings import Instances
from nornir_stack.tasks.openstack.instances import Running, Wanted, _parts, _reach, silent, strangers
from nornir_stack.tasks.openstack.starting import Started, Volume, broken, host_keys, todo

if TYPE_CHECKING:
    from pathlib import Path

    from nornir_stack.tasks.openstack.instance_settings import Instance

PLAIN: dict[str, Any] = {"project": "test", "image": "debian", "flavor": "small"}
RUNS = Started("i", "ACTIVE", "", "", "debian", "small", "p", "10.1.0.7", "203.0.113.7", "public")
FREE, HELD = Volume("v", 1, "available"), Volume("v", 1, "in-use", "i")
DISK = replace(FREE, image="debian")
BOOTED = replace(RUNS, image="", volumes={"disk": replace(HELD, image="debian")})
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"
CONSOLE = f"""[   12.3] cloud-init[311]: Cloud-init v. 22.4.2 finished
-----BEGIN SSH HOST KEY KEYS-----
ecdsa-sha2-nistp256 AAAAE2VjZHNh root@web
{KEY} root@web
-----END SSH HOST KEY KEYS-----
"""


def read(**words: Any) -> Instance:
    value, complaints = schema.read(Instances, {"servers": {"web": {**PLAIN, **words}}, "keys": {"ops": KEY}})
    assert value is not None, complaints
    return value.servers["web"]


@pytest.mark.parametrize(
    ("now", "words", "steps"),
    [
        pytest.param(Started(), {}, ("boot",), id="none"),
        pytest.param(Started(), {"external": "public"}, ("boot", "float"), id="none, and to be reached"),
        pytest.param(RUNS, {"external": "public"}, (), id="as wanted"),
        pytest.param(replace(RUNS, floating="", leads_to=""), {"external": "public"}, ("float",), id="without its address"),
        pytest.param(RUNS, {}, (), id="a floating address that nobody asked for stays"),
        pytest.param(replace(RUNS, status="SHUTOFF"), {}, ("start",), id="stopped"),
        pytest.param(replace(RUNS, status="SHUTOFF", task="powering-on"), {}, (), id="somebody starts it"),
        pytest.param(replace(RUNS, image=""), {}, (), id="booted from a volume"),
        pytest.param(RUNS, {"volumes": {"a": 1}}, ("volume a", "attach a"), id="without its volume"),
        pytest.param(replace(RUNS, volumes={"a": FREE}), {"volumes": {"a": 1}}, ("attach a",), id="a volume that nobody has"),
        pytest.param(replace(RUNS, volumes={"a": HELD}), {"volumes": {"a": 1}}, (), id="with its volume"),
        pytest.param(Started(), {"disk": 1}, ("volume disk", "boot"), id="none, and to boot from a volume"),
        pytest.param(Started(volumes={"disk": DISK}), {"disk": 1}, ("boot",), id="what it boots from is there"),
        pytest.param(BOOTED, {"disk": 1, "volumes": {"a": 1}}, ("volume a", "attach a"), id="boots from its volume"),
    ],
)
def test_what_is_done(now: Started, words: dict[str, Any], steps: tuple[str, ...]) -> None:
    """What is there is left alone, whatever else it has."""
    assert todo("web", now, read(**words)) == steps


@pytest.mark.parametrize(
    ("now", "words", "why"),
    [
        (replace(RUNS, status="ERROR", fault="No valid host"), {}, "No valid host: openstack server delete i"),
        (replace(RUNS, status="VERIFY_RESIZE"), {}, "is VERIFY_RESIZE: bring it back first"),
        (RUNS, {"image": "other"}, "made of the image debian, not other"),
        (RUNS, {"flavor": "large"}, "its flavor is small, not large: resize it first"),
        (RUNS, {"address": "10.1.0.9"}, "its address is 10.1.0.7, not 10.1.0.9"),
        (replace(RUNS, volumes={"a": HELD}), {"volumes": {"a": 2}}, "has 1 GiB, not 2: extend it first"),
        (replace(RUNS, volumes={"a": replace(HELD, server="j")}), {"volumes": {"a": 1}}, "another instance has it (j)"),
        (replace(RUNS, volumes={"a": replace(FREE, status="error")}), {"volumes": {"a": 1}}, "it is in error"),
        (RUNS, {"disk": 1}, "it does not boot from a volume web-disk"),
        (replace(BOOTED, volumes={"disk": DISK}), {"disk": 1}, "it does not boot from a volume web-disk"),
        (BOOTED, {"disk": 2}, "web-disk is there, and has 1 GiB, not 2"),
        (BOOTED, {"disk": 1, "image": "other"}, "was made of the image debian, not of other"),
        (Started(volumes={"disk": FREE}), {"disk": 1}, "was made of no image, not of debian"),
        (RUNS, {"external": "second"}, "203.0.113.7 is of public, not of second"),
    ],
)
def test_what_can_only_be_had_by_deleting_is_refused(now: Started, words: dict[str, Any], why: str) -> None:
    """An instance is somebody's data: nothing here rebuilds or resizes one."""
    with pytest.raises(Refused, match="web") as refused:
        todo("web", now, read(**words))
    assert why in str(refused.value)


@pytest.mark.parametrize("status", ["", "ACTIVE", "BUILD", "SHUTOFF", "HARD_REBOOT"])
def test_states_that_pass(status: str) -> None:
    """Of themselves, or by being started."""
    assert broken("web", replace(RUNS, status=status)) == ""


def test_what_is_under_way_is_waited_for() -> None:
    """While it is built, and while it has a task."""
    assert [replace(RUNS, status="BUILD").under_way, replace(RUNS, task="powering-on").under_way, RUNS.under_way] == [
        True,
        True,
        False,
    ]
    assert replace(RUNS, volumes={"a": replace(FREE, status="creating")}).under_way
    assert not replace(RUNS, volumes={"a": FREE}).under_way


def test_host_keys_of_a_console() -> None:
    """Those between cloud-init's lines; of a console that shows none, or was cut within them, nothing."""
    assert host_keys(CONSOLE) == ("ecdsa-sha2-nistp256 AAAAE2VjZHNh", KEY)
    assert host_keys(CONSOLE.partition("-----END")[0]) == ()
    assert host_keys("login: ") == ()


def test_who_answers_has_to_be_the_instance() -> None:
    """By one of the keys on its console; where that shows none, nobody can tell."""
    seen = Seen({"cloud1": {"web": Running("203.0.113.7", (KEY,))}}, {})
    assert strangers(seen, "web", "203.0.113.7", (KEY,)) == []
    assert "none of the host keys that stand on the console of web" in strangers(seen, "web", "203.0.113.7", ("ssh-rsa AA",))[0]
    assert strangers(Seen({"cloud1": {"web": Running("203.0.113.7")}}, {}), "web", "203.0.113.7", (KEY,)) == []


def test_nobody_answers_yet() -> None:
    """And a host that cannot look is a problem of its own."""
    assert silent(Seen({"out1": ()}, {"out2": "down"}), "web", "203.0.113.7") == [
        "out2 could not look: down",
        "web does not answer by ssh at 203.0.113.7, from out1",
    ]


def test_the_chain_waits_for_those_that_have_to_be_reached() -> None:
    """Images, flavors and keys first; then instances; then each from where it has to answer."""
    wanted = Wanted(("debian",), ("small",), ("ops",), ("web", "db"), {"web": "out1"})
    chain = _parts(Seen({"cloud1": wanted}, {}))
    assert [part.name for part in chain.parts] == ["parts", "instances", "addresses"]
    after = _reach(Seen({"cloud1": {"web": Running("203.0.113.7")}}, {}), {"web": "out1"})
    assert [part.name for part in after.parts] == ["web answers", "host keys of web"]
    with pytest.raises(Refused, match="the inventory has no instance"):
        _parts(Seen({"cloud1": Wanted((), (), (), (), {})}, {}))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"servers": {"web": {**PLAIN, "key": "obs"}}, "keys": {"ops": KEY}}, "did you mean 'ops'?"),
        ({"keys": {"ops": "-----BEGIN OPENSSH PRIVATE KEY-----"}}, "a public key"),
        ({"servers": {"web": {**PLAIN, "volumes": {"disk": 3}}}}, "say `disk: 3`"),
        ({"images": {"debian": {"file": "/d", "initrd": "/i"}}}, "say kernel, too"),
        ({"images": {"debian": {"file": "/d", "sha256": "abc"}}}, "sha256sum"),
        ({"flavors": {"small": {"vcpus": 0, "ram": 1}}}, "vcpus"),
    ],
)
def test_what_the_inventory_may_not_say(words: dict[str, Any], why: str) -> None:
    """It is told before anything is asked."""
    value, complaints = schema.read(Instances, words)
    assert value is None
    assert why in str(complaints)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """By its path, with the system's word."""
    (tmp_path / "disk").write_bytes(b"abc")
    assert digest(str(tmp_path / "disk")).startswith("ba7816bf")
    with pytest.raises(UsageError, match=r"none: No such file"):
        digest(str(tmp_path / "none"))
