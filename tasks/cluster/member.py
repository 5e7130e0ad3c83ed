"""What one look at a Galera member saw, as one typed value. No judgement across members here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

ZERO_UUID = "00000000-0000-0000-0000-000000000000"
TRANSFER_PORT = 4444
INITIALIZED, JOINING, DONOR, JOINED, SYNCED = range(5)
"""`wsrep_local_state`; a server outside of a Primary component says 0, Initialized."""

_UP = frozenset({"active", "activating", "reloading", "deactivating"})
_RECOVERED = re.compile(r"WSREP: Recovered position:?\s+([0-9a-fA-F-]{36}):(-?\d+)")
_PREPARED = re.compile(r"Found (\d+) prepared (?:XA )?transactions?")


@dataclass(frozen=True)
class Position:
    """A cluster's history (`uuid`) and the last write set of it that is known here; `seqno` -1: not known."""

    uuid: str = ZERO_UUID
    seqno: int = -1

    @property
    def blank(self) -> bool:
        """No history at all: the zero UUID."""
        return self.uuid in {"", ZERO_UUID}

    @property
    def known(self) -> bool:
        return not self.blank and self.seqno >= 0

    def __str__(self) -> str:
        return "no history" if self.blank else f"{self.uuid}:{self.seqno}"


NOWHERE = Position()


@dataclass(frozen=True)
class Grastate:
    """`grastate.dat`. Missing or empty counts as safe to bootstrap for Galera 3 (`galera/src/saved_state.cpp`)."""

    position: Position = NOWHERE
    safe_to_bootstrap: bool = True
    empty: bool = False
    written: int | None = None
    """When, in seconds since 1970."""


@dataclass(frozen=True)
class Gvwstate:
    """`gvwstate.dat`: the last Primary view, by which `pc.recovery` forms it again."""

    size: int
    mine: str = ""
    view: str = ""
    members: tuple[str, ...] = ()

    @property
    def broken(self) -> bool:
        """The server will not start with it: "invalid UUID" (galera #354)."""
        return not self.members or self.mine in {"", ZERO_UUID}


@dataclass(frozen=True)
class Wsrep:
    """What the running server says of itself (`SHOW GLOBAL STATUS LIKE 'wsrep%'`)."""

    on: bool = True
    """False: it runs without Galera (`wsrep_on` off or no provider)."""
    primary: bool = False
    size: int = 0
    state: int = INITIALIZED
    comment: str = ""
    ready: bool = False
    connected: bool = False
    conf_id: int = -1
    position: Position = NOWHERE
    """`wsrep_cluster_state_uuid` and `wsrep_last_committed`."""
    incoming: tuple[str, ...] = ()
    """As it stands in `wsrep_incoming_addresses`: with ports; an arbitrator (garbd) is an empty entry."""
    local_index: int = -1
    evs_state: str = ""
    flow_control_paused: float = 0.0
    """Share of the time since the last FLUSH STATUS, 0 to 1."""
    receive_queue: int = 0
    receive_queue_average: float = 0.0
    send_queue: int = 0
    certification_failures: int = 0
    cached_from: int = 0
    """The first write set in its gcache (`wsrep_local_cached_downto`); -1: none; 0: not told."""

    def keeps(self, seqno: int) -> bool:
        """Whether it has all write sets after `seqno` for others (IST), as far as it says.

        Galera leaves the oldest 1/128 of what is cached out (`safe_ist_seqno`, gcs/src/gcs_group.cpp).
        """
        if self.cached_from == 0:
            return True
        left_out = (self.position.seqno - self.cached_from) // 128
        return seqno >= self.position.seqno or (self.cached_from != -1 and self.cached_from + left_out <= seqno + 1)

    @property
    def own(self) -> str:
        """This member's own entry in `incoming`; empty if it cannot be told (some MariaDB list everyone as AUTO)."""
        entry = self.incoming[self.local_index] if 0 <= self.local_index < len(self.incoming) else ""
        return "" if entry.partition(":")[0] == "AUTO" else entry

    @property
    def listed(self) -> frozenset[str]:
        return frozenset(entry for entry in self.incoming if entry and entry.partition(":")[0] != "AUTO")

    @property
    def arbitrators(self) -> int:
        return sum(not entry for entry in self.incoming) if len(self.incoming) > 1 else 0


@dataclass(frozen=True)
class Member:
    """Everything that one look saw. `None` means: not looked at, or could not be told."""

    unit: str = "inactive"
    """systemd's ActiveState; empty where there is no systemd."""
    sub_state: str = "dead"
    masked: bool = False
    main_pid: int = 0
    starts: tuple[str, ...] = ()
    """When each of its units was last started, microseconds since the boot of the node, as systemd writes it."""
    pids: tuple[int, ...] = ()
    """Server processes of this node's own process namespace (containers on it are others' nodes)."""
    ports: frozenset[int] = frozenset()
    """TCP ports that something listens on."""
    holders: tuple[tuple[int, str], ...] = ()
    """Process id and name of those who listen on the port of state transfers."""
    wsrep: Wsrep | None = None
    """None: no server answered SQL."""
    node_name: str = ""
    node_address: str = ""
    cluster_name: str = ""
    cluster_address: str = ""
    """`wsrep_cluster_address` as configured."""
    grastate: Grastate | None = None
    gvwstate: Gvwstate | None = None
    recovered: Position | None = None
    """What `--wsrep-recover` printed in this run."""
    prepared: int = 0
    """XA transactions that `--wsrep-recover` found prepared."""
    data: bool = False
    """The data directory holds `ibdata1`."""
    schemas: tuple[str, ...] = ()
    """Databases that people made."""
    new_cluster: bool = False
    """The running server was started to bootstrap (`--wsrep-new-cluster` in its arguments, or the bootstrap unit)."""
    residue: tuple[str, ...] = ()
    """What would make the *next* start bootstrap, as sentences."""
    flush_log_at_commit: int | None = None
    version: str | None = None
    """Of the server that answers, else of the program."""
    own_options: bool = False
    """Provider options are variables of their own (`wsrep_provider_pc_bootstrap`): MariaDB's wsrep-provider plugin."""
    provider: str | None = None
    installed: bool = True
    mounted: bool = True
    """False: the data disk is not mounted where it should be, so nothing is known of the data."""
    free_bytes: int | None = None
    """On the file system of the data directory."""
    sst: tuple[str, ...] = field(default=())
    """Names of running state transfer processes (`wsrep_sst_...`)."""
    sst_marker: bool = False
    """The file `sst_in_progress` is there: a transfer runs, or was cut."""
    upgrading: bool = False
    """The system tables are brought to the server's release (mariadb-upgrade), for this member alone, while it serves.

    Debian's /etc/mysql/debian-start does so in the background of every start, for real after a full copy: mysql_upgrade_info
    is not copied. Measured (11.8.9): its ALTER TABLE mysql.db and a GRANT that another member replicates then wait for each
    other for ever, and with them every later write of the cluster on this member.
    """

    @property
    def running(self) -> bool:
        """Any sign of life: when in doubt it runs."""
        return bool(self.wsrep or self.pids or self.main_pid or self.unit in _UP)

    @property
    def starting(self) -> bool:
        """Under way to something: left alone until it has settled (LP 2161773)."""
        if self.serves or not self.running:
            return self.serves and self.upgrading
        if self.crashing:
            return False
        if self.unit in {"activating", "reloading", "deactivating"} or self.sst:
            return True
        return self.wsrep is not None and self.wsrep.on and self.wsrep.state in {JOINING, JOINED}

    @property
    def crashing(self) -> bool:
        """systemd waits to start it again after it failed (Restart=on-abnormal, which hits no limit): it may do so for ever."""
        return self.unit == "activating" and self.sub_state == "auto-restart"

    @property
    def silent(self) -> bool:
        """Runs, is not starting, and answers no SQL: hung, paused, or the login is wrong. It may be Primary."""
        return self.running and self.wsrep is None and not self.starting

    @property
    def standalone(self) -> bool:
        return self.wsrep is not None and not self.wsrep.on

    @property
    def primary(self) -> bool:
        return self.wsrep is not None and self.wsrep.on and self.wsrep.primary

    @property
    def outside(self) -> bool:
        """Runs with Galera, answers, has settled, and is in no Primary component."""
        return self.wsrep is not None and self.wsrep.on and not self.wsrep.primary and not self.starting

    @property
    def serves(self) -> bool:
        """Primary, ready and connected, Synced or a donor: it counts for the cluster."""
        wsrep = self.wsrep
        return wsrep is not None and self.primary and wsrep.state in {DONOR, SYNCED} and wsrep.ready and wsrep.connected

    @property
    def synced(self) -> bool:
        return self.serves and self.wsrep is not None and self.wsrep.state == SYNCED

    @property
    def suspect(self) -> bool:
        """Its saved state was set to zero although it has data: inconsistency, a cut transfer, or a crash during DDL."""
        saved = self.grastate
        return not self.running and self.data and saved is not None and not saved.empty and saved.position.blank

    @property
    def position(self) -> Position:
        """The best that is known: the living server, then `--wsrep-recover`, then the file (galera #499: files can be stale).

        A file without data, and data that Galera marked as unsafe, are no position.
        """
        if self.wsrep is not None and self.wsrep.on:
            return self.wsrep.position
        if not self.data or self.suspect:
            return NOWHERE
        if self.recovered is not None:
            return self.recovered
        return self.grastate.position if self.grastate else NOWHERE

    @property
    def needs_recover(self) -> bool:
        """Down, with data whose position only `--wsrep-recover` can tell."""
        if self.running or not self.data or self.recovered is not None or self.suspect:
            return False
        if self.grastate is None or self.grastate.empty:
            return bool(self.schemas)
        return not self.grastate.position.known

    @property
    def unasked(self) -> bool:
        """Galera marked its data as unsafe, databases of people are in them, and `--wsrep-recover` was not asked how far they
        reach: a crash during DDL zeroes the file and not the data. What a cut transfer left is nobody's own.
        """
        return self.suspect and self.recovered is None and bool(self.schemas) and not self.sst_marker

    @property
    def stale(self) -> tuple[tuple[int, str], ...]:
        """Who listens for a state transfer although no server runs: left of one that was cut. (0, ""): that cannot be told."""
        if self.running or TRANSFER_PORT not in self.ports:
            return ()
        return self.holders or ((0, ""),)

    @property
    def flagged(self) -> bool:
        """`safe_to_bootstrap: 1` that means something: beside a history with a number."""
        return bool(self.grastate and self.grastate.safe_to_bootstrap and self.grastate.position.known)

    @property
    def residues(self) -> tuple[str, ...]:
        """Everything left of a bootstrap, the way the server was started included."""
        started = ("the server was started to bootstrap (--wsrep-new-cluster) and still runs so",) if self.new_cluster else ()
        return started + self.residue


def recovered(member: Member, output: str) -> Member:
    """The member with what this run's `mariadbd --wsrep-recover` printed (its log, whole).

    The last position counts. Raises ValueError if there is none: then nothing is known, and the log says why.
    """
    found = _RECOVERED.findall(output)
    if not found:
        raise ValueError("--wsrep-recover printed no position")
    uuid, seqno = found[-1]
    prepared = _PREPARED.findall(output)
    return replace(member, recovered=Position(uuid.lower(), int(seqno)), prepared=int(prepared[-1]) if prepared else 0)
