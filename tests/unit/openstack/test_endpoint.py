"""Decisions about the catalogue; the session's guard against a server that does not exist."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.tasks.openstack.endpoint import Catalogue, Endpoint, Service, diff, one, only_region, service_of

SWIFT, OTHER = Service("1", "swift", "object-store"), Service("2", "swift2", "object-store")
PUBLIC = Endpoint("a", "1", "public", "RegionOne", "http://x:8080")
NOW = Catalogue(
    (SWIFT, Service("3", "keystone", "identity")), (PUBLIC, Endpoint("b", "3", "public", "RegionOne", "http://x:5000"))
)


@pytest.mark.parametrize("wanted", ["swift", "object-store"])
def test_a_service_is_found_by_name_or_type(wanted: str) -> None:
    """Either word that people use."""
    assert service_of(NOW, wanted) == SWIFT


def test_a_type_that_two_services_have_is_refused() -> None:
    """A name still finds its own."""
    both = Catalogue((SWIFT, OTHER), ())
    assert service_of(both, "swift2") == OTHER
    with pytest.raises(Refused, match="2 services are 'object-store'"):
        service_of(both, "object-store")


def test_an_unknown_service_comes_with_a_hint() -> None:
    """The nearest known one, or what there is."""
    with pytest.raises(Refused, match="did you mean 'keystone'"):
        service_of(NOW, "keyston")
    with pytest.raises(Refused, match="it has swift, keystone"):
        service_of(NOW, "xyz")


def test_one_endpoint_or_none() -> None:
    """By service, interface and region; none where there is none; several are refused with their ids."""
    assert one(NOW, SWIFT, "public", "") == PUBLIC
    assert one(NOW, SWIFT, "public", "RegionTwo") is None
    assert one(NOW, SWIFT, "admin", "") is None
    twice = Catalogue(NOW.services, (*NOW.endpoints, Endpoint("c", "1", "public", "RegionTwo", "http://y")))
    with pytest.raises(Refused, match=r"2 public endpoints: RegionOne http://x:8080 \(a\); RegionTwo http://y \(c\)"):
        one(twice, SWIFT, "public", "")
    assert one(twice, SWIFT, "public", "RegionOne") == PUBLIC


def test_a_new_endpoint_takes_the_only_region() -> None:
    """With two or none of them the operator names it."""
    assert only_region(NOW) == "RegionOne"
    with pytest.raises(Refused, match="name one by region="):
        only_region(Catalogue((), ()))


def test_the_difference_is_one_line() -> None:
    """Old and new URL, and that it was disabled."""
    old = Endpoint("a", "1", "public", "RegionOne", "http://x:8080", enabled=False)
    assert diff(SWIFT, old, PUBLIC).splitlines()[2:] == ["-http://x:8080 (disabled)", "+http://x:8080"]
