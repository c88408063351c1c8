"""What a user's function is (its hash), and what it is called with."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from penstock.api.files.function_call import plan_call, promise_of
from penstock.api.files.function_hash import function_hash
from penstock.errors import UsageError

BEGIN = "FACTOR = 2\ndef helper(x):\n    return x + 1\n"


def made(tmp_path: Path, text: str, name: str = "fn") -> Any:
    """Import a function from a module of this text, as a user's own is."""
    path = tmp_path / f"module_{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text)
    space: dict[str, Any] = {"__name__": "user"}
    exec(compile(text, str(path), "exec"), space)
    return space[name]


FN = BEGIN + "def fn(a, b=1):\n    return helper(a) * FACTOR\n"

SAME = {
    "a comment and other white space": BEGIN + "def fn(a,  b = 1):\n    # why\n\n    return (helper(a) * FACTOR)\n",
    "a docstring": BEGIN + 'def fn(a, b=1):\n    """Say it."""\n    return helper(a) * FACTOR\n',
    "another name": BEGIN + "def other(a, b=1):\n    return helper(a) * FACTOR\nfn = other\n",
    "a global that it does not name": BEGIN + "OTHER = 3\ndef fn(a, b=1):\n    return helper(a) * FACTOR\n",
}
OTHER = {
    "its code": FN.replace("* FACTOR", "+ FACTOR"),
    "a default": FN.replace("b=1", "b=2"),
    "a constant that it names": FN.replace("FACTOR = 2", "FACTOR = 3"),
    "a function of its module that it names": FN.replace("x + 1", "x + 2"),
    "a decorator": FN.replace("def fn", "@__import__('functools').cache\ndef fn"),
}


@pytest.mark.parametrize("change", SAME)
def test_what_means_nothing_leaves_the_hash(tmp_path: Path, change: str) -> None:
    assert function_hash(made(tmp_path, FN)) == function_hash(made(tmp_path, SAME[change]))


@pytest.mark.parametrize("change", OTHER)
def test_what_means_something_makes_another_hash(tmp_path: Path, change: str) -> None:
    assert function_hash(made(tmp_path, FN)) != function_hash(made(tmp_path, OTHER[change]))


def test_parameters_and_a_version_count_and_a_version_stands_for_the_code(tmp_path: Path) -> None:
    fn, changed = made(tmp_path, FN), made(tmp_path, OTHER["its code"])
    assert function_hash(fn, {"size": 1}) != function_hash(fn, {"size": 2})
    assert function_hash(fn, {"size": [1, "a"], "to": Path("x")}) == function_hash(
        fn, {"to": Path("x"), "size": [1, "a"]}
    )
    assert function_hash(fn, version="1") == function_hash(changed, version="1")
    assert function_hash(fn, version="1") != function_hash(fn, version="2")
    with pytest.raises(UsageError, match="size"):
        function_hash(fn, {"size": object()})


def test_functions_of_all_kinds_have_a_hash(tmp_path: Path) -> None:
    class Scaler:
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, a: int) -> int:
            return a * self.by

        def scale(self, a: int) -> int:
            return self(a)

    def outer(n: int) -> Any:
        return lambda a: a + n

    def recursive(n: int) -> int:
        return recursive(n - 1) if n else 0

    space: dict[str, Any] = {}
    exec("def fn(a): return a", space)
    kinds = [
        functools.partial(outer, 1),
        functools.partial(outer, 2),
        Scaler(1),
        Scaler(2),
        Scaler(1).scale,
        Scaler(2).scale,
        outer(1),
        outer(2),
        recursive,
        os.path.basename,
        len,
        Scaler,
        space["fn"],
    ]
    hashes = [function_hash(each) for each in kinds]
    assert len(set(hashes)) == len(kinds)
    assert hashes == [function_hash(each) for each in kinds]


def test_the_hash_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FN + "NAMES = {'a', 'b', 'c'}\ndef fn2(x):\n    return fn(x) in NAMES\n")
    program = "import mine; from penstock.api.files.function_hash import function_hash as h; print(h(mine.fn2).hex())"
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


class Out(TypedDict):
    image: Path
    mask: NotRequired[Path]


def by_name(output_dir: Path, input_dir: Path) -> Out:
    return {"image": output_dir / input_dir}


def with_columns(input_dir: Path, output_dir: Path, *, id: int, label: str = "none") -> Any:  # noqa: A002  # a column
    return input_dir, output_dir, id, label


def with_all(input_dir: Path, **rest: Any) -> Any:
    return input_dir, rest


VALUES = {"input_dir": "in", "output_dir": "out", "id": 7, "label": "cat"}


def called(fn: Any) -> Any:
    return plan_call(fn, VALUES, "input_dir").call(fn, VALUES)


def test_a_function_gets_what_it_names() -> None:
    assert called(with_columns) == ("in", "out", 7, "cat")
    assert called(with_all) == ("in", {"output_dir": "out", "id": 7, "label": "cat"})
    assert called(lambda directory: directory) == "in"
    assert called(lambda directory, *, label: (directory, label)) == ("in", "cat")
    assert called(lambda label: label) == "cat"
    assert called(lambda: 1) == 1
    assert called(len) == 2
    assert called(functools.partial(with_columns, label="dog")) == ("in", "out", 7, "cat")


def test_a_function_that_names_what_there_is_not_is_told_which() -> None:
    with pytest.raises(UsageError, match="'colour'") as raised:
        plan_call(lambda input_dir, colour: colour, VALUES, "input_dir")
    assert "label" in str(raised.value)


def test_a_typed_dictionary_says_what_is_returned() -> None:
    promise = promise_of(by_name)
    assert promise is not None
    promise.check({"image": 1})
    promise.check({"image": 1, "mask": 2})
    with pytest.raises(UsageError, match="no 'image'"):
        promise.check({"mask": 1})
    with pytest.raises(UsageError, match="'maks'"):
        promise.check({"image": 1, "maks": 2})
    assert promise_of(with_columns) is None
