"""Swift's proxy-server.conf: Kilo's keys as today's, and the filters in the order in which they work. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.tasks.config import ini
from nornir_stack.tasks.openstack.ask import base_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PIPELINE, AUTHTOKEN, KEYSTONEAUTH = "pipeline:main", "filter:authtoken", "filter:keystoneauth"
S3API, S3TOKEN = "filter:s3api", "filter:s3token"
# Swift's manual, "Middleware": these stand at the end, in this order, and after whatever tells who asks.
_LAST = (
    "copy",
    "container-quotas",
    "container_quotas",
    "account-quotas",
    "account_quotas",
    "slo",
    "dlo",
    "versioned_writes",
    "symlink",
    "proxy-logging",
    "proxy-server",
)
# what tells who asks
_WHO = frozenset({"authtoken", "keystoneauth", "tempauth", "swauth"})
# keystonemiddleware's manual: what Kilo called it, and what it is called now
_RENAMED = {"admin_tenant_name": "project_name", "admin_user": "username", "admin_password": "password"}
_GONE = (
    "identity_uri",
    "auth_uri",
    "auth_host",
    "auth_port",
    "auth_protocol",
    "auth_admin_prefix",
    "auth_version",
    "auth_plugin",
    "admin_token",
    *_RENAMED,
)
_ADMIN_PORT, _PORT = 35357, 5000
Wanted = dict[str, dict[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Login:
    """As whom the proxy asks Keystone, at `url`."""

    url: str
    user: str
    project: str
    password: str
    user_domain: str = "Default"
    project_domain: str = "Default"

    @property
    def options(self) -> dict[str, tuple[str, ...]]:
        """Its keys in a filter's section."""
        return {
            "auth_url": (self.url,),
            "auth_type": ("password",),
            "username": (self.user,),
            "password": (self.password,),
            "user_domain_name": (self.user_domain,),
            "project_name": (self.project,),
            "project_domain_name": (self.project_domain,),
        }


def asked(text: str) -> tuple[str, ...]:
    """Where the file says that Keystone is, best first: today's key, then Kilo's with the port that it has today."""
    have = section(text, AUTHTOKEN)
    found = [have.get(key, "") for key in ("auth_url", "identity_uri", "auth_uri", "www_authenticate_uri")]
    if "auth_host" in have:
        found.append(f"{have.get('auth_protocol', 'http')}://{have['auth_host']}:{have.get('auth_port', _ADMIN_PORT)}")
    urls = [url.rstrip("/") for url in found if url]
    return tuple(dict.fromkeys(url.replace(f":{_ADMIN_PORT}", f":{_PORT}") for url in urls))


def login(text: str, keystone: str, password: str = "", *, user: str = "") -> Login:
    """As whom the file logs in, by today's keys or Kilo's; `password` and `user` are used instead, if given.

    Raises Refused where there is no password.
    """
    have = section(text, AUTHTOKEN)
    secret = password or have.get("password") or have.get("admin_password")
    if not secret:
        raise Refused(
            "proxy-server.conf has no password of Swift's user: give the inventory one (swift: password: !secret ...)"
        )
    return Login(
        keystone,
        user or have.get("username") or have.get("admin_user") or "swift",
        have.get("project_name") or have.get("admin_tenant_name") or "service",
        secret,
        have.get("user_domain_name", "Default"),
        have.get("project_domain_name", "Default"),
    )


def with_keystone(text: str, by: Login, public: str) -> str:
    """The file with Keystone asked by today's keys at `by.url`; `public` is where users are sent for a token."""
    have = section(text, AUTHTOKEN)
    wanted: Wanted = {
        AUTHTOKEN: {
            "paste.filter_factory": ("keystonemiddleware.auth_token:filter_factory",),
            **{key: () for key in _GONE if key in have},
            "www_authenticate_uri": (public,),
            **by.options,
            # without it nobody gets to what is public, to a temporary URL, or to S3
            "delay_auth_decision": ("True",),
        },
    }
    # by id is as good as by name
    for name in ("user_domain", "project_domain"):
        if f"{name}_id" in have and f"{name}_name" not in have:
            del wanted[AUTHTOKEN][f"{name}_name"]
    if "use" in (roles := section(text, KEYSTONEAUTH)) or "paste.filter_factory" in roles:
        wanted[KEYSTONEAUTH] = {}
    else:
        wanted[KEYSTONEAUTH] = {"use": ("egg:swift#keystoneauth",)}
    if "operator_roles" not in roles:
        wanted[KEYSTONEAUTH]["operator_roles"] = ("admin, member",)
    return _with_pipeline(_edited(text, wanted), keystone_pipeline(pipeline(text)))


def with_defaults(text: str, address: str, workers: int | None) -> str:
    """The file with the proxy listening on `address`, an account made when it is first asked for, so many processes."""
    common: dict[str, tuple[str, ...]] = {"bind_ip": (address,)}
    if workers is not None:
        common["workers"] = (str(workers),)
    wanted: Wanted = {"DEFAULT": common, "app:proxy-server": {"account_autocreate": ("true",)}}
    return _edited(text, wanted)


def with_s3(text: str, by: Login) -> str:
    """The file with S3 served by Swift's own filters, Keystone asked with credentials, and swift3 gone."""
    url = by.url.rstrip("/")
    old = section(text, S3TOKEN)
    known = {"use", "set log_name", "log_name", "reseller_prefix", "http_timeout", "secret_cache_duration"}
    token: dict[str, tuple[str, ...]] = {key: () for key in old if key not in known}
    token |= {
        "use": ("egg:swift#s3token",),
        "auth_uri": (url if url.endswith("/v3") else f"{url}/v3",),
        # Keystone tells nobody else what a signature is worth since the fix of its s3tokens API (USN-7857-1)
        **by.options,
    }
    if "delay_auth_decision" in old:
        token["delay_auth_decision"] = (old["delay_auth_decision"],)
    text = without_section(text, "filter:swift3")
    text = _edited(text, {S3API: {"use": ("egg:swift#s3api",)}, S3TOKEN: token})
    return _with_pipeline(text, s3_pipeline(pipeline(text)))


def keystone_pipeline(filters: Sequence[str]) -> tuple[str, ...]:
    """The pipeline with `authtoken` and `keystoneauth` in the place of whatever told who asks; the same when done twice.

    S3's own filters, where they are, stand between the two.
    """
    inner = ("s3api", "s3token") if "s3api" in filters else ()
    moved = {*_WHO, *inner}
    rest = [name for name in filters if name not in moved]
    first = next((i for i, name in enumerate(filters) if name in _WHO), None)
    at = _end(rest) if first is None else len([name for name in filters[:first] if name not in moved])
    return (*rest[:at], "authtoken", *inner, "keystoneauth", *rest[at:])


def s3_pipeline(filters: Sequence[str]) -> tuple[str, ...]:
    """The pipeline with S3's filters where they work: `authtoken s3api s3token keystoneauth`; the same when done twice.

    With `s3token` before `authtoken` Keystone says yes and the client still gets SignatureDoesNotMatch.
    Raises Refused where Keystone is not asked, or something that S3 must see stands too early.
    """
    rest = [name for name in filters if name not in {"swift3", "s3api", "s3token"}]
    if "authtoken" not in rest or "keystoneauth" not in rest:
        raise Refused("the pipeline of the proxy has no authtoken and keystoneauth: run swift.endpoint first")
    rest = list(keystone_pipeline(rest))
    at = rest.index("authtoken")
    early = [name for name in rest[:at] if name in {"slo", "dlo", "copy", "versioned_writes", "symlink"}]
    if early:
        raise Refused(f"{early[0]} stands before authtoken in the pipeline, and S3 needs it after: correct the pipeline first")
    return (*rest[: at + 1], "s3api", "s3token", *rest[at + 1 :])


def pipeline(text: str) -> tuple[str, ...]:
    """The names of the proxy's filters. Raises Refused where the file has no pipeline that ends in a proxy."""
    filters = tuple(section(text, PIPELINE).get("pipeline", "").split())
    if not filters or filters[-1] != "proxy-server":
        raise Refused("proxy-server.conf has no [pipeline:main] that ends in proxy-server: reinstall Swift's proxy")
    return filters


def section(text: str, name: str) -> dict[str, str]:
    """Key to value, of several the last."""
    return {key: several[-1] for key, several in ini.parsed(text, dialect="paste").get(name, {}).items() if several}


def without_section(text: str, name: str) -> str:
    """The text without the section: its header, its keys, and the comments up to the next header."""
    lines = text.splitlines(keepends=True)
    at = next((i for i, line in enumerate(lines) if line.strip() == f"[{name}]"), None)
    if at is None:
        return text
    end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("[")), len(lines))
    return "".join([*lines[:at], *lines[end:]])


def kept(url: str) -> str:
    """A Keystone's URL as the file's keys have it: without a path."""
    return str(base_of(url))


def _end(filters: Sequence[str]) -> int:
    """Where the filters begin that must stand last."""
    at = len(filters)
    while at and filters[at - 1] in _LAST:
        at -= 1
    return at


def _with_pipeline(text: str, filters: Sequence[str]) -> str:
    if pipeline(text) == tuple(filters):
        return text
    return _edited(text, {PIPELINE: {"pipeline": (" ".join(filters),)}})


def _edited(text: str, wanted: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    return ini.edited(text, wanted, dialect="paste")
