"""`horizon.tune`: exactly one Apache MPM, event by choice, workers as the node can bear, the login page measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.horizon.mpm import (
    Apache,
    Mpm,
    enabled_by_lines,
    enabled_by_links,
    layout_of,
    mapped,
    needed,
    php_by_lines,
    php_by_links,
    with_mpm,
)
from nornir_stack.tasks.horizon.settings import Horizon
from nornir_stack.tasks.horizon.sizes import event_config, sizes, with_sizes
from nornir_stack.tasks.system.facts import facts, family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import restart, service

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.horizon.mpm import Layout
    from nornir_stack.tasks.system.family import Family

CONTROLLERS = role("controller")
_CONF = "nornir-stack-mpm.conf"
_LOGIN = {"debian": "http://localhost/horizon/auth/login/", "redhat": "http://localhost/dashboard/auth/login/"}
# Debian's, Ubuntu's; Red Hat's
_CONFIG = {
    "debian": (
        "/etc/apache2/sites-enabled/openstack-dashboard.conf",
        "/etc/apache2/sites-enabled/openstack-dashboard-alias-only.conf",
        "/etc/apache2/conf-enabled/openstack-dashboard.conf",
    ),
    "redhat": ("/etc/httpd/conf.d/openstack-dashboard.conf",),
}
_OK = 200

# $1: the folder of modules; $2: the file of Red Hat; $3: the unit.
_LOOK = r"""
s() { printf '\036%s\n' "$1"; }
s names; ls -- "$1" 2>/dev/null
s mpm; [ -z "$2" ] || cat -- "$2" 2>/dev/null
s modules; [ -z "$2" ] || cat -- "$1"/*.conf 2>/dev/null
s maps; pid=$(systemctl show -p MainPID --value -- "$3")
[ "${pid:-0}" = 0 ] || grep -o 'mod_mpm_[a-z]*\.so' "/proc/$pid/maps" | sort -u
:
"""
# Debian: $1 the new one, then the old ones. What Apache would not start with is put back before anybody restarts it.
_SWITCH = r"""
new=$1; shift
for old; do a2dismod -q -f "mpm_$old" >/dev/null || exit 1; done
a2enmod -q "mpm_$new" >/dev/null && apache2ctl configtest && exit 0
a2dismod -q -f "mpm_$new" >/dev/null
for old; do a2enmod -q "mpm_$old" >/dev/null; done
exit 1
"""
_PHP_BESIDE = 'a2dismod -q -f "$1" && a2enmod -q proxy_fcgi setenvif && a2enconf -q "$1-fpm"'
# $1: the page, $2: how often.
_MEASURE = r"""
n=$2
while [ "$n" -gt 0 ]; do
    curl -s -k -o /dev/null --max-time 60 -w '%{http_code} %{time_total}\n' -- "$1"
    n=$((n - 1))
done
:
"""


@dataclass(frozen=True)
class Page:
    """A page as the node itself is served it: the status of the last, the first time and the others' median in seconds."""

    url: str
    status: int
    first: float
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """What runs, and the login page before and after."""

    mpm: Mpm | None
    workers: int
    before: Page
    after: Page


def tune(*, php: Literal["keep", "fpm"] = "keep") -> Chain:
    """Have Apache on the controllers run with exactly one MPM (event, unless the inventory says else) and fitting workers.

    One controller after the other; a login page that does not answer afterwards ends it. Refuses where PHP runs within
    Apache, which needs prefork.

    php: `fpm` has PHP served by php-fpm beside Apache where it ran within.
    """
    return Chain("horizon.tune", Stage("apache", [do(tuned, php=php)], CONTROLLERS, serial=1))


def tuned(task: Task, *, php: Literal["keep", "fpm"] = "keep") -> Result[Tuned]:
    """The same on one node. The value has the login page before and after. Restarts Apache only if something changed."""
    node = Node(task)
    kind = family(node)
    mine = settings_of(task.host, Horizon)
    url = mine.login or _LOGIN[kind.name]
    size = _sizes(task)
    now = _look(node, kind, layout_of(kind))
    if php == "keep":
        needed(now, mine.mpm)  # refuses before anything is written
    before = login_page(task, url=url).value
    changed = _resized(node, kind, mine)
    mpm(task, to=mine.mpm, php=php, restarted=changed)
    return node.done(lambda: _served(task, size, before, url))


def mpm(task: Task, *, to: Mpm = "event", php: Literal["keep", "fpm"] = "keep", restarted: bool = False) -> Result[Apache]:
    """Have exactly this MPM enabled and running.

    What Apache would not start with (configtest) is put back, and Apache goes on with what it has. A change of the MPM needs a
    restart, which cuts what is being served. `restarted`: restart in any case, once.
    Raises Refused where PHP runs within Apache, unless php=fpm.
    """
    node = Node(task)
    kind = family(node)
    layout = layout_of(kind)
    now = _look(node, kind, layout)
    if php == "fpm" and now.php and to != "prefork":
        _php_beside(node, kind, now.php)
        now = Apache(now.enabled, now.running, (), now.text)
    if needed(now, to):
        _switch(node, layout, now, to)
    if node.gate.effects or restarted or now.running != to:
        node.then(restart, unit=kind.unit("apache"))
    return node.done(lambda: _as_wanted(node, kind, layout, to))


def login_page(task: Task, *, url: str = "", times: int = 3) -> Result[Page]:
    """Observe how long the login page takes, as the node itself is served it."""
    node = Node(task)
    url = url or _LOGIN[family(node).name]
    text = node.read(sh(_MEASURE, url, str(times), label=f"ask for {url}"), timeout=60.0 * times + 10).stdout
    return node.done(measured(url, text))


def measured(url: str, text: str) -> Page:
    """From lines of `status seconds`; nothing answered is status 0. Pure."""
    rows = [(int(status), float(seconds)) for status, seconds in (line.split() for line in text.splitlines())]
    if not rows:
        return Page(url, 0, 0.0, 0.0)
    rest = [seconds for _, seconds in rows[1:]] or [rows[0][1]]
    return Page(url, rows[-1][0], round(rows[0][1], 3), round(median(rest), 3))


def _look(node: Node, kind: Family, layout: Layout) -> Apache:
    text = node.read(sh(_LOOK, layout.folder, layout.config, kind.unit("apache"), label="look at Apache's MPM")).stdout
    return parse(text)


def parse(text: str) -> Apache:
    """What the look printed. Pure."""
    at = {name: body for name, _, body in (part.partition("\n") for part in text.split("\x1e")[1:])}
    names = tuple(at.get("names", "").splitlines())
    running = mapped(at.get("maps", ""))
    if at.get("mpm"):
        return Apache(enabled_by_lines(at["mpm"]), running, php_by_lines(at.get("modules", "")), at["mpm"])
    return Apache(enabled_by_links(names), running, php_by_links(names))


def _switch(node: Node, layout: Layout, now: Apache, to: Mpm) -> None:
    others = [mpm for mpm in now.enabled if mpm != to]
    what = f"enable mpm_{to}" + "".join(f", disable mpm_{mpm}" for mpm in others)
    if not layout.config:
        diff = "".join(f"-mpm_{mpm}.load\n" for mpm in others) + (f"+mpm_{to}.load\n" if to not in now.enabled else "")
        node.change(sh(_SWITCH, to, *others, label=what), diff=f"--- {layout.folder}\n+++ {layout.folder}\n{diff}")
        return
    node.write_file(layout.config, with_mpm(now.text, to))
    if node.dry_run:
        return
    said = node.read(layout.ctl, "configtest", ok=None)
    if not said.ok:
        node.write_file(layout.config, now.text)
        raise Refused(f"Apache would not start with mpm_{to}, so {layout.config} is as it was: {said.explain()}")


def _php_beside(node: Node, kind: Family, modules: tuple[str, ...]) -> None:
    """PHP by php-fpm: today's packages of both families bring the configuration for it."""
    if kind.name == "redhat":
        raise Refused(f"{', '.join(modules)} is loaded outside <IfModule prefork.c>: take the line out, and install php-fpm")
    (module, *_) = modules
    packages(node.task, present=[f"{module}-fpm"])
    node.change(
        sh(_PHP_BESIDE, module, label=f"{module} by php-fpm"),
        repeatable=True,
    )
    node.then(service, unit=f"{module}-fpm.service", state="started", enabled=True)


def _sizes(task: Task) -> int:
    now = facts(task).value
    return sizes(now.memory, now.cpus).workers


def _resized(node: Node, kind: Family, mine: Horizon) -> bool:
    """Workers of Apache and of the dashboard, where it is installed; True if that changed anything."""
    now = facts(node.task).value
    wanted = sizes(now.memory, now.cpus)
    changed = node.write_file(f"{layout_of(kind).sites}/{_CONF}", event_config(wanted))
    for path in [mine.config] if mine.config else _CONFIG[kind.name]:
        text = node.read_file(path)
        if text is not None and (mine.config or "WSGIDaemonProcess" in text):
            changed = node.write_file(path, with_sizes(text, wanted)) or changed
    return changed


def _as_wanted(node: Node, kind: Family, layout: Layout, to: Mpm) -> Apache:
    now = _look(node, kind, layout)
    if now.enabled != (to,) or now.running != to:
        raise Refused(
            f"mpm_{to} was enabled, and Apache has {', '.join(now.enabled) or 'none'} and runs {now.running or 'none'}"
        )
    return now


def _served(task: Task, workers: int, before: Page, url: str) -> Tuned:
    node = Node(task)
    kind = family(node)
    after = login_page(task, url=url).value
    if after.status != _OK and before.status == _OK:
        raise Refused(f"{url} answered with 200 before, and now with {after.status or 'nothing'}: see Apache's error log")
    return Tuned(_look(node, kind, layout_of(kind)).running, workers, before, after)
