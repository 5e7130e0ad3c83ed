"""Members and decisions in one line each, so that cases are data that people can read.

A member is a state and its details: `synced A 118`, `down A 118 flag`, `crashed A recovered=A:120`. Words:

    synced donor joined joining   Primary, wsrep_local_state 4, 2, 3, 1       lists=db1,db2  whom it lists (else: all)
    unready                       Primary, Synced, but wsrep_ready OFF        conf=7         wsrep_cluster_conf_id (else 3)
    outside                       runs with Galera in no Primary component    size=4         wsrep_cluster_size (else as listed)
    starting receiving            unit activating; with a state transfer      v=11.4.2       its version (else 10.11.6)
    silent crashing               active, answers no SQL; in systemd's        new            started to bootstrap
                                  loop of restarts
    standalone                    runs without Galera                         residue        something left of a bootstrap
    down                          stopped cleanly, A 118 in grastate.dat      flag           safe_to_bootstrap: 1
    crashed                       grastate.dat says A, -1                     recovered=A:9  --wsrep-recover printed this
    unsafe                        grastate.dat has a zero UUID, beside data   gvwstate gvbroken  gvwstate.dat, good/empty
    never                         data directory made, never started          schemas=app    databases of people (else app with
    empty                         no data, no state                                          a history, none without)
    gone                          not seen                                    xa=2 flush=0 unmounted uninstalled garbd options
    cached=7                      the first write set in its gcache       upgrading      mariadb-upgrade runs
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.decision import Decision, Form, Nothing, Promote, RecoverPositions, Refuse, Stop, Wait
from nornir_stack.tasks.cluster.member import ZERO_UUID, Grastate, Gvwstate, Member, Position, Wsrep

if TYPE_CHECKING:
    from collections.abc import Mapping

LIVE = {"joining": 1, "donor": 2, "joined": 3, "synced": 4, "unready": 4, "outside": 0}


def uuid(letter: str) -> str:
    return ZERO_UUID if letter == "0" else "-".join(letter.lower() * size for size in (8, 4, 4, 4, 12))


def position(text: str) -> Position:
    letter, _, seqno = text.partition(":")
    return Position(uuid(letter), int(seqno or -1))


def cluster(rows: Mapping[str, str]) -> Seen[Member]:
    """Host to its line."""
    primary = tuple(host for host, line in rows.items() if line.split()[0] in LIVE and line.split()[0] != "outside")
    members = {host: member(host, line, primary) for host, line in rows.items() if line != "gone"}
    missing = {host: "unreachable" for host, line in rows.items() if line == "gone"}
    return Seen(members, missing, tuple(rows))


@cache
def member(host: str, line: str, primary: tuple[str, ...]) -> Member:
    state, *words = line.split()
    letter = next((word for word in words if len(word) == 1 and (word.isupper() or word == "0")), "0")
    numbers = [int(word) for word in words if word.lstrip("-").isdigit() and (word != "0" or words[0] != "0")]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    here = Position(uuid(letter), numbers[0] if numbers else -1)
    listed = tuple(given["lists"].split(",")) if "lists" in given else primary if state != "outside" else (host,)
    base = Member(node_name=host, node_address=f"{host}.net", cluster_address="gcomm://db1,db2,db3")
    made = details(alive(base, state, here, given, listed) if state in LIVE else asleep(base, state, here), words, given)
    if "schemas" not in given and not made.position.blank:
        made = replace(made, schemas=("app",))
    return made


def alive(base: Member, state: str, here: Position, given: Mapping[str, str], listed: tuple[str, ...]) -> Member:
    host = base.node_name
    incoming = tuple(given["incoming"].split(",")) if "incoming" in given else tuple(f"{name}.net:3306" for name in listed)
    wsrep = Wsrep(
        primary=state != "outside",
        size=int(given.get("size", len(incoming))),
        state=LIVE[state],
        comment=state.capitalize(),
        ready=state in {"synced", "donor"},
        connected=True,
        conf_id=int(given.get("conf", 3)),
        position=here,
        incoming=incoming,
        local_index=listed.index(host) if host in listed else -1,
        cached_from=int(given.get("cached", 0)),
    )
    return replace(
        base,
        unit="active",
        main_pid=7,
        pids=(7,),
        data=True,
        wsrep=wsrep,
        version="10.11.6",
        grastate=Grastate(Position(here.uuid), safe_to_bootstrap=False),
    )


def asleep(base: Member, state: str, here: Position) -> Member:
    crashed = replace(base, data=True, grastate=Grastate(Position(here.uuid), safe_to_bootstrap=False))
    states: dict[str, Member] = {
        "down": replace(crashed, grastate=Grastate(here, safe_to_bootstrap=False)),
        "crashed": crashed,
        "unsafe": replace(crashed, grastate=Grastate(safe_to_bootstrap=False)),
        "never": replace(base, data=True),
        "empty": base,
        "starting": replace(crashed, unit="activating", main_pid=7, pids=(7,)),
        "receiving": replace(crashed, unit="activating", main_pid=7, pids=(7,), sst=("wsrep_sst_rsync",)),
        "crashing": replace(crashed, unit="activating", sub_state="auto-restart"),
        "silent": replace(crashed, unit="active", main_pid=7, pids=(7,)),
        "standalone": replace(base, unit="active", main_pid=7, pids=(7,), data=True, wsrep=Wsrep(on=False)),
    }
    if state == "standalone" and not here.blank:
        return replace(states[state], grastate=Grastate(here))
    return states[state]


def details(made: Member, words: list[str], given: Mapping[str, str]) -> Member:
    if "flag" in words and made.grastate:
        made = replace(made, grastate=replace(made.grastate, safe_to_bootstrap=True))
    if "gvwstate" in words:
        made = replace(made, gvwstate=Gvwstate(200, uuid("D"), "3 x 12", (uuid("D"), uuid("E"))))
    if "gvbroken" in words:
        made = replace(made, gvwstate=Gvwstate(0))
    if "recovered" in given:
        made = replace(made, recovered=position(given["recovered"]))
    if "garbd" in words and made.wsrep:
        made = replace(made, wsrep=replace(made.wsrep, incoming=(*made.wsrep.incoming, ""), size=made.wsrep.size + 1))
    return replace(
        made,
        new_cluster="new" in words,
        residue=("the file /run/mysqld/wsrep-new-cluster is left over",) if "residue" in words else (),
        version=given.get("v", made.version) or None,
        prepared=int(given.get("xa", 0)),
        flush_log_at_commit=int(given["flush"]) if "flush" in given else None,
        mounted="unmounted" not in words,
        upgrading="upgrading" in words,
        installed="uninstalled" not in words,
        own_options="options" in words,
        schemas=tuple(name for name in given.get("schemas", "").split(",") if name),
    )


def told(decision: Decision) -> str:
    """The decision in one line, whole but for its sentences."""
    if isinstance(decision, (Refuse, Nothing)):
        return type(decision).__name__.lower()
    if isinstance(decision, Promote):
        return f"promote {decision.mandate.host} at {short(decision.mandate.position)}"
    if not isinstance(decision, Form):
        verb = {Wait: "wait", RecoverPositions: "recover", Stop: "stop"}[type(decision)]
        return " ".join((verb, *decision.members))
    parts = []
    for field, verb in (
        ("clear_residue", "clean"),
        ("stop_first", "stop"),
        ("discard", "discard"),
        ("set_aside", "aside"),
        ("clear_flags", "unflag"),
        ("mandate", "bootstrap"),
        ("joiners", "join"),
        ("restart_normally", "restart"),
    ):
        value: Any = getattr(decision, field)
        if field == "mandate" and value:
            parts.append(f"bootstrap {value.host} at {short(value.position)}{' fresh' if value.fresh else ''}")
        elif value:
            parts.append(" ".join((verb, *value)))
    return "; ".join(parts)


def short(where: Position) -> str:
    return f"{'0' if where.blank else where.uuid[0].upper()}:{where.seqno}"


def sentences(decision: Decision) -> str:
    """All that the decision says to people."""
    said: list[str] = []
    for field in fields(decision):
        value = getattr(decision, field.name)
        if field.name == "reason":
            said.append(value)
        elif field.name in {"reasons", "losses", "branches"}:
            said.extend(value)
    return " ".join(said)
