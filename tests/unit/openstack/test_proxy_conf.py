"""Swift's proxy-server.conf: Kilo's keys, the order of filters, S3."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.errors import Refused
from nornir_stack.tasks.openstack.proxy_conf import (
    AUTHTOKEN,
    KEYSTONEAUTH,
    S3API,
    S3TOKEN,
    Login,
    asked,
    keystone_pipeline,
    login,
    pipeline,
    s3_pipeline,
    section,
    with_keystone,
    with_s3,
    without_section,
)

KILO = """\
[DEFAULT]
bind_port = 8080
# as packstack left it
[pipeline:main]
pipeline = catch_errors healthcheck cache authtoken keystoneauth container_sync bulk ratelimit staticweb tempurl slo \
formpost account_quotas container_quotas proxy-server

[app:proxy-server]
use = egg:swift#proxy

[filter:authtoken]
log_name = swift
signing_dir = /var/cache/swift
paste.filter_factory = keystonemiddleware.auth_token:filter_factory

identity_uri = http://10.0.0.5:35357/
auth_uri = http://10.0.0.5:5000

admin_tenant_name = services
admin_user = swift
admin_password = secret_pass
# public containers need this
delay_auth_decision = true
cache = swift.cache
include_service_catalog = False

[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, SwiftOperator
"""
DEBIAN = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats container_sync bulk tempurl ratelimit \
tempauth copy container-quotas account-quotas slo dlo versioned_writes symlink proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
[filter:tempauth]
use = egg:swift#tempauth
[filter:s3api]
use = egg:swift#s3api
[filter:s3token]
use = egg:swift#s3token
reseller_prefix = AUTH_
delay_auth_decision = False
auth_uri = http://keystonehost:5000/v3
http_timeout = 10.0
"""
SWIFT3 = (
    KILO.replace("cache authtoken", "cache swift3 s3token authtoken")
    + """\

[filter:swift3]
use = egg:swift#swift3
# of 2015

[filter:s3token]
paste.filter_factory = keystonemiddleware.s3_token:filter_factory
auth_port = 35357
auth_host = 10.0.0.5
auth_protocol = http
"""
)
BY = Login("http://10.0.0.5:5000", "swift", "services", "secret_pass")


def test_kilos_keys_become_todays() -> None:
    """Every key of the notebook's file has its place: who logs in, where, with what; the administration port is gone."""
    by = login(KILO, asked(KILO)[0])
    new = with_keystone(KILO, by, "http://10.0.0.5:5000")
    assert section(new, AUTHTOKEN) == {
        "log_name": "swift",
        "signing_dir": "/var/cache/swift",
        "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
        "auth_url": "http://10.0.0.5:5000",
        "www_authenticate_uri": "http://10.0.0.5:5000",
        "auth_type": "password",
        "username": "swift",
        "password": "secret_pass",
        "project_name": "services",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "delay_auth_decision": "True",
        "cache": "swift.cache",
        "include_service_catalog": "False",
    }


def test_comments_and_other_sections_are_kept_and_twice_is_as_once() -> None:
    """The operator's words stay; his roles too."""
    new = with_keystone(KILO, BY, BY.url)
    assert "# as packstack left it\n" in new
    assert "# public containers need this\n" in new
    assert section(new, KEYSTONEAUTH)["operator_roles"] == "admin, SwiftOperator"
    assert with_keystone(new, login(new, asked(new)[0]), BY.url) == new


def test_a_fresh_file_gets_keystone_in_the_place_of_tempauth() -> None:
    """Debian's own file: the filters and both sections are made, nothing else moves."""
    new = with_keystone(DEBIAN, BY, BY.url)
    assert " ratelimit authtoken keystoneauth copy " in f" {' '.join(pipeline(new))} "
    assert section(new, KEYSTONEAUTH) == {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"}
    assert section(new, AUTHTOKEN)["auth_url"] == BY.url


def test_an_account_named_by_id_is_not_named_twice() -> None:
    """keystoneauth takes the id of a domain or its name."""
    text = KILO.replace("admin_user = swift", "username = swift\nuser_domain_id = default")
    new = section(with_keystone(text, BY, BY.url), AUTHTOKEN)
    assert new["user_domain_id"] == "default"
    assert "user_domain_name" not in new
    assert new["project_domain_name"] == "Default"


def test_where_keystone_is_asked_at() -> None:
    """Today's key before Kilo's, each once; the port 35357 is 5000 today; host, port and protocol apart are put together."""
    assert asked(KILO) == ("http://10.0.0.5:5000",)
    assert asked(KILO.replace("identity_uri", "auth_url = http://new:5000/v3\nidentity_uri")) == (
        "http://new:5000/v3",
        "http://10.0.0.5:5000",
    )
    apart = "[filter:authtoken]\nauth_host = ks\nauth_port = 35357\nauth_protocol = https\n"
    assert asked(apart) == ("https://ks:5000",)


def test_without_a_password_it_is_refused() -> None:
    """Only the inventory can give one then."""
    text = KILO.replace("admin_password = secret_pass\n", "")
    with pytest.raises(Refused, match="no password of Swift's user"):
        login(text, BY.url)
    assert login(text, BY.url, "from-the-inventory").password == "from-the-inventory"


def test_a_file_without_a_pipeline_is_refused() -> None:
    """Nobody knows what its proxy would do."""
    with pytest.raises(Refused, match=r"no \[pipeline:main\] that ends in proxy-server"):
        pipeline("[pipeline:main]\npipeline = cache\n")


def test_swift3_is_replaced_by_swifts_own_filters() -> None:
    """Kilo's swift3 and keystonemiddleware's s3_token go, with their keys; credentials come."""
    base = with_keystone(SWIFT3, BY, BY.url)
    new = with_s3(base, BY)
    assert "swift3" not in new
    assert " cache authtoken s3api s3token keystoneauth container_sync " in f" {' '.join(pipeline(new))} "
    assert section(new, S3API) == {"use": "egg:swift#s3api"}
    assert section(new, S3TOKEN) == {
        "use": "egg:swift#s3token",
        "auth_uri": "http://10.0.0.5:5000/v3",
        "auth_url": "http://10.0.0.5:5000",
        "auth_type": "password",
        "username": "swift",
        "password": "secret_pass",
        "project_name": "services",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    assert with_s3(new, BY) == new
    assert with_keystone(new, BY, BY.url) == new


def test_debians_prepared_sections_are_used() -> None:
    """Its values for what is not about Keystone stay."""
    new = with_s3(with_keystone(DEBIAN, BY, BY.url), BY)
    token = section(new, S3TOKEN)
    assert token["auth_uri"] == "http://10.0.0.5:5000/v3"
    assert (token["reseller_prefix"], token["http_timeout"], token["delay_auth_decision"]) == ("AUTH_", "10.0", "False")


def test_s3_before_keystone_is_refused() -> None:
    """tempauth has no EC2 credentials."""
    with pytest.raises(Refused, match=r"run swift\.endpoint first"):
        s3_pipeline(pipeline(DEBIAN))


def test_a_filter_that_s3_needs_behind_it_is_refused_before_it() -> None:
    """A multipart upload becomes an SLO: a pipeline with slo in front could not serve it."""
    with pytest.raises(Refused, match="slo stands before authtoken"):
        s3_pipeline(("cache", "slo", "authtoken", "keystoneauth", "proxy-server"))


def test_a_section_is_taken_out_up_to_the_next_header() -> None:
    """And nothing of the one behind it."""
    assert without_section("[a]\nx = 1\n[b]\n# c\ny = 2\n\n[c]\nz = 3\n", "b") == "[a]\nx = 1\n[c]\nz = 3\n"
    assert without_section("[a]\n", "b") == "[a]\n"


FRONT = ("catch_errors", "gatekeeper", "healthcheck", "proxy-logging", "cache", "bulk", "tempurl", "ratelimit", "staticweb")
BACK = ("copy", "container-quotas", "slo", "dlo", "versioned_writes", "proxy-server")
WHO = ("authtoken", "keystoneauth", "s3api", "s3token", "swift3", "tempauth")


@given(
    front=st.lists(st.sampled_from(FRONT), unique=True),
    who=st.lists(st.sampled_from(WHO), unique=True),
    back=st.lists(st.sampled_from(BACK[:-1]), unique=True),
)
def test_every_pipeline_ends_up_in_the_order_that_works(front: list[str], who: list[str], back: list[str]) -> None:
    """Whatever stood there: Keystone is asked once, S3 between its two filters, all others in their order; twice is as once."""
    filters = (*front, *who, *back, "proxy-server")
    keystone = keystone_pipeline(filters)
    assert keystone_pipeline(keystone) == keystone
    new = s3_pipeline(keystone)
    assert s3_pipeline(new) == new
    assert keystone_pipeline(new) == new
    at = new.index("authtoken")
    assert new[at : at + 4] == ("authtoken", "s3api", "s3token", "keystoneauth")
    assert [name for name in new if name not in WHO] == [name for name in filters if name not in WHO]
    assert len(set(new)) == len(new)


@pytest.mark.parametrize("order", list(permutations(["authtoken", "s3api", "s3token", "keystoneauth"])))
def test_every_wrong_order_is_put_right(order: tuple[str, ...]) -> None:
    """All twenty-four."""
    assert s3_pipeline(("cache", *order, "slo", "proxy-server"))[1:5] == ("authtoken", "s3api", "s3token", "keystoneauth")
