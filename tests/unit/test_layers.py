"""Who may import whom: docs/architecture.md draws the layers, this holds them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "nornir_stack"
PROGRAMS = ("nornir_stack.cli",)
TASKS = ("nornir_stack.tasks",)
LAB = ("nornir_stack.lab",)
# Modules of the engine that stand above the rest of it: only programs use them.
SURFACE = (
    "nornir_stack.catalogue",
    "nornir_stack.parameters",
    "nornir_stack.progress",
    "nornir_stack.show",
    "nornir_stack.show_html",
)
# A late import upwards, for a method that a person expects on the noun itself.
LATE = {("nornir_stack.chain", "nornir_stack.run"), ("nornir_stack.results", "nornir_stack.show_html")}
FORBIDDEN = {
    "engine": (*PROGRAMS, *TASKS, *LAB),
    "tasks": (*PROGRAMS, *LAB, *SURFACE, "nornir_stack.run", "asyncssh", "socket", "threading", "rich"),
    "lab": (*PROGRAMS, *TASKS),
    "cli": TASKS,
}


def layer(path: Path) -> str:
    part = path.relative_to(ROOT).parts
    if part[0] == "tasks":
        return "tasks"
    return part[1] if part[1] in {"lab", "cli"} else "engine"


def files() -> list[Path]:
    found = [path for folder in (ENGINE, ROOT / "tasks") for path in folder.rglob("*.py")]
    return sorted(path for path in found if "tasks" not in path.relative_to(ROOT).parts[1:])


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.startswith("nornir_stack") else f"nornir_stack.{name}"


MODULES = {module(path) for path in files()}


def typing_only(tree: ast.Module) -> set[ast.AST]:
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def imported(path: Path, *, late: bool = True) -> set[str]:
    """Every module that a file imports when it runs; with `late` also those that functions import."""
    tree = ast.parse(path.read_text())
    skipped = typing_only(tree)
    nodes = list(ast.walk(tree)) if late else tree.body
    found: set[str] = set()
    for node in nodes:
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES  # `from package import module` waits for the module, not for the package's own names
            found |= names | ({node.module} if len(modules) < len(names) else set())
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", files(), ids=module)
def test_imports_go_downwards_only(path: Path) -> None:
    """The engine knows no task and no program, tasks open no socket and start no thread, the lab knows no task."""
    if module(path) == "nornir_stack":
        return  # its names are imported when they are used
    wrong = {name for name in imported(path) if within(name, FORBIDDEN[layer(path)])}
    assert wrong == set()


@pytest.mark.parametrize("path", [path for path in files() if layer(path) == "engine"], ids=module)
def test_the_surface_is_used_from_above_only(path: Path) -> None:
    """The engine runs without what shows it; the two late imports are methods of nouns."""
    if module(path) == "nornir_stack" or within(module(path), SURFACE):
        return
    allowed = tuple(late for early, late in LATE if early == module(path))
    wrong = {name for name in imported(path) if within(name, SURFACE)}
    assert {name for name in wrong if not within(name, allowed)} == set()


def test_no_module_of_the_engine_imports_itself_in_a_circle() -> None:
    """By what is imported when a module is loaded; late imports are the marked exception."""
    names = {module(path): {n for n in imported(path, late=False) if n.startswith("nornir_stack.")} for path in files()}
    graph = {name: {n for n in found if n in names and n != name} for name, found in names.items() if name != "nornir_stack"}
    while ready := [name for name, found in graph.items() if not found & set(graph)]:
        for name in ready:
            del graph[name]
    # a package and the modules that it collects name each other
    assert {name: found & set(graph) for name, found in graph.items()} == {}


def test_every_public_name_can_be_had() -> None:
    """`from nornir_stack import X` for each X that it promises; an unknown name is an AttributeError."""
    import nornir_stack  # noqa: PLC0415  its names are looked up here

    assert None not in [getattr(nornir_stack, name) for name in nornir_stack.__all__]
    with pytest.raises(AttributeError):
        _ = nornir_stack.nothing_of_that_name
