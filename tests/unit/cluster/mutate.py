"""Change the rules one by one and see that a test fails.

    python -m tests.unit.cluster.mutate [--all] [--seed N] [--sample N] [MODULE...]

Each mutant lives in a process of its own, forked before the rules are imported. Prints survivors and the share killed; those
that docs/mutation.md explains are known. Ends with 1 if another survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import inspect
import itertools
import multiprocessing
import random
import re
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies  # noqa: F401  loaded before the forks, as those below
import pytest
from ruamel.yaml import YAML  # noqa: F401

import nornir_stack.seen
import nornir_stack.tasks.loadbalancer.health  # the rules stand on it, and it on none of them

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import CodeType

PACKAGE = "nornir_stack.tasks.cluster"
FOLDER = Path(nornir_stack.seen.__file__).parent / "tasks" / "cluster"
PAGE = Path(__file__).parents[3] / "docs" / "mutation.md"
DECIDED = ("decision", "edge_cases", "judge", "recover", "cut")
# A module's tests, those first that are likeliest to fail soon; "states" is a sample of all states.
RULES = {
    "member": ("member", "edge_cases", "judge", "probe", "states"),
    "probe": ("probe_text", "probe"),
    "decision": DECIDED,
    "views": (*DECIDED, "states"),
    "judge": ("judge", "edge_cases", "recover", "roll", "cut", "states"),
    "classify": (*DECIDED, "states"),
    "elect": (*DECIDED, "states"),
    "recovery": (*DECIDED, "states"),
    "rolling": ("roll", "rolling"),
}
SWAPS: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip
NAMES = {"any": "all", "all": "any", "max": "min", "min": "max"}
SECONDS = 60
SAMPLE, STATES = 30, 1000


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


def mutants(module: str) -> Iterator[tuple[str, int, Callable[[], str]]]:
    """What is changed, its line, and the source that it leaves, for each change that leaves different code."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    skipped = {id(inner) for node in ast.walk(tree) for part in no_rule(node) for inner in ast.walk(part)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for choice, (word, _) in enumerate(changes(node)):
            line = getattr(node, "lineno", None) or node.target.lineno  # type: ignore[attr-defined]  # a comprehension
            text = " ".join(ast.unparse(node).split())[:90]
            yield f"{module}: {word}: {text}", line, partial(changed, tree, number, choice)


def changed(tree: ast.Module, number: int, choice: int) -> str:
    other = copy.deepcopy(tree)
    target = next(itertools.islice(ast.walk(other), number, None))
    next(itertools.islice(changes(target), choice, None))[1](target)
    return ast.unparse(ast.fix_missing_locations(other))


def no_rule(node: ast.AST) -> Iterator[ast.AST]:
    """What of a node is no rule: imports for types, annotations, decorators, names of types."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        yield node
    if isinstance(node, ast.ImportFrom):
        yield node
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        yield from node.decorator_list
    if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
        yield node.annotation
    if isinstance(node, ast.FunctionDef) and node.returns:
        yield node.returns


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


def killed_by(job: tuple[str, int, str]) -> tuple[str, int, str]:
    """What was changed, its line, and the test that failed; empty if none did."""
    what, line, source = job
    module = what.partition(":")[0]
    sys.meta_path.insert(0, Finder(f"{PACKAGE}.{module}", source))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    signal.alarm(SECONDS)
    try:
        for name, run in tests(module):
            try:
                run()
            except (Exception, pytest.fail.Exception):  # noqa: BLE001  whatever a mutant raises kills it
                return what, line, name
    except Exception as error:  # noqa: BLE001  it could not even be imported
        return what, line, type(error).__name__
    return what, line, ""


def tests(module: str) -> Iterator[tuple[str, Callable[[], None]]]:
    for name in RULES[module]:
        if name == "states":
            yield "sample of all states", sample_of_states
        else:
            yield from functions(importlib.import_module(f"tests.unit.cluster.test_{name}"))


def sample_of_states() -> None:
    states: Any = importlib.import_module("tests.unit.cluster.test_all_states")
    chosen = random.Random(3)  # noqa: S311  a sample, no secret
    pool = states.variants(states.SIDES, states.RANKS)
    for _ in range(STATES):
        fleet = [chosen.choice(pool) for _ in range(chosen.choice((2, 3)))]
        assert not list(states.judged(fleet, keeping=True))


def functions(module: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """A module's tests with their parameters, as pytest would call them."""
    for name, function in vars(module).items():
        if name.startswith("test_") and inspect.isfunction(function) and "documentation" not in name:
            marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
            names = [
                [word.strip() for word in (m.args[0].split(",") if isinstance(m.args[0], str) else m.args[0])] for m in marks
            ]
            folder = "tmp_path" in inspect.signature(function).parameters
            for values in itertools.product(*(mark.args[1] for mark in marks)):
                given: dict[str, Any] = {}
                for words, value in zip(names, values, strict=True):
                    given |= dict(zip(words, value if len(words) > 1 else [value], strict=True))
                yield name, partial(called, function, given, folder=folder)


def called(function: Callable[..., None], given: dict[str, Any], *, folder: bool) -> None:
    if not folder:
        function(**given)
        return
    with tempfile.TemporaryDirectory() as path:
        function(**given, tmp_path=Path(path))


def explained(text: str) -> frozenset[str]:
    """The mutants of the page's table: the first column, in backquotes (`\\|` is a bar)."""
    return frozenset(found.replace(r"\|", "|") for found in re.findall(r"^\| `((?:\w+): .+?)` \|", text, re.MULTILINE))


def run(jobs: Collection[tuple[str, int, Callable[[], str]]], known: Collection[str]) -> int:
    """The number of survivors that nobody explained."""
    survivors, strangers = 0, 0
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        sources = ((what, line, source()) for what, line, source in jobs)
        for what, line, test in pool.imap_unordered(killed_by, sources, chunksize=1):
            survivors += not test
            strangers += not test and what not in known
            if not test:
                print(f"{'known' if what in known else 'SURVIVED'} (line {line}): {what}", flush=True)  # noqa: T201  a program
    killed = len(jobs) - survivors
    print(f"{killed} of {len(jobs)} killed ({killed / len(jobs):.1%}), {strangers} unexplained")  # noqa: T201
    return strangers


def main() -> int:
    parser = argparse.ArgumentParser(description="Change the rules one by one and see that a test fails.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(RULES)}; by default all")
    parser.add_argument("--all", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="what the sample is drawn by")
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"mutants in it (default: {SAMPLE})")
    words = parser.parse_args()
    jobs = [job for module in words.modules or RULES for job in mutants(module)]
    if not words.all:
        print(f"a sample of {words.sample} of {len(jobs)} mutants; again with --seed {words.seed}")  # noqa: T201
        jobs = random.Random(words.seed).sample(jobs, min(words.sample, len(jobs)))  # noqa: S311  no secret
    return bool(run(jobs, explained(PAGE.read_text())))


if __name__ == "__main__":
    sys.exit(main())
