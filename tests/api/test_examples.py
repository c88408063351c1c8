"""What docstrings of the face show is what happens."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import penstock.api

MODULES = [module.name for module in pkgutil.walk_packages(penstock.api.__path__, "penstock.api.")]
MODULES += ["penstock.cli.progress", "penstock.project.declared.runtime"]
NAMES = [name for name in MODULES if ".training" not in name]  # those need PyTorch, and have a test beside it


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in NAMES for test in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_does_what_it_shows(example: doctest.DocTest, world: Path, capsys: pytest.CaptureFixture) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(example, out=print, clear_globs=False)
    assert runner.failures == 0, capsys.readouterr().out


def test_every_public_class_shows_an_example() -> None:
    shown = {test.name.rpartition(".")[2] for test in examples()}
    classes = {name for name in penstock.__all__ if isinstance(getattr(penstock, name), type)}
    assert classes - {"Settings"} <= shown
