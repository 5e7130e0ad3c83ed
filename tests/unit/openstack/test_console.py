"""Screens of instances: what nova.conf says, and why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nornir_stack import schema
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.console import _planned, cause, page_comes
from nornir_stack.tasks.openstack.files import Console, merged, proxy_tls, screens
from nornir_stack.tasks.openstack.screens import Screens, disagreeing, said, screen_fails
from nornir_stack.tasks.openstack.settings import OpenStack
from nornir_stack.websocket import Heard

PLAIN = Console("10.0.0.11")
TLS = Console("10.0.0.11", "/etc/nova/screens.pem", "/etc/nova/screens.key", "de")
RIGHT = Screens(True, "10.0.0.12", "10.0.0.12", PLAIN.url, own=("10.0.0.12", "172.16.0.12"), wanted=PLAIN.url)


def test_a_node_listens_where_it_is_asked() -> None:
    """The notebook has two addresses for it; users reach the controller's proxy."""
    made = screens(PLAIN, "10.0.0.12")
    assert made["spice"]["server_listen"] == made["spice"]["server_proxyclient_address"] == "10.0.0.12"
    assert made["spice"]["html5proxy_base_url"] == "http://10.0.0.11:6082/spice_auto.html"
    assert made["vnc"] == {"enabled": False}
    assert "keymap" not in made["spice"]


def test_users_get_https_only_with_a_certificate() -> None:
    """The notebook's URL is https, and its proxy has none; without one what the file has of it is taken out."""
    assert screens(TLS, "10.0.0.12")["spice"]["html5proxy_base_url"] == "https://10.0.0.11:6082/spice_auto.html"
    assert screens(TLS, "10.0.0.12")["spice"]["keymap"] == "de"
    assert proxy_tls(TLS)["DEFAULT"] == {"cert": "/etc/nova/screens.pem", "key": "/etc/nova/screens.key", "ssl_only": True}
    assert proxy_tls(PLAIN)["DEFAULT"] == {"cert": None, "key": None, "ssl_only": None}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"console_certificate": "/etc/nova/screens.pem"}, "console_certificate and console_key go together"),
        ({"keymap": "German"}, "is not a keymap of QEMU"),
    ],
)
def test_what_cannot_be_is_refused(data: dict[str, str], said: str) -> None:
    """Before anything is asked."""
    value, complaints = schema.read(OpenStack, data)
    assert value is None
    assert said in complaints[0].text


def test_the_certificate_is_looked_at_before_any_node_changes() -> None:
    """Else the compute nodes give out https URLs already when the proxy's own node refuses."""
    assert [part.name for part in _planned(Seen({"c1": RIGHT})).parts] == ["certificate", "compute", "controller", "agree"]


def test_sections_are_put_together_key_by_key() -> None:
    """nova.conf of the controller has DEFAULT from two sides."""
    assert merged({"a": {"x": 1}}, {"a": {"y": 2}, "b": {}}) == {"a": {"x": 1, "y": 2}, "b": {}}


def test_nodes_that_agree_are_left_alone() -> None:
    """Each asked at an address of its own, all with the same URL; the controller runs no instances."""
    other = replace(RIGHT, listen="::", asked="10.0.0.13", own=("10.0.0.13",))
    proxy = replace(RIGHT, listen="127.0.0.1", asked="127.0.0.1", own=("10.0.0.11",), runs=False, proxies=True)
    assert disagreeing(Seen({"c1": proxy, "n1": RIGHT, "n2": other})) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"asked": "172.16.9.9", "listen": "::"},
            "172.16.9.9 (server_proxyclient_address), which is none of its addresses",
        ),
        ({"asked": "172.16.0.12"}, "QEMU listens at 10.0.0.12 (server_listen) and is asked at 172.16.0.12"),
        ({"url": "https://10.0.0.11:6082/spice_auto.html"}, "users get https://10.0.0.11:6082/spice_auto.html"),
        ({"enabled": False}, "[spice] enabled is not true"),
    ],
)
def test_a_node_that_says_otherwise_is_found(wrong: dict[str, Any], said: str) -> None:
    """With the key of nova.conf."""
    (problem,) = disagreeing(Seen({"n1": replace(RIGHT, **wrong)}))
    assert problem.startswith("n1: ")
    assert said in problem


@pytest.mark.parametrize(
    ("my_ip", "own", "asked"),
    [
        ("my_ip = 10.0.0.12\n", "10.0.0.99", "10.0.0.12"),
        ("", "10.0.0.12", "10.0.0.12"),
        ("my_ip = $my_block_storage_ip\nmy_block_storage_ip = 10.0.0.12\n", "", "10.0.0.12"),
        ("", "", "$my_ip"),
        ("my_ip = $my_ip\n", "", "$my_ip"),
    ],
)
def test_an_option_that_another_names_is_put_in(my_ip: str, own: str, asked: str) -> None:
    """As oslo.config does: two nodes that both say `$my_ip` are not asked at one address, and it is an address."""
    spice = "server_listen = ${my_ip}\nserver_proxyclient_address = $my_ip\nhtml5proxy_base_url = http://$my_ip:6082/$$x"
    now = said(f"[DEFAULT]\n{my_ip}[spice]\nenabled = true\n{spice}\n", own)
    assert now.asked == asked
    if asked != "$my_ip":
        assert (now.listen, now.url) == (asked, f"http://{asked}:6082/$x")


def test_two_nodes_that_are_asked_at_one_address_are_found() -> None:
    """A file that was copied: the second one's screens would be those of the first."""
    other = replace(RIGHT, own=("10.0.0.13",))
    assert disagreeing(Seen({"n1": RIGHT, "n2": other}))[-1] == (
        "n1 and n2 are both asked at 10.0.0.12: one shows the other's screens"
    )


def test_https_without_a_certificate_is_found() -> None:
    """On the node that has the proxy."""
    proxy = replace(RIGHT, url=TLS.url, wanted=TLS.url, runs=False, proxies=True)
    assert "the proxy has no certificate" in disagreeing(Seen({"c1": proxy}))[0]
    assert disagreeing(Seen({"c1": replace(proxy, tls=True)})) == []


def test_what_is_not_in_the_file_is_as_nova_has_it() -> None:
    """Off, and at home; the last value counts."""
    assert said("") == Screens(False, "127.0.0.1", "127.0.0.1", "http://127.0.0.1:6082/spice_auto.html")
    text = "[DEFAULT]\ncert = /c\nkey = /k\n[spice]\nenabled = True\nserver_proxyclient_address = 10.0.0.12\n"
    assert (said(text).enabled, said(text).asked, said(text).tls) == (True, "10.0.0.12", True)


def test_a_screen_answers_with_its_magic_word() -> None:
    """A SPICE server does; another one does not; nothing at all has a cause."""
    assert screen_fails(Heard(101, b"REDQ\2\0\0\0"), "n1") == ""
    assert "is no SPICE server" in screen_fails(Heard(101, b"RFB 003.008"), "n1")
    assert "server_proxyclient_address in nova.conf on n1" in screen_fails(Heard(101, why="it is closed without a word"), "n1")


def test_the_notebooks_error_has_a_cause() -> None:
    """What Nova says, where to look, and what to do; another error is none of this."""
    said = cause("Invalid console type spice-html5", "n1")
    assert "[spice] enabled is false in nova.conf on n1" in said
    assert "reboot the instance hard" in said
    assert cause("Instance is not ready", "n1") == ""


def test_a_proxy_that_does_not_answer_is_told() -> None:
    """By HTTP's status, or nothing at all."""
    assert page_comes(Seen({"c1": 200})) == []
    assert page_comes(Seen({"c1": 0})) == ["c1: the console's proxy answers nothing on port 6082"]
    assert page_comes(Seen({"c1": 404})) == ["c1: the console's proxy answers HTTP 404 on port 6082"]
