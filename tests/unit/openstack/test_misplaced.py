"""Endpoints against what the services say: the notebook's case and its relatives."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.ask import Answer
from nornir_stack.tasks.openstack.endpoint import Catalogue, Endpoint, Service
from nornir_stack.tasks.openstack.misplaced import found_at, misplaced, path_wrong, places, proven
from nornir_stack.tasks.openstack.sight import Heard, View, listening

SWIFT, S3 = Service("1", "swift", "object-store"), Service("2", "swift_s3", "s3")
KEYSTONE, NOVA = Service("3", "keystone", "identity"), Service("4", "nova", "compute")
C, ST = "http://10.0.0.5:8080", "http://10.0.0.6:8080"
ACCOUNT = "v1/AUTH_%(tenant_id)s"
YES, NOBODY = Answer("object-store", 401), Answer(why="nothing listens on 10.0.0.5:8080")


def catalogue(*urls: tuple[Service, str, str]) -> Catalogue:
    ends = tuple(Endpoint(str(i), service.id, interface, "One", url) for i, (service, interface, url) in enumerate(urls))
    return Catalogue(tuple(dict.fromkeys(service for service, _, _ in urls)), ends)


def seen(answers: dict[str, Answer], *more: tuple[str, View]) -> Seen[View]:
    """The notebook's site: Swift's proxy listens on the storage node only."""
    proxy = (Heard("object-store", "", 8080),)
    return Seen(
        {
            "c1": View(("10.0.0.5/24", "192.168.1.5/24"), (Heard("identity", "", 5000),), answers),
            "st1": View(("192.168.1.6/24", "10.0.0.6/24"), proxy, answers),
            **dict(more),
        }
    )


NOTEBOOK = catalogue(
    (SWIFT, "public", f"{C}/{ACCOUNT}"), (SWIFT, "internal", f"{C}/{ACCOUNT}"), (SWIFT, "admin", f"{C}/"), (S3, "public", C)
)
SITE = {C: NOBODY, ST: YES}


def new(now: Catalogue, view: Seen[View], **words: object) -> dict[tuple[str, str], str]:
    return {(each.service, each.interface): each.new for each in misplaced(now, view, **words)}  # type: ignore[arg-type]


def test_the_notebooks_endpoints_go_to_the_node_that_answers() -> None:
    """The controller has no proxy, the storage node has: its address in the same network, the path as the operator wrote it."""
    found = misplaced(NOTEBOOK, seen(SITE))
    assert {(each.interface, each.new) for each in found if each.service == "swift"} == {
        ("public", f"{ST}/{ACCOUNT}"),
        ("internal", f"{ST}/{ACCOUNT}"),
        ("admin", ST),
    }
    assert found[0].why == "nothing listens on 10.0.0.5:8080"
    assert str(found[0]).endswith(f"nothing listens on 10.0.0.5:8080: {ST}/{ACCOUNT} is right")


def test_s3_has_no_account_in_its_path() -> None:
    """The notebook gave it one, and S3 clients then ask for a bucket of that name."""
    now = catalogue((S3, "public", f"{ST}/{ACCOUNT}"), (S3, "internal", f"{C}/{ACCOUNT}"), (S3, "admin", ST))
    assert new(now, seen(SITE)) == {("swift_s3", "public"): ST, ("swift_s3", "internal"): ST}


def test_what_is_right_stays() -> None:
    """No finding: nothing is done. Either placeholder is right, and so is an admin endpoint without an account."""
    now = catalogue(
        (SWIFT, "public", f"{ST}/v1/AUTH_%(project_id)s"), (SWIFT, "internal", f"{ST}/{ACCOUNT}"), (SWIFT, "admin", f"{ST}/v1")
    )
    assert misplaced(now, seen(SITE), complete=("object-store",)) == ()


def test_missing_interfaces_are_made_where_they_must_be() -> None:
    """With an account in what users ask, without one for the administrator."""
    now = catalogue((SWIFT, "public", f"{ST}/{ACCOUNT}"))
    assert new(now, seen(SITE), complete=("object-store",)) == {
        ("swift", "internal"): f"{ST}/v1/AUTH_%(project_id)s",
        ("swift", "admin"): ST,
    }
    assert misplaced(now, seen(SITE)) == ()


def test_another_service_at_the_place_is_named() -> None:
    """A port that answers proves nothing."""
    ((why,),) = [[each.why] for each in misplaced(catalogue((SWIFT, "admin", C)), seen({C: Answer("identity", 300)}))]
    assert why == "what answers there is identity"
    ((why,),) = [[each.why] for each in misplaced(catalogue((SWIFT, "admin", C)), seen({C: Answer("", 503)}))]
    assert why == "what answers there is no object-store service (HTTP 503)"


def test_an_address_of_the_loopback_is_wrong_though_it_answers() -> None:
    """On the storage node itself it would."""
    now = catalogue((SWIFT, "public", f"http://127.0.0.1:8080/{ACCOUNT}"))
    found = misplaced(now, seen({"http://127.0.0.1:8080": YES}))
    assert (found[0].why, found[0].new) == ("on every node 127.0.0.1 is the node itself", f"http://192.168.1.6:8080/{ACCOUNT}")


def test_a_place_that_some_nodes_do_not_reach_is_told_and_not_moved() -> None:
    """A firewall is not mended by the catalogue; what is for users only, nodes need not reach."""
    views = Seen({"c1": View(answers={ST: Answer(why="silent")}), "st1": View(answers={ST: YES})})
    now = catalogue((SWIFT, "public", f"{ST}/{ACCOUNT}"), (SWIFT, "internal", f"{ST}/{ACCOUNT}"))
    (found,) = misplaced(now, views)
    assert (found.interface, found.new) == ("internal", "")
    assert found.why == "c1 cannot reach it: a firewall or a route on the way"


def test_two_nodes_that_listen_need_a_name_or_a_load_balancer() -> None:
    """Nobody guesses; `address` tells; a virtual address before both wins."""
    other = ("st2", View(("10.0.0.7/24",), (Heard("object-store", "", 8080),), SITE))
    (found,) = misplaced(catalogue((SWIFT, "admin", C)), seen(SITE, other))
    assert found.new == ""
    assert "object-store listens on st1 and st2: name the right one by address=" in found.why
    assert new(catalogue((SWIFT, "admin", C)), seen(SITE, other), address="10.0.0.7") == {
        ("swift", "admin"): "http://10.0.0.7:8080"
    }
    balancer = ("lb1", View(("10.0.0.9/24",), (Heard("object-store", "10.0.0.100", 8080),), SITE, balancer="10.0.0.100"))
    assert new(catalogue((SWIFT, "admin", C)), seen(SITE, other, balancer)) == {("swift", "admin"): "http://10.0.0.100:8080"}


def test_an_address_where_nothing_listens_is_refused() -> None:
    """With where it does listen."""
    (found,) = misplaced(catalogue((SWIFT, "admin", C)), seen(SITE), address="10.0.0.99")
    assert "10.0.0.99 is not where it listens (st1 port 8080)" in found.why


def test_a_service_that_listens_nowhere_or_on_the_loopback_only() -> None:
    """Then the catalogue is not what is to be mended."""
    views = Seen({"c1": View(("10.0.0.5/24",), (), {C: NOBODY})})
    (found,) = misplaced(catalogue((SWIFT, "admin", C)), views)
    assert (found.new, found.why) == ("", "nothing listens on 10.0.0.5:8080; no node listens as object-store (c1): start it")
    views = Seen({"c1": View(("10.0.0.5/24",), (Heard("object-store", "127.0.0.1", 8080),), {C: NOBODY})})
    (found,) = misplaced(catalogue((SWIFT, "admin", C)), views)
    assert "where no other node reaches it: correct its bind_ip" in found.why


def test_a_disabled_endpoint_is_found() -> None:
    """Clients do not see it at all."""
    now = Catalogue((SWIFT,), (Endpoint("a", "1", "public", "One", f"{ST}/{ACCOUNT}", enabled=False),))
    assert [(each.why, each.new) for each in misplaced(now, seen(SITE))] == [("it is disabled", f"{ST}/{ACCOUNT}")]


def test_an_url_that_is_none() -> None:
    """Corrected like any other."""
    now = catalogue((SWIFT, "public", "controller:8080"))
    assert [(each.why, each.new) for each in misplaced(now, seen(SITE))] == [
        ("it is no URL", "http://192.168.1.6:8080/v1/AUTH_%(project_id)s")
    ]


@pytest.mark.parametrize(
    ("type_", "interface", "path", "right"),
    [
        ("object-store", "public", "", "v1/AUTH_%(project_id)s"),
        ("object-store", "public", "v1", "v1/AUTH_%(project_id)s"),
        ("object-store", "internal", "v1/AUTH_$(tenant_id)s", "v1/AUTH_$(tenant_id)s"),
        ("object-store", "public", "v1/%(tenant)s", "v1/%(project_id)s"),
        ("object-store", "admin", "", ""),
        ("s3", "public", "v1/AUTH_%(tenant_id)s", ""),
        ("s3", "public", "/", ""),
        ("compute", "public", "v2.1", "v2.1"),
        ("volumev3", "public", "v3/%(project)s", "v3/%(project_id)s"),
    ],
)
def test_paths(type_: str, interface: str, path: str, right: str) -> None:
    """What the path has to be, by type and interface; a placeholder that Keystone cannot fill hides the endpoint."""
    assert path_wrong(type_, interface, path)[1] == right
    assert path_wrong(type_, interface, right) == ("", right)


def test_a_correction_is_made_only_where_every_node_was_answered() -> None:
    """There is no moment without an endpoint: the new place is asked before."""
    now = catalogue((SWIFT, "admin", C))
    wanted = misplaced(now, seen(SITE))
    assert proven(wanted, now, seen(SITE)) == wanted
    (left,) = proven(wanted, now, seen({ST: Answer(why="10.0.0.6:8080 does not answer")}))
    assert left.new == ""
    assert left.why.endswith(f"{ST} would be no better: 10.0.0.6:8080 does not answer")


def test_several_regions_need_a_name() -> None:
    """Which node serves which region, nobody can see."""
    two = Catalogue((SWIFT,), (Endpoint("a", "1", "public", "One", ST), Endpoint("b", "1", "public", "Two", ST)))
    with pytest.raises(Refused, match=r"2 regions \(One, Two\): name one by region="):
        misplaced(two, seen(SITE))
    assert [each.region for each in misplaced(two, seen(SITE), region="Two")] == ["Two"]


def test_an_unknown_kind_of_service_only_has_to_answer() -> None:
    """Kilo's EC2 API, somebody's own: whatever HTTP says will do."""
    odd = Service("9", "billing", "rating")
    now = catalogue((odd, "public", C))
    assert misplaced(now, seen({C: Answer("", 404)})) == ()
    (found,) = misplaced(now, seen({C: NOBODY}))
    assert found.new == ""


def test_places_are_asked_once() -> None:
    """Of the services that are meant."""
    assert places(NOTEBOOK, (), "") == (C,)
    assert places(
        catalogue((SWIFT, "public", "nonsense"), (NOVA, "public", "http://[fd00::1]:8774/v2.1")), ("compute",), ""
    ) == ("http://[fd00::1]:8774",)


def test_where_keystone_is() -> None:
    """The endpoint that every node reaches, else where it was heard: on 5000, when the catalogue says 35357."""
    admin = "http://10.0.0.5:35357"
    now = catalogue((KEYSTONE, "admin", f"{admin}/v2.0"), (KEYSTONE, "public", "http://10.0.0.5:5000/v2.0"))
    good = {admin: NOBODY, "http://10.0.0.5:5000": Answer("identity", 300)}
    assert found_at(now, "identity", ("internal", "public", "admin"), "", seen(good)) == "http://10.0.0.5:5000"
    assert new(now, seen(good)) == {("keystone", "admin"): "http://10.0.0.5:5000/v2.0"}


PROC = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 39 1 0 100 0 0 10 0
   1: 0B00000A:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 39 1 0 100 0 0 10 0
   2: 0B00000A:0016 0100000A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 39 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 0000000000000000FFFF00000100007F:0CEA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: 000000FD000000000000000001000000:22B8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_who_listens_is_read_as_the_kernel_tells_it() -> None:
    """Listeners of both families; a connection that stands is none."""
    assert listening(PROC) == (("", 8080), ("10.0.0.11", 5000), ("", 22), ("127.0.0.1", 3306), ("fd00::1", 8888))
