"""What is installed is exactly the tree, and only below the name `edgevision`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = {
    "edgevision": "edgevision",
    "converters": "edgevision.converters",
    "quantization": "edgevision.quantization",
    "benchmarks": "edgevision.benchmarks",
}


def declared_packages() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages: list[str] = tomllib.load(file)["tool"]["setuptools"]["packages"]
    return packages


def packages_on_disk() -> set[str]:
    found = set()
    for folder, package in TREES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *parts)))
    # The symlinks are a view for tools; pathlib does not follow them, other globs may.
    return found


def test_declared_packages_are_the_folders_with_an_init() -> None:
    assert sorted(declared_packages()) == sorted(packages_on_disk())


@pytest.mark.parametrize("name", ["converters", "quantization", "benchmarks"])
def test_symlink_shows_the_satellite(name: str) -> None:
    link = ROOT / "edgevision" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def test_wheel_holds_only_edgevision(tmp_path: Path) -> None:
    build = [sys.executable, "-c", _BUILD.format(out=str(tmp_path))]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    if "No module named 'setuptools'" in done.stderr:
        pytest.skip("setuptools is not installed in this environment")
    assert done.returncode == 0, done.stderr[-2000:]
    wheel = next(tmp_path.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgevision"}
    expected = {f"{package.replace('.', '/')}/__init__.py" for package in declared_packages()}
    assert expected <= set(names)
    assert "edgevision/py.typed" in names
    assert "edgevision/benchmarks/report/report.html" in names
    assert not [name for name in names if "/peers/" in name]


# In a process and a build folder of its own: setuptools writes into the tree otherwise.
_BUILD = """
import os, shutil, tempfile
from pathlib import Path
source = Path.cwd()
copy = Path(tempfile.mkdtemp()) / "tree"
keep = ("edgevision", "converters", "quantization", "benchmarks")
for name in keep:
    shutil.copytree(source / name, copy / name, symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__", "peers"))
for name in ("pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(source / name, copy / name)
os.chdir(copy)
from setuptools import build_meta
print(build_meta.build_wheel({out!r}))
shutil.rmtree(copy.parent)
"""
