"""The notebook's Swift: its endpoints point to the controller, its proxy runs on the storage node with Kilo's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.client import Config
from botocore.exceptions import ClientError

from nornir_stack.tasks.openstack.correct import endpoints as check_endpoints
from nornir_stack.tasks.openstack.correct import swift_endpoint
from nornir_stack.tasks.openstack.s3 import s3, s3_keys
from nornir_stack.tasks.openstack.stat import stat
from nornir_stack.tasks.openstack.swift_proxy import CONF
from tests.integration.cloud_lab import ADMIN, KEYSTONE, SERVICE, SWIFT, address, asked, cloud, endpoints, enter, well

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

# openstacksdk says of its own calls and defaults that they will go
pytestmark = [pytest.mark.cloud, pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]
ROLES = {"controller": ["c1"], "storage": ["st1"]}
# The notebook's S3, in Debian's file: yesterday's middleware, its order, its keys.
SWIFT3 = r"""
sed -i -e 's/ authtoken keystoneauth / swift3 s3token authtoken keystoneauth /' \
    -e '/^\[filter:s3token\]/,/^log_name = swift-s3token/d' "$1"
cat >>"$1" <<X
[filter:swift3]
use = egg:swift3#swift3
[filter:s3token]
paste.filter_factory = keystonemiddleware.s3_token:filter_factory
auth_port = 35357
auth_host = $2
auth_protocol = http
X
"""
ACCOUNT = "v1/AUTH_%(tenant_id)s"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("c1", "st1", tree="cloud")
    controller, storage = address(lab, "c1"), address(lab, "st1")
    enter(lab, "c1", KEYSTONE, controller, ADMIN)
    enter(lab, "st1", SWIFT, storage, controller, SERVICE)
    return lab


@pytest.fixture
def nr(lab: Lab, tmp_path: Path) -> Nornir:
    """The catalogue as packstack left it."""
    nr = cloud(lab, tmp_path, ROLES)
    wrong = f"http://{address(lab, 'c1')}:8080"

    def make(c: Any) -> None:
        identity = c.identity
        if not identity.find_project("services"):
            project = identity.create_project(name="services", domain_id="default")
            user = identity.create_user(name="swift", password=SERVICE, domain_id="default")
            identity.assign_project_role_to_user(project, user, identity.find_role("admin"))
        services = {each.name: each for each in identity.services()}
        have = {(each.service_id, each.interface): each for each in identity.endpoints()}
        for title, type_ in (("swift", "object-store"), ("swift_s3", "s3")):
            service = services.get(title) or identity.create_service(name=title, type=type_)
            for interface in ("public", "internal", "admin"):
                url = wrong if interface == "admin" else f"{wrong}/{ACCOUNT}"
                if old := have.get((service.id, interface)):
                    identity.update_endpoint(old, url=url)
                else:
                    identity.create_endpoint(service_id=service.id, interface=interface, region_id="RegionOne", url=url)

    asked(nr, make)
    return nr


def error(report: Report, stage: str) -> str:
    found = next(each for each in report.stages if each.name.endswith(stage))
    return "\n".join(found.problems)


def test_the_check_finds_every_wrong_endpoint_and_changes_nothing(nr: Nornir, lab: Lab) -> None:
    """A sentence for each, with what is right; exit code 1; the catalogue is as before."""
    before = endpoints(nr)
    report = check_endpoints().run(nr)
    assert report.exit_code == 1
    said = error(report, "ask")
    right = f"http://{address(lab, 'st1')}:8080"
    assert f"swift public http://{address(lab, 'c1')}:8080/{ACCOUNT}: nothing listens" in said
    assert f"{right}/{ACCOUNT} is right" in said
    assert "keystone" not in said
    assert endpoints(nr) == before
    assert check_endpoints(service="identity").run(nr).ok


def test_swift_is_put_right(nr: Nornir, lab: Lab) -> None:
    """Dry run, run, run again: same ids, right places, no account for S3, today's keys, `swift stat` by both ways."""
    before = endpoints(nr)
    conf = enter(lab, "st1", f"cat {CONF}")
    plan = swift_endpoint().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert endpoints(nr) == before
    assert enter(lab, "st1", f"cat {CONF}") == conf
    assert SERVICE not in plan.to_json()
    done = well(swift_endpoint().run(nr))
    after, right = endpoints(nr), f"http://{address(lab, 'st1')}:8080"
    assert {key: number for key, (number, _) in after.items()} == {key: number for key, (number, _) in before.items()}
    assert {key: url for key, (_, url) in after.items() if key[0] != "keystone"} == {
        ("swift", "public"): f"{right}/{ACCOUNT}",
        ("swift", "internal"): f"{right}/{ACCOUNT}",
        ("swift", "admin"): right,
        ("swift_s3", "public"): right,
        ("swift_s3", "internal"): right,
        ("swift_s3", "admin"): right,
    }
    now = enter(lab, "st1", f"cat {CONF}")
    assert "# packstack, 2015\n" in now
    assert "admin_tenant_name" not in now
    assert f"auth_url = http://{address(lab, 'c1')}:5000\n" in now
    assert [one.why for one in done.value(stat, "cloud1")] == ["", ""]
    since = enter(lab, "st1", "systemctl show -p ActiveEnterTimestampMonotonic swift-proxy")
    again = well(swift_endpoint().run(nr))
    assert again.changed == ()
    assert enter(lab, "st1", "systemctl show -p ActiveEnterTimestampMonotonic swift-proxy") == since
    assert enter(lab, "st1", f"cat {CONF}") == now


def test_a_run_that_was_cut_before_the_restart_is_made_good(nr: Nornir, lab: Lab) -> None:
    """The file is newer than the process: the next run restarts the proxy, and the one after it does nothing."""
    well(swift_endpoint().run(nr))
    since = enter(lab, "st1", "systemctl show -p ActiveEnterTimestampMonotonic swift-proxy")
    enter(lab, "st1", f"touch {CONF}")
    well(swift_endpoint().run(nr))
    then = enter(lab, "st1", "systemctl show -p ActiveEnterTimestampMonotonic swift-proxy")
    assert then != since
    assert swift_endpoint().run(nr).changed == ()


def test_a_proxy_that_was_stopped_is_started_and_found(nr: Nornir, lab: Lab) -> None:
    """The notebook only asked for its status."""
    enter(lab, "st1", "systemctl stop swift-proxy")
    assert "no node listens as object-store (c1, st1): start it" in error(
        check_endpoints(service="object-store").run(nr), "ask"
    )
    well(swift_endpoint().run(nr))
    assert enter(lab, "st1", "systemctl is-active swift-proxy").strip() == "active"


def test_a_node_that_is_not_there_stops_the_correction(nr: Nornir, lab: Lab) -> None:
    """The right proxy may be on it; named as missing it is left out."""
    before = endpoints(nr)
    nr.inventory.hosts["st1"].hostname = "10.255.255.1"
    nr.inventory.hosts["st1"].connection_options["ssh"].extras = {
        **(nr.inventory.hosts["st1"].connection_options["ssh"].extras or {}),
        "connect_timeout": 1,
    }
    report = swift_endpoint().run(nr)
    assert "st1 was not asked" in error(report, "keystone")
    assert endpoints(nr) == before
    report = check_endpoints(service="object-store", missing=["st1"]).run(nr)
    assert "no node listens as object-store (c1): start it" in error(report, "ask")


def test_s3_is_served(nr: Nornir, lab: Lab) -> None:
    """Yesterday's filters make room for Swift's own; Amazon's library lists, puts, gets, and is refused with a false secret."""
    well(swift_endpoint().run(nr))
    enter(lab, "st1", SWIFT3, CONF, address(lab, "c1"))
    plan = s3().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    done = well(s3().run(nr))
    assert "[filter:swift3]" not in enter(lab, "st1", f"cat {CONF}")
    keys = done.value(s3_keys, "cloud1")
    assert keys.secret.reveal() not in done.to_json()
    again = well(s3().run(nr))
    assert again.changed == ()
    assert again.value(s3_keys, "cloud1").access == keys.access
    client = buckets(lab, keys.access, keys.secret.reveal())
    client.create_bucket(Bucket="trial")
    client.put_object(Bucket="trial", Key="a/b.txt", Body=b"hello")
    assert [one["Key"] for one in client.list_objects_v2(Bucket="trial")["Contents"]] == ["a/b.txt"]
    assert client.get_object(Bucket="trial", Key="a/b.txt")["Body"].read() == b"hello"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        buckets(lab, keys.access, "not-the-secret").list_buckets()
    assert [one.containers for one in swift_endpoint().run(nr).value(stat, "cloud1")] == [1, 1]
    assert s3().run(nr).changed == ()
    client.delete_object(Bucket="trial", Key="a/b.txt")
    client.delete_bucket(Bucket="trial")


def buckets(lab: Lab, access: str, secret: str) -> Any:
    """Amazon's own client."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address(lab, 'st1')}:8080",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )
