"""Which service it is that answers, by what each says of its versions."""

from __future__ import annotations

import json

import pytest

from nornir_stack.tasks.openstack.applied import older
from nornir_stack.tasks.openstack.ask import Base, base_of, kind_of, path_of
from nornir_stack.tasks.openstack.swift_proxy import wanted_unit

# Shortened answers of Zed's services to `GET /`.
KEYSTONE = {"id": "v3.14", "status": "stable", "media-types": [{"type": "application/vnd.openstack.identity-v3+json"}]}
NOVA = [
    {"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "links": [{"href": "http://x:8774/v2/"}]},
    {"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1", "links": [{"href": "http://x:8774/v2.1/"}]},
]
GLANCE = [{"id": f"v2.{n}", "status": "SUPPORTED", "links": [{"href": "http://x:9292/v2/"}]} for n in range(15)]
NEUTRON = [{"id": "v2.0", "status": "CURRENT", "links": [{"href": "http://x:9696/v2.0/"}]}]
PLACEMENT = [{"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT", "links": [{"href": ""}]}]
OCTAVIA = [{"id": f"v2.{n}", "status": "SUPPORTED", "updated": "2018", "links": [{"href": "http://x/v2"}]} for n in range(3)]
CINDER = [{"id": "v3.0", "version": "3.70", "media-types": [{"type": "application/vnd.openstack.volume+json;version=3"}]}]
GNOCCHI = {"versions": [{"id": "v1.0", "links": []}], "build": "4.4.2"}
HEAT = [{"id": "v1.0", "status": "CURRENT", "links": [{"href": "http://x:8004/v1/"}]}]


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("identity", 300, {"versions": {"values": [KEYSTONE]}}),
        ("identity", 200, {"version": KEYSTONE}),
        ("compute", 200, {"versions": NOVA}),
        ("image", 300, {"versions": GLANCE}),
        ("network", 200, {"versions": NEUTRON}),
        ("placement", 200, {"versions": PLACEMENT}),
        ("load-balancer", 200, {"versions": OCTAVIA}),
        ("volume", 300, {"versions": CINDER}),
        ("metric", 200, GNOCCHI),
        ("orchestration", 300, {"versions": HEAT}),
        ("", 200, {"versions": []}),
        ("", 200, {"versions": ["v1"]}),
        ("", 200, ["v1"]),
        ("", 200, {"hello": "world"}),
    ],
)
def test_a_service_is_known_by_its_versions(kind: str, status: int, said: object) -> None:
    """Each in its own words; what says nothing of the kind is nobody."""
    assert kind_of(status, {}, json.dumps(said).encode()) == kind


def test_swift_is_known_by_its_transactions() -> None:
    """Whatever it answers; a page of somebody else is nobody."""
    assert kind_of(401, {"x-trans-id": "tx0123"}, b"<html>") == "object-store"
    assert kind_of(503, {}, b"<html>no server</html>") == ""


def test_urls_are_taken_apart() -> None:
    """The placeholder of a project is part of the path; the port is the protocol's where none is said."""
    assert base_of("http://10.0.0.6:8080/v1/AUTH_%(tenant_id)s") == Base("http", "10.0.0.6", 8080)
    assert path_of("http://10.0.0.6:8080/v1/AUTH_%(tenant_id)s") == "v1/AUTH_%(tenant_id)s"
    assert str(base_of("https://cloud.example.net")) == "https://cloud.example.net:443"
    assert str(base_of("http://[fd00::1]:5000/v3")) == "http://[fd00::1]:5000"


@pytest.mark.parametrize(
    ("said", "stale"),
    [
        ("Tue 2026-11-24 18:20:36.123456 UTC\n1795544436.000000", False),
        ("Tue 2026-11-24 18:20:36.123456 UTC\n1795544436.200000", True),
        ("Tue 2026-11-24 18:20:36 UTC\n1795544400.0\n1795544436.5", True),
        ("n/a\n1795544436.2", False),
        ("\n", False),
    ],
)
def test_a_unit_that_began_before_its_file_is_stale(said: str, stale: bool) -> None:
    """To the microsecond; one that never began is not."""
    assert older(said) is stale


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        (
            "swift-proxy.service loaded active enabled \nopenstack-swift-proxy.service not-found inactive  \n",
            "swift-proxy.service",
        ),
        ("swift-proxy.service loaded inactive disabled \n", ""),
        ("swift-proxy.service loaded failed enabled \n", "swift-proxy.service"),
        (
            "swift-proxy.service not-found inactive  \nopenstack-swift-proxy.service loaded active disabled \n",
            "openstack-swift-proxy.service",
        ),
        ("", ""),
    ],
)
def test_a_proxy_that_nobody_enabled_is_none(said: str, unit: str) -> None:
    """A package that was installed along with another is not a service."""
    assert wanted_unit(said) == unit
