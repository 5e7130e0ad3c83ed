"""A signed package repository of the next release's database, for nodes of the present one, as a vendor would offer it."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

from nornir_stack.lab.machine import remove, run
from nornir_stack.lab.spec import MIRROR
from nornir_stack.lab.trees import MIRROR_URL, TREES, building, image_tree, in_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.lab import Lab

OLD, NEW = "bookworm", "trixie"
_KEY = "%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nName-Real: test repository\nExpire-Date: 0\n%commit\n"


@dataclass(frozen=True)
class Repository:
    """Where it is, and the key that signs it."""

    uri: str
    key: str

    def yaml(self, version: str) -> str:
        """Lines of the members' settings."""
        key = "".join(f"            {line}\n" for line in self.key.splitlines())
        return (
            f"      release:\n        version: '{version}'\n        repository:\n          uri: {self.uri}\n"
            f"          suite: ./\n          key: |\n{key}"
        )


def packages() -> Path:
    """The newer packages of the database, with all that they need on a node of the older Debian. Cached."""
    tree = image_tree("db", OLD, MIRROR, print)
    with building("next", tree.name, NEW, *TREES["db"]) as (wanted, new):
        if new is not None:
            scratch = new.with_name(f"{new.name}-root")
            remove(scratch)
            run("cp", "-a", "--reflink=auto", str(tree), str(scratch))
            try:
                suites = (f"debian {OLD}", f"debian {NEW}", f"debian-security {NEW}-security")
                lines = "".join(f"deb {MIRROR_URL}/{suite} main\n" for suite in suites)
                (scratch / "etc/apt/sources.list").write_text(lines)
                shutil.copy("/etc/resolv.conf", scratch / "etc/resolv.conf")
                in_tree(scratch, "apt-get", "update", "-q")
                install = ("apt-get", "install", "-y", "-q", "--download-only", "--no-install-recommends")
                in_tree(scratch, *install, *TREES["db"])
                new.mkdir()
                for path in (scratch / "var/cache/apt/archives").glob("*.deb"):
                    shutil.move(path, new / path.name)
            finally:
                remove(scratch)
    return wanted


@contextmanager
def repository(lab: Lab, port: int = 8118) -> Iterator[Repository]:
    """The packages over HTTP on the lab's gateway, signed by a key of their own."""
    with TemporaryDirectory(dir="/var/tmp") as folder, TemporaryDirectory() as keys:
        root = Path(folder)
        for path in packages().glob("*.deb"):
            (root / path.name).symlink_to(path)
        (root / "Packages").write_text(run("sh", "-c", 'cd "$1" && apt-ftparchive packages .', "sh", folder))
        (root / "Release").write_text(run("sh", "-c", 'cd "$1" && apt-ftparchive release .', "sh", folder))
        gpg = ("gpg", "--homedir", keys, "--batch", "--quiet")
        subprocess.run([*gpg, "--gen-key"], input=_KEY, text=True, check=True, capture_output=True)
        subprocess.run([*gpg, "--clearsign", "-o", str(root / "InRelease"), str(root / "Release")], check=True)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout
        server = ThreadingHTTPServer((lab.spec.gateway, port), partial(_Quiet, directory=folder))
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Repository(f"http://{lab.spec.gateway}:{port}/", key)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            subprocess.run(["gpgconf", "--homedir", keys, "--kill", "gpg-agent"], check=False, capture_output=True)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
