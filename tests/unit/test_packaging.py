"""What is installed is what the checkout has: in a wheel, away from the checkout."""

from __future__ import annotations

import configparser
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BUILD_SECONDS = 240


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def tree() -> dict[str, Path]:
    """Packages of the checkout by the name under which they are installed."""
    packages = {}
    for top, name in ((ROOT / "nornir_stack", "nornir_stack"), (ROOT / "tasks", "nornir_stack.tasks")):
        for init in top.rglob("__init__.py"):
            parts = init.parent.relative_to(top).parts
            if parts[:1] != ("tasks",):  # the link is for tools that read the checkout
                packages[".".join((name, *parts))] = init.parent
    return packages


def test_the_list_of_packages_is_the_tree() -> None:
    """Packages are listed by hand, because tasks/ is installed as nornir_stack.tasks."""
    assert setup_cfg()["options"]["packages"].split() == sorted(tree())


def test_the_link_serves_tools_that_read_the_checkout() -> None:
    """nornir_stack/tasks is a relative link to ../tasks."""
    assert (ROOT / "nornir_stack" / "tasks").readlink() == Path("../tasks")


def test_every_entry_point_names_a_function_that_exists() -> None:
    """By import of the checkout: a renamed task is found here, not by a user."""
    from nornir_stack.catalogue import Entry  # noqa: PLC0415  what is tested

    points = setup_cfg()["options.entry_points"]
    for group in ("nornir_stack.chains", "nornir_stack.operations"):
        for line in points.get(group, "").strip().splitlines():
            name, _, target = (part.strip() for part in line.partition("="))
            assert callable(Entry(name, group, target).load())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves traces in the folder that is built."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    for name in ("nornir_stack", "tasks"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source), at=folder)
    return next(folder.glob("*.whl"))


def run(*argv: str, at: Path) -> str:
    done = subprocess.run(argv, cwd=at, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    """Modules, the typing marker and the templates; nothing twice, nothing of the tests."""
    expected = {
        f"{name.replace('.', '/')}/{file.relative_to(folder)}"
        for name, folder in tree().items()
        for file in [*folder.glob("*.*"), *folder.glob("templates/*"), *folder.glob("lists/*")]
        if file.is_file()
    }
    found = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(found) == sorted(expected)


def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed in an environment of its own it imports its tasks, and its command lists what the checkout has."""
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), at=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel), at=tmp_path)
    # what it depends on is borrowed; a path in a .pth file brings no editable install with it
    library = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (library / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    where = run(str(python), "-c", "import nornir_stack.tasks; print(nornir_stack.tasks.__file__)", at=tmp_path)
    assert where.strip() == str(library / "nornir_stack" / "tasks" / "__init__.py")
    listed = run(str(tmp_path / "venv" / "bin" / "nornir-stack"), "list", at=tmp_path)
    points = setup_cfg()["options.entry_points"]
    names = [line.split("=")[0].strip() for line in points.get("nornir_stack.chains", "").strip().splitlines()]
    assert [name for name in names if f"  {name}\n" not in listed] == []
    assert "cannot be used" not in listed
