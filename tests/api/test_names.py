"""The names of `penstock`: there when asked for, cheap until then, and the same whatever was imported before."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import penstock

NAMES = [name for name in penstock.__all__ if not name.startswith("__")]
SUBMODULES = [module.name for module in pkgutil.iter_modules(penstock.__path__) if module.name != "__main__"]


def test_no_public_name_is_a_submodules() -> None:
    assert "errors" in SUBMODULES
    assert "api" in SUBMODULES
    assert set(SUBMODULES).isdisjoint(NAMES)
    # What follows will be: `from penstock import dataset` is a decorator, `penstock.mount` a function.
    assert set(SUBMODULES).isdisjoint({"dataset", "package", "mount", "mounts", "workspace", "bucket", "open"})


@pytest.mark.parametrize("first", ["names", "modules"])
def test_names_mean_the_same_in_every_order_of_imports(first: str) -> None:
    """Importing ``penstock.x`` sets `penstock.x`; a name that was asked for before must not change by that."""
    program = (
        "import importlib, sys, penstock\n"
        "names = [name for name in penstock.__all__ if not name.startswith('__')]\n"
        "modules = sys.argv[2:]\n"
        "look = lambda: {name: getattr(penstock, name) for name in names}\n"
        "load = lambda: [importlib.import_module(f'penstock.{name}') for name in modules]\n"
        "before = look() if sys.argv[1] == 'names' else None\n"
        "load()\n"
        "after = look()\n"
        "assert before is None or before == after\n"
        "for name, found in after.items():\n"
        "    module, _, attribute = penstock._HOMES[name].partition(':')\n"
        "    assert found is getattr(importlib.import_module(f'penstock.{module}'), attribute), name\n"
        "for name in modules:\n"
        "    assert getattr(penstock, name) is sys.modules[f'penstock.{name}'], name\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program, first, *SUBMODULES], check=True, cwd="/")


def test_editors_see_what_is_there() -> None:
    tree = ast.parse(Path(penstock.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen[alias.asname or alias.name] = f"{(node.module or '').removeprefix('penstock.')}:{alias.name}"
    assert seen == penstock._HOMES
    assert set(NAMES) == set(seen)
    assert set(dir(penstock)) >= set(penstock.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = penstock.nothing


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is_for(name: str) -> None:
    found = getattr(penstock, name)
    assert inspect.getdoc(found)
    if inspect.isclass(found):
        public = [(key, value) for key, value in vars(found).items() if not key.startswith("_")]
        missing = [key for key, value in public if callable(value) and not inspect.getdoc(value)]
        assert not missing


def test_importing_penstock_takes_less_than_thirty_milliseconds() -> None:
    """Counted in instructions of the interpreter's own clock of work, CPU time, so that a busy machine counts less."""
    program = (
        "import time, typing, importlib, sys\n"
        "before = time.process_time(); import penstock\n"
        "print(time.process_time() - before)\n"
        "assert not [name for name in sys.modules if name.startswith('penstock.')], 'a submodule was imported'\n"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.030


def test_the_face_imports_neither_trio_nor_pyfuse3_nor_click() -> None:
    program = (
        "import sys, penstock\n"
        "for name in penstock.__all__: getattr(penstock, name)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert set(done.stdout.split()).isdisjoint({"pyfuse3", "trio", "click", "rich"})
