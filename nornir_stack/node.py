"""The one door through which a task reaches its node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from nornir_stack import files
from nornir_stack.command import Command, Output, command
from nornir_stack.connections import shell_of
from nornir_stack.cutting import cutting
from nornir_stack.effects import Gate, overlay_of
from nornir_stack.errors import Refused, Undecidable, UsageError
from nornir_stack.results import Result
from nornir_stack.secret import Secret, mask, reveal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from nornir.core.task import Task

    from nornir_stack.shell import ShellConnection

T = TypeVar("T")
READ_SECONDS = 60.0
CHANGE_SECONDS = 900.0


class PendingOutput(Output):
    """What a change would have printed: in a dry run nobody knows, so looking at it raises Undecidable."""

    def __getattribute__(self, name: str) -> object:
        if name in {"status", "out", "err", "stdout", "stderr", "text", "lines", "ok"}:
            raise Undecidable("what it prints", object.__getattribute__(self, "command").line)
        return object.__getattribute__(self, name)


class Node:
    """A task's node: two verbs, `read` and `change`, files by them, and the result.

        def timezone(task: Task, *, zone: str) -> Result[str]:
            node = Node(task)
            if node.read("timedatectl", "show", "-p", "Timezone", "--value").text != zone:
                node.change("timedatectl", "set-timezone", zone)
            return node.done(zone)

    Words are passed one by one and never read by a shell; `sh()` makes a command that is. Times are in seconds.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.host = task.host
        self.gate = Gate(task)

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def dry_run(self) -> bool:
        return self.gate.dry_run

    @property
    def connection(self) -> ShellConnection:
        """The host's shell, opened when first asked for, one whatever number of tasks ask."""
        return shell_of(self.host, self.task.nornir.config)

    # the two verbs

    def read(
        self,
        *argv: str | Command,
        ok: Collection[int] | None = (0,),
        stdin: str | bytes | Secret | None = None,
        timeout: float = READ_SECONDS,
        independent: bool = False,
    ) -> Output:
        """Observe: runs in a dry run too. `ok` are the allowed exit statuses (None: any); others raise CommandFailed.

        In a dry run a read after a change that was not made raises Undecidable; `independent` says it does not depend on it.
        After the change of a file (`write_file` and the like) that is so for a command which names that file.
        """
        wanted = _command(argv, stdin)
        if not independent and (effect := self.gate.stale(wanted.argv)):
            raise Undecidable(wanted.line, effect.what)
        output = self.gate.look(wanted.line, lambda: self._run(wanted, timeout), independent=independent)
        return _judged(output, ok)

    def change(
        self,
        *argv: str | Command,
        ok: Collection[int] | None = (0,),
        stdin: str | bytes | Secret | None = None,
        timeout: float = CHANGE_SECONDS,
        what: str = "",
        diff: str = "",
        repeatable: bool = False,
        cannot_cut: bool = False,
    ) -> Output:
        """Change something: in a dry run it is not sent, only written down (as `what`, or the command itself).

        `repeatable`: running it twice is the same as once, so a retry may repeat it. Refuses what can cut the way to the
        node (`ip`, `nft`, `nmcli`...), which is for `confirmed`; `cannot_cut` says that this one does not.
        """
        wanted = _command(argv, stdin)
        if not cannot_cut and (words := cutting(wanted)):
            raise Refused(
                f"`{mask(words)}` can cut the way to {self.name}: do it by nornir_stack.confirmed, which undoes itself;"
                " where it cannot cut, say so by change(..., cannot_cut=True)"
            )
        output = self._effect(wanted, timeout, what=what, diff=diff, repeatable=repeatable)
        return PendingOutput(wanted, 0, b"", b"", 0.0) if output is None else _judged(output, ok)

    def _effect(
        self, wanted: Command, timeout: float, *, what: str = "", diff: str = "", repeatable: bool = False, path: str = ""
    ) -> Output | None:
        return self.gate.effect(
            what or wanted.line,
            lambda: self._run(wanted, timeout),
            ready=lambda: self.connection,
            diff=diff,
            repeatable=repeatable,
            path=path,
        )

    def _run(self, wanted: Command, timeout: float) -> Output:
        shell = self.connection  # the deadline may pass while it is opened
        return shell.run(wanted, timeout=self.gate.remaining(timeout), before=lambda: self.gate.check(wanted.line))

    # files

    def stat(self, path: str, *, independent: bool = False) -> files.FileState | None:
        """The file at `path` with its content, or None. Links are followed; one that leads nowhere is None.

        In a dry run: as it would be by now. `independent` says that no earlier change of this task that a dry run did not
        make touches this file.
        """
        now = self._look(path, independent=independent)
        return None if now is None or now.kind == files.LINK else now

    def _look(self, path: str, *, independent: bool = False) -> files.FileState | None:
        look = files.look(path)
        overlay = overlay_of(self.task) if self.dry_run else {}
        if path in overlay:
            return self.gate.look(look.line, lambda: overlay[path], independent=independent)
        found = self.gate.look(look.line, lambda: self._run(look, READ_SECONDS), independent=independent)
        now = files.parse_look(found.require().out)
        if now is None and any(state and at.startswith(f"{path}/") for at, state in overlay.items()):
            return files.folder(path, mode="", owner="")  # made for what would be in it
        return overlay.get(now.path, now) if now else None

    def _would_be(self, path: str, now: files.FileState | None, state: files.FileState | None) -> None:
        """In a dry run: what is at `path` from now on, by whatever name it was asked for so far. A link goes alone."""
        overlay = overlay_of(self.task)
        where = now.path if now and (state or not now.link) else path
        for name in {path, where, *(name for name, other in overlay.items() if other and other.path == where)}:
            overlay[name] = replace(state, link=name != where) if state else None

    def read_file(self, path: str, *, independent: bool = False) -> str | None:
        """The text of a file (UTF-8; other bytes survive as surrogates), or None where there is none."""
        now = self.stat(path, independent=independent)
        if now is None:
            return None
        if now.content is None:
            raise UsageError(f"{self.name}: {path} is no regular file but a {now.kind}")
        return now.content.decode("utf-8", "surrogateescape")

    def write_file(
        self,
        path: str,
        content: str | bytes | Secret,
        *,
        mode: str = "",
        owner: str = "",
        backup: bool = False,
        independent: bool = False,
    ) -> bool:
        """Make `path` hold exactly `content`; True if that changed anything.

        `mode` is octal text, `owner` is `user` or `user:group`; left out, they are kept, and a new file gets 0644 and root.
        The file is replaced whole and atomically; a link stays a link; on a full disk the old file survives.
        `independent`: as for `stat`. The diff hides secrets, those that go too: see `hidden.masked_diff`.
        """
        wanted = reveal(content)
        now = self.stat(path, independent=independent)
        if now is not None and now.content is None:
            raise UsageError(f"{self.name}: {path} is no regular file but a {now.kind}")
        if now is not None and now.content == wanted:
            return self._set_attributes(now, path, mode, owner)
        diff = files.unified_diff(path, None if now is None else now.content, wanted)
        write = files.write(path, wanted, mode=mode, owner=owner, backup=backup)
        output = self._effect(write, CHANGE_SECONDS, diff=diff, repeatable=True, path=path)
        if output is None:
            self._would_be(path, now, files.written(now, path, wanted, mode=mode, owner=owner))
        else:
            output.require()
        return True

    def _set_attributes(self, now: files.FileState, path: str, mode: str, owner: str) -> bool:
        if not files.attributes_differ(now, mode=mode, owner=owner):
            return False
        was = f"mode {now.mode} owner {now.owner}:{now.group}"
        output = self._effect(
            files.set_attributes(path, mode=mode, owner=owner),
            READ_SECONDS,
            what=f"set {path}: " + " ".join(filter(None, [mode and f"mode {mode}", owner and f"owner {owner}"])),
            diff=f"--- {path}\n+++ {path}\n-{was}\n+mode {mode or now.mode} owner {owner or now.owner}\n",
            repeatable=True,
            path=path,
        )
        if output is None:
            self._would_be(path, now, files.with_attributes(now, mode=mode, owner=owner))
        else:
            output.require()
        return True

    def make_folder(self, path: str, *, mode: str = "", owner: str = "") -> bool:
        """Make the folder `path`, those above it too; True if that changed anything. `mode` and `owner` as for `write_file`."""
        now = self._look(path)
        if now is not None and now.kind != "directory":
            raise UsageError(f"{self.name}: {path} is no folder but a {now.kind}")
        if now is not None:
            return self._set_attributes(now, path, mode, owner)
        diff = f"--- /dev/null\n+++ {path}\n+folder, mode {mode or '0755'}, owner {owner or 'root'}\n"
        made = files.make_folder(path, mode=mode, owner=owner)
        output = self._effect(made, READ_SECONDS, diff=diff, repeatable=True, path=path)
        if output is None:
            self._would_be(path, now, files.folder(path, mode=mode, owner=owner))
        else:
            output.require()
        return True

    def remove_file(self, path: str) -> bool:
        """Make `path` absent (a file or a link itself, wherever it leads, never a folder); True if it was there."""
        now = self._look(path)
        if now is None:
            return False
        if now.kind == "directory" and not now.link:
            raise UsageError(f"{self.name}: {path} is no file but a directory")
        gone = replace(command("rm", "-f", "--", path), label=f"remove {path}")
        output = self._effect(gone, READ_SECONDS, diff=files.removal_diff(path, now), repeatable=True, path=path)
        if output is None:
            self._would_be(path, now, None)
        else:
            output.require()
        return True

    def edit_lines(
        self,
        path: str,
        edit: Callable[[list[str]], list[str]],
        *,
        mode: str = "",
        owner: str = "",
        independent: bool = False,
    ) -> bool:
        """Rewrite `path` as `edit` (pure, and the same when applied twice) makes its lines; an absent file has none.

        `independent`: as for `stat`.
        """
        lines = edit((self.read_file(path, independent=independent) or "").splitlines())
        content = "".join(f"{line}\n" for line in lines)
        return self.write_file(path, content, mode=mode, owner=owner, independent=independent)

    def edit_ini(
        self,
        path: str,
        section: str,
        values: Mapping[str, str | None],
        *,
        mode: str = "",
        owner: str = "",
        independent: bool = False,
    ) -> bool:
        """Set `values` in `[section]` of an ini file (None takes a key out), keeping comments and everything else.

        `independent`: as for `stat`. `files.ini_value` reads one.
        """
        text = files.edited_ini(self.read_file(path, independent=independent) or "", section, values)
        return self.write_file(path, text, mode=mode, owner=owner, independent=independent)

    # other tasks

    def then(self, function: Callable[..., Result[T]], /, **arguments: Any) -> T | None:
        """Another task as a step of this one; its value.

        In a dry run, one that would have to look after a change that was not made is written down as a whole, and None
        comes back: `service(unit=apache2.service, state=started), if needed`.
        """
        try:
            return function(self.task, **arguments).value
        except Undecidable:
            if not self.dry_run:
                raise
        words = ", ".join(f"{name}={value}" for name, value in arguments.items())
        self.gate.effect(f"{function.__name__}({words}), if needed", lambda: None)
        return None

    # results

    def cached(self, key: str, look: Callable[[], T]) -> T:
        """A fact that cannot change under a running system: looked up once a connection."""
        facts = self.connection.facts
        if key not in facts:
            facts[key] = look()
        return cast("T", facts[key])

    @overload
    def done(self, value: Callable[[], T]) -> Result[T]: ...
    @overload
    def done(self, value: T) -> Result[T]: ...
    @overload
    def done(self) -> Result[None]: ...
    def done(self, value: Any = None) -> Result[Any]:
        """The task's result, with what this Node did. A callable is called for the value, unless that is undecidable."""
        effects = self.gate.effects
        unknown = ""
        if callable(value):
            try:
                value = value()
            except Undecidable as why:
                value, unknown = None, str(why)
        diff = "\n".join(effect.diff.rstrip("\n") for effect in effects if effect.diff)
        return Result(self.host, value, changed=bool(effects), diff=diff, unknown=unknown)

    def skipped(self, why: str) -> Result[None]:
        """The result of a task that has nothing to do on this host, and why."""
        return Result(self.host, None, skipped=mask(why))


def _command(argv: tuple[str | Command, ...], stdin: str | bytes | Secret | None) -> Command:
    if len(argv) == 1 and isinstance(argv[0], Command):
        return argv[0] if stdin is None else replace(argv[0], stdin=stdin)
    words = [word for word in argv if isinstance(word, str)]
    if len(words) != len(argv):
        raise TypeError("either one Command or words")
    return command(*words, stdin=stdin)


def _judged(output: Output, ok: Collection[int] | None) -> Output:
    return output if ok is None else output.require(*ok)
