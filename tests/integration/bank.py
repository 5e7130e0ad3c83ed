"""A bank of accounts under load: clients transfer money all along, and write down outside the cluster what it acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pymysql

from tests.integration.cluster_lab import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

ACCOUNTS, START = 20, 100
_SECONDS = 4
TABLES = f"""
CREATE TABLE IF NOT EXISTS my_test_db.account (id INT PRIMARY KEY, balance INT NOT NULL);
CREATE TABLE IF NOT EXISTS my_test_db.transfer (id BIGINT PRIMARY KEY);
DELETE FROM my_test_db.transfer;
REPLACE INTO my_test_db.account SELECT seq, {START} FROM my_test_db.seq_1_to_{ACCOUNTS};
"""  # noqa: S608  constants


@dataclass
class Client:
    """One client: goes to the first door that lets it in, and stays while it is served. `acked`: transfer to when."""

    doors: Sequence[tuple[str, int]]
    number: int
    acked: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    end: threading.Event = field(default_factory=threading.Event)

    def live(self) -> None:
        draw = random.Random(self.number)  # noqa: S311  who pays whom
        while not self.end.is_set():
            for door in self.doors:
                try:
                    for transfer in self._session(door, draw):
                        self.acked[transfer] = time.monotonic()
                except (pymysql.MySQLError, OSError):
                    self.refused += 1
                if self.end.wait(0.05):
                    return

    def _session(self, door: tuple[str, int], draw: random.Random) -> Iterator[int]:
        link = pymysql.connect(
            host=door[0],
            port=door[1],
            user="app",
            password=PASSWORD,
            database="my_test_db",
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            write_timeout=_SECONDS,
        )
        try:
            with link.cursor() as cursor:
                while not self.end.is_set():
                    payer, payee = draw.sample(range(1, ACCOUNTS + 1), 2)
                    transfer = self.number * 10**9 + len(self.acked) * 10**4 + self.refused
                    cursor.execute("BEGIN")
                    cursor.execute("UPDATE account SET balance = balance - 1 WHERE id = %s", (payer,))
                    cursor.execute("UPDATE account SET balance = balance + 1 WHERE id = %s", (payee,))
                    cursor.execute("INSERT INTO transfer VALUES (%s)", (transfer,))
                    cursor.execute("COMMIT")
                    yield transfer
                    self.end.wait(0.01)  # two cores serve the cluster too
        finally:
            link.close()


class Bank:
    """Clients that write while it is entered. `doors`: addresses and ports, in the order in which a client tries them."""

    def __init__(self, doors: Sequence[tuple[str, int]], clients: int = 3) -> None:
        self.clients = [Client(doors, number + 1) for number in range(clients)]
        self._threads = [threading.Thread(target=client.live, daemon=True) for client in self.clients]

    def __enter__(self) -> Bank:  # noqa: PYI034  Self is not in Python 3.10
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for client in self.clients:
            client.end.set()
        for thread in self._threads:
            thread.join()
        self._ended = time.monotonic()

    @property
    def acked(self) -> set[int]:
        return {transfer for client in self.clients for transfer in client.acked}

    @property
    def longest_gap(self) -> float:
        """The longest time, in seconds, in which some client got no commit acknowledged."""
        gaps = []
        for client in self.clients:
            times = [self._began, *client.acked.values(), self._ended]
            gaps += [later - earlier for earlier, later in itertools.pairwise(times)]
        return max(gaps)


def audit(link: pymysql.Connection[pymysql.cursors.Cursor]) -> tuple[set[int], int]:
    """The transfers that a member has, and the sum of all accounts."""
    with link.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_sync_wait = 1")
        cursor.execute("SELECT id FROM transfer")
        transfers = {int(row[0]) for row in cursor.fetchall()}
        cursor.execute("SELECT SUM(balance) FROM account")
        row = cursor.fetchone()
    return transfers, int(row[0]) if row else 0
