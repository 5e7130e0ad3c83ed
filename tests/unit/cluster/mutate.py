"""Change the rules one by one and see that a test fails. Run: `python -m tests.unit.cluster.mutate [module...]`.

Each mutant lives in a process of its own, forked before the rules are imported. Prints survivors and the share killed.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import inspect
import itertools
import multiprocessing
import random
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML  # noqa: F401  loaded before the forks, as the engine's modules below

import nornir_stack.seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

PACKAGE = "nornir_stack.tasks.cluster"
RULES = ("views", "judge", "classify", "elect", "recovery")
FOLDER = Path(nornir_stack.seen.__file__).parent / "tasks" / "cluster"
SWAPS: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip
NAMES = {"any": "all", "all": "any", "max": "min", "min": "max"}
SECONDS = 60


def drop(field: str, number: int, node: Any) -> None:
    getattr(node, field).pop(number)


def changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """What can be changed in one node: a word for it, and the change itself (in place)."""
    yield from of_logic(node)
    yield from of_branches(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int)):
        yield "constant", lambda it: setattr(it, "value", not it.value if isinstance(it.value, bool) else it.value + 1)
    if isinstance(node, ast.Name) and node.id in NAMES:
        yield "name", lambda it: setattr(it, "id", NAMES[it.id])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        for number, keyword in enumerate(node.keywords):
            yield f"without {keyword.arg}=", partial(drop, "keywords", number)
    if isinstance(node, ast.Tuple) and len(node.elts) > 1:
        for number in range(len(node.elts)):
            yield f"without element {number + 1}", partial(drop, "elts", number)


def of_logic(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield "comparison", lambda it: it.ops.__setitem__(0, SWAPS[type(it.ops[0])]())
    if isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in SWAPS:
        yield "operator", lambda it: setattr(it, "op", SWAPS[type(it.op)]())
    if isinstance(node, ast.BoolOp):
        for number in range(len(node.values)):
            yield f"without operand {number + 1}", partial(drop, "values", number)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "no sign", lambda it: setattr(it, "op", ast.UAdd())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no not", lambda it: setattr(it, "operand", ast.UnaryOp(ast.Not(), it.operand))


def of_branches(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    if isinstance(node, (ast.If, ast.IfExp)):
        yield "never", lambda it: setattr(it, "test", ast.Constant(value=False))
        yield "always", lambda it: setattr(it, "test", ast.Constant(value=True))
    if isinstance(node, ast.comprehension):
        for number in range(len(node.ifs)):
            yield f"without filter {number + 1}", partial(drop, "ifs", number)


def mutants(module: str) -> Iterator[tuple[str, str]]:
    """A description and the source, for each change that leaves different code."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    skipped = {id(inner) for node in ast.walk(tree) if plain(node) for inner in ast.walk(node)}
    returned = (node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.returns)
    skipped |= {id(inner) for annotation in returned for inner in ast.walk(annotation)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for choice, (word, _) in enumerate(changes(node)):
            other = copy.deepcopy(tree)
            target = next(itertools.islice(ast.walk(other), number, None))
            next(itertools.islice(changes(target), choice, None))[1](target)
            line = getattr(node, "lineno", None) or node.target.lineno  # type: ignore[attr-defined]  # a comprehension
            yield f"{module}.py:{line}: {word}: {ast.unparse(node)[:90]}", ast.unparse(ast.fix_missing_locations(other))


def plain(node: ast.AST) -> bool:
    """No rule: imports for types, annotations, decorators, documentation, formats."""
    typing = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return typing or isinstance(node, (ast.arguments, ast.ClassDef, ast.ImportFrom, ast.AnnAssign))


class Loader(importlib.abc.InspectLoader):
    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  importlib's signature
        return self.source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, fullname, "exec")


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, Loader(self.source)) if fullname == self.name else None


def killed_by(job: tuple[str, str, str]) -> tuple[str, str]:
    """The description, and the test that failed; empty if none did."""
    module, what, source = job
    sys.meta_path.insert(0, Finder(f"{PACKAGE}.{module}", source))
    signal.alarm(SECONDS)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    try:
        for name, run in tests():
            try:
                run()
            except Exception:  # noqa: BLE001  whatever a mutant raises kills it
                return what, name
            except pytest.fail.Exception:
                return what, name
    except Exception as error:  # noqa: BLE001  it could not even be imported
        return what, type(error).__name__
    return what, ""


def tests() -> Iterator[tuple[str, Callable[[], None]]]:
    """The edge cases and the judgements, then a seeded sample of all states."""
    for name in ("test_edge_cases", "test_judge"):
        yield from functions(importlib.import_module(f"tests.unit.cluster.{name}"))
    states: Any = importlib.import_module("tests.unit.cluster.test_all_states")
    chosen = random.Random(3)  # noqa: S311  a sample, no secret
    pool = states.variants(states.SIDES, states.RANKS)

    def sample() -> None:
        for _ in range(1000):
            fleet = [chosen.choice(pool) for _ in range(chosen.choice((2, 3)))]
            assert not list(states.judged(fleet, keeping=True))

    yield "sample of all states", sample


def functions(module: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    for name, function in vars(module).items():
        if name.startswith("test_") and inspect.isfunction(function) and "documentation" not in name:
            marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
            names = [
                [word.strip() for word in (m.args[0].split(",") if isinstance(m.args[0], str) else m.args[0])] for m in marks
            ]
            for values in itertools.product(*(mark.args[1] for mark in marks)):
                given: dict[str, Any] = {}
                for words, value in zip(names, values, strict=True):
                    given |= dict(zip(words, value if len(words) > 1 else [value], strict=True))
                yield name, lambda f=function, g=given: f(**g)  # type: ignore[misc]


def main(modules: Sequence[str]) -> int:
    jobs = [(module, what, source) for module in modules for what, source in mutants(module)]
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        survivors = 0
        for what, test in pool.imap_unordered(killed_by, jobs, chunksize=1):
            survivors += not test
            if not test:
                print(what, flush=True)  # noqa: T201  a program
    print(f"{len(jobs) - survivors} of {len(jobs)} killed ({1 - survivors / len(jobs):.1%})")  # noqa: T201
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or RULES))
