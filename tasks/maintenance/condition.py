"""How a node does, as one look finds it. Sizes are bytes, times seconds since 1970 by the node's own clock."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Disk:
    """A file system of a disk; `free` is what an ordinary user may still take."""

    mount: str
    source: str
    type: str
    size: int
    used: int
    free: int
    inodes: int = 0
    inodes_used: int = 0

    @property
    def percent(self) -> float:
        """As df(1) counts: what is reserved for root is neither used nor free."""
        return 100 * self.used / (self.used + self.free) if self.used + self.free else 0.0

    @property
    def inodes_percent(self) -> float:
        return 100 * self.inodes_used / self.inodes if self.inodes else 0.0


@dataclass(frozen=True)
class Memory:
    """`pressure`: percent of the last five minutes in which something waited for memory (None: this kernel does not say).

    `oom_kills`: processes killed for want of memory since the boot.
    """

    total: int = 0
    available: int = 0
    swap: int = 0
    swap_free: int = 0
    pressure: float | None = None
    oom_kills: int = 0


@dataclass(frozen=True)
class FailedUnit:
    """A unit that failed, or is started again and again."""

    unit: str
    state: str
    result: str
    restarts: int
    since: int


@dataclass(frozen=True)
class Certificate:
    """The first of a file to end. `problem`: why it could not be read."""

    path: str
    subject: str = ""
    ends: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Updates:
    """Newer packages. `security`: their names; `lists`: when the package manager asked its sources last (0: never)."""

    security: tuple[str, ...] = ()
    others: int = 0
    lists: int = 0


@dataclass(frozen=True)
class Kernel:
    """`newest` is the newest that is installed (empty in a container); `reboot`: packages that ask for a boot.

    `replaced`: services that run libraries or programs which were replaced on the disk.
    """

    running: str = ""
    newest: str = ""
    reboot: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Array:
    """A RAID; `state` in words, empty where all is well."""

    name: str
    state: str = ""


@dataclass(frozen=True)
class Drive:
    """A disk by its own account (SMART); `severe` and `notes` are empty where all is well."""

    name: str
    severe: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Log:
    """A large file below /var/log, and when it was written last."""

    path: str
    size: int
    written: int


@dataclass(frozen=True)
class Queue:
    name: str
    messages: int
    consumers: int


@dataclass(frozen=True)
class Rabbit:
    """RabbitMQ where its unit runs. `problem`: it gave no answer. `missing`: nodes of its cluster that do not run."""

    problem: str = ""
    alarms: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    queues: tuple[Queue, ...] = ()


@dataclass(frozen=True)
class Keys:
    """A key repository of Keystone: how many, when they were rotated last, and whether others than its user can read them."""

    folder: str
    count: int
    rotated: int
    exposed: bool


@dataclass(frozen=True)
class BackupSeen:
    """The newest file of a backup; `count` 0: there is none."""

    name: str
    newest: int = 0
    size: int = 0
    count: int = 0
    path: str = ""


@dataclass(frozen=True)
class Namespace:
    """A network namespace; `links` beside lo; `broken`: a name that no namespace stands behind."""

    name: str
    links: int
    processes: int
    broken: bool = False


@dataclass(frozen=True)
class Condition:
    """All of it. `clock_offset`: seconds ahead of the machine that looks, give or take `clock_doubt`.

    `clock_keeper`: the service that keeps the clock (`the host` in a container, empty: none). `hung`: what did not answer.
    """

    now: float
    boot: str = ""
    machine: str = ""
    clock_offset: float = 0.0
    clock_doubt: float = 0.0
    clock_keeper: str = ""
    synchronised: bool = True
    disks: tuple[Disk, ...] = ()
    memory: Memory = field(default_factory=Memory)
    failed: tuple[FailedUnit, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    updates: Updates | None = None
    kernel: Kernel = field(default_factory=Kernel)
    arrays: tuple[Array, ...] = ()
    drives: tuple[Drive, ...] = ()
    logs: tuple[Log, ...] = ()
    logs_size: int = 0
    rabbit: Rabbit | None = None
    keys: tuple[Keys, ...] = ()
    backups: tuple[BackupSeen, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    ports: tuple[str, ...] = ()
    hung: tuple[str, ...] = ()
