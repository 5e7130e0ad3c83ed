"""What an inventory says about telemetry: the key `telemetry` of controllers."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from nornir_stack.secret import Secret
from nornir_stack.settings import AbsolutePath, Port, Text, form


@dataclass(frozen=True, kw_only=True)
class Mongo:
    """MongoDB behind an old Ceilometer; the node that has it runs mongodump and mongorestore."""

    server: Text | None = None  # default: the node's own address
    port: Port = 27017
    database: Annotated[str, form(r"[A-Za-z0-9_-]+", "the name of a database")] = "ceilometer"
    username: Text | None = None
    password: Secret | None = None
    data: AbsolutePath = "/var/lib/mongodb"  # dbPath; a server that runs on the node is looked at beside
    dump: AbsolutePath = "/srv/mongodump"  # on another disk


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Everything may be left out."""

    key: ClassVar[str] = "telemetry"

    config: AbsolutePath = "/etc/ceilometer/ceilometer.conf"
    mongodb: Mongo = Mongo()
