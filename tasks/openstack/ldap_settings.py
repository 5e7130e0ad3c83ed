"""What an inventory says of directories whose users log in at Keystone: the key `ldap` of the host of the role cloud."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from nornir_stack.secret import Secret
from nornir_stack.settings import AbsolutePath, Text, form

# It is part of a file's name.
DomainName = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "the name of a domain, such as people")]
Url = Annotated[str, form(r"ldaps?://[^\s/,]+(,ldaps?://[^\s/,]+)*", "ldap://HOST or ldaps://HOST, several with commas")]
Attribute = Annotated[str, form(r"[A-Za-z][A-Za-z0-9-]*", "the name of an attribute, such as uid")]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A user of the directory whose login proves it."""

    user: Text
    password: Secret


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A domain of Keystone whose users and groups are a directory's. What is not said is as FreeIPA has it.

    With `ca` (a file on the controller) everything goes by TLS, and the server's certificate is judged; without one an
    `ldap://` goes in clear text, passwords too. `locked` is the attribute that locks an account out.
    """

    url: Url
    suffix: Text
    user: Text  # the DN that Keystone looks with
    password: Secret
    ca: AbsolutePath | None = None
    users: Text | None = None  # where they stand: cn=users,cn=accounts below the suffix
    user_class: Attribute = "inetOrgPerson"
    user_id: Attribute = "uid"
    user_name: Attribute = "uid"
    user_filter: Text | None = None
    locked: Attribute | None = None  # nsAccountLock in FreeIPA
    groups: Text | None = None  # cn=groups,cn=accounts below the suffix
    group_class: Attribute = "groupOfNames"
    group_name: Attribute = "cn"
    trial: Trial | None = None


@dataclass(frozen=True, kw_only=True)
class Ldap:
    """Domains by their names."""

    key: ClassVar[str] = "ldap"

    domains: Mapping[DomainName, Directory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.domains:
            if name.lower() == "default":
                raise ValueError(f"domains.{name}: the services' own users are in that domain: take another name")
