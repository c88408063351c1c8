"""Rows of data frames: what functions are given, what becomes of what they make, what is run again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import pytest
from views import rowfunctions

import penstock
from penstock import FileDataset
from penstock.errors import CancelledError, ConflictError, PenstockError, UsageError
from penstock.progress import ProgressMeter

KINDS = ["pandas", "polars"]
ONLY = {"into_path": "./out"}


def frame(kind: str = "pandas", **columns: Any) -> Any:
    """Return five rows with files, in the frame of a library."""
    held = {"f.txt": [f"file://{Path(f'in/{n}.txt').absolute()}" for n in range(5)], "id": list(range(5)), **columns}
    return pytest.importorskip(kind).DataFrame(held)


def values(found: Any, name: str) -> list[Any]:
    return list(found[name].to_list())


def made() -> dict[str, str]:
    return {str(path): path.read_text() for path in Path("out").rglob("*.txt")}


class Log:
    """Functions that note which rows they were called for."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.failing: set[int] = set()


def copying(log: Log) -> Callable[..., dict[str, Path]]:
    def fn(input_dir: Path, output_dir: Path, *, id: int) -> dict[str, Path]:  # noqa: A002  # a column
        log.ids.append(id)
        if id in log.failing:
            raise ValueError(f"not {id}")
        (output_dir / "a.txt").write_text((input_dir / "f.txt").read_text())
        return {"a.txt": output_dir / "a.txt"}

    return fn


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_called_in_order_and_its_outputs_are_columns(kind: str, here: Path, no_leftovers: Path) -> None:
    log = Log()
    given = frame(kind, label=list("abcde"))
    found = FileDataset().map_batch(given, copying(log), {"into_path": "./out"}, version="1")
    assert log.ids == [0, 1, 2, 3, 4]
    assert type(found) is type(given)
    assert list(found.columns) == ["f.txt", "id", "label", "a.txt", "error"]
    assert values(found, "a.txt") == [f"./out/{n}/a.txt" for n in range(5)]
    assert values(found, "error") == [None] * 5
    assert values(found, "label") == list("abcde")
    assert list(given.columns) == ["f.txt", "id", "label"]
    assert made() == {f"out/{n}/a.txt": f"file {n}" for n in range(5)}
    assert list(no_leftovers.iterdir()) == []


def test_the_index_of_a_frame_stays(here: Path) -> None:
    given = frame().set_index(pd.Index(list("vwxyz")))
    found = FileDataset().map_batch(given, copying(Log()), ONLY, version="1")
    assert list(found.index) == list("vwxyz")
    assert found.loc["z", "a.txt"] == "./out/4/a.txt"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_ids_get_their_own_which_stay(kind: str, here: Path) -> None:
    given = frame(kind)
    given = given.drop(columns="id") if kind == "pandas" else given.drop("id")
    log: list[Path] = []

    def fn(directory: Path) -> dict[str, str]:
        log.append(directory)
        return {"f.txt": "f.txt"}

    first = FileDataset().map_batch(given, fn, ONLY, version="1")
    again = FileDataset().map_batch(given, fn, ONLY, version="1")
    assert len(log) == 5
    assert len(set(values(first, "id"))) == 5
    assert values(first, "id") == values(again, "id")
    assert values(again, "output.f.txt") == [f"./out/{each}/f.txt" for each in values(first, "id")]


def test_a_row_that_fails_does_not_stop_the_rest(here: Path, no_leftovers: Path) -> None:
    log = Log()
    log.failing = {1, 3}
    found = FileDataset().map_batch(frame(), copying(log), ONLY, version="1")
    assert log.ids == [0, 1, 2, 3, 4]
    errors = values(found, "error")
    assert [error is None for error in errors] == [True, False, True, False, True]
    assert errors[1].startswith("row 1 (id 1): the function failed: ValueError: not 1")
    assert "Traceback" in errors[1]
    assert "raise ValueError" in errors[1]
    assert values(found, "a.txt")[1] is None
    with pytest.raises(PenstockError, match=r"row 1 \(id 1\)"):
        FileDataset().map_batch(frame(), copying(log), ONLY, version="1", on_error="raise")
    assert 4 not in log.ids[5:]
    assert list(no_leftovers.iterdir()) == []


def test_what_is_done_is_not_run_again_and_what_failed_is(here: Path) -> None:
    log = Log()
    log.failing = {2}
    files = FileDataset()
    files.map_batch(frame(), copying(log), ONLY, version="1")
    log.ids.clear()
    log.failing.clear()
    found = files.map_batch(frame(), copying(log), ONLY, version="1")
    assert log.ids == [2]
    assert values(found, "a.txt") == [f"./out/{n}/a.txt" for n in range(5)]
    log.ids.clear()
    Path("in/4.txt").write_text("another")
    files.map_batch(frame(), copying(log), ONLY, version="1")
    assert log.ids == [4]
    assert made()["out/4/a.txt"] == "another"


def test_rows_go_where_fsspec_reaches_and_are_not_run_again(here: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    log = Log()
    for _ in range(2):
        found = FileDataset().map_batch(frame(), copying(log), {"into_path": "memory://rows/out"}, version="1")
        assert values(found, "a.txt") == [f"memory://rows/out/{n}/a.txt" for n in range(5)]
    assert log.ids == [0, 1, 2, 3, 4]
    assert memory.cat_file("/rows/out/4/a.txt") == b"file 4"
    memory.rm("/rows", recursive=True)


def test_a_column_that_the_function_is_given_makes_rows_anew_when_it_changes(here: Path) -> None:
    ran: list[int] = []

    def fn(input_dir: Path, output_dir: Path, *, id: int, label: str) -> dict[str, Path]:  # noqa: A002  # a column
        ran.append(id)
        (output_dir / f"{label}.txt").write_text(label)
        return {f"{label}.txt": output_dir / f"{label}.txt"}

    files = FileDataset()
    files.map_batch(frame(label=list("abcde"), other=1), fn, ONLY, version="1")
    ran.clear()
    files.map_batch(frame(label=list("abcdf"), other=2), fn, ONLY, version="1")
    assert ran == [4]
    assert made().keys() == {"out/0/a.txt", "out/1/b.txt", "out/2/c.txt", "out/3/d.txt", "out/4/f.txt"}


def test_a_changed_function_says_what_it_makes_stale(here: Path) -> None:
    files = FileDataset()
    log = Log()
    files.map_batch(frame(), copying(log), ONLY, version="1")
    log.ids.clear()
    with pytest.raises(ConflictError, match="5 of 5 rows were made by another version") as told:
        files.map_batch(frame(), copying(log), ONLY, version="2")
    assert "stale=" in told.value.fix
    found = files.map_batch(frame(), copying(log), ONLY, version="2", stale="keep")
    assert values(found, "error") == [None] * 5
    assert log.ids == []
    files.map_batch(frame(), copying(log), ONLY, version="2", stale="run")
    assert log.ids == [0, 1, 2, 3, 4]


def test_a_row_without_its_files_or_id_is_told_and_the_rest_goes_on(here: Path) -> None:
    paths = [Path("in/0.txt"), None, Path("in/gone.txt"), Path("in/3.txt"), Path("in/4.txt")]
    given = frame().assign(**{"f.txt": paths, "id": [0, 1, 2, None, "a/b"]})
    found = FileDataset().map_batch(given, rowfunctions.copy, ONLY)
    errors = values(found, "error")
    assert errors[0] is None
    for number, said in ((1, "f.txt: there is no file"), (2, "f.txt: no file"), (3, "it is missing"), (4, "slash")):
        assert said in errors[number]
        assert errors[number].startswith(f"row {number} (id ")


class Two(TypedDict):
    a: Path
    b: Path


def bad_functions() -> dict[str, tuple[Callable[..., Any], str]]:
    def write(output_dir: Path, name: str = "a") -> Path:
        (output_dir / name).write_text("x")
        return output_dir / name

    def a_link(output_dir: Path) -> Any:
        (output_dir / "a").symlink_to("/etc/passwd")
        return {"a": output_dir / "a"}

    def a_linked_folder(output_dir: Path) -> Any:
        (output_dir / "d").symlink_to("/etc")
        return {"a": output_dir / "d" / "passwd"}

    def its_directory_replaced(output_dir: Path) -> Any:
        output_dir.rmdir()
        output_dir.symlink_to("/etc")
        return {"a": output_dir / "passwd"}

    def its_directory_removed(output_dir: Path) -> Any:
        output_dir.rmdir()
        return {}

    def a_name_too_few(output_dir: Path) -> Two:
        return {"a": write(output_dir)}  # type: ignore[typeddict-item]

    def a_name_too_many(output_dir: Path) -> Two:
        return {"a": write(output_dir), "b": write(output_dir), "c": 1}  # type: ignore[typeddict-unknown-key]

    def exits(output_dir: Path) -> Any:
        raise SystemExit(3)

    return {
        "nothing": (lambda output_dir: None, "returned nothing"),
        "no path": (lambda output_dir: {"a": 1}, "a: the function returned a int"),
        "a bad name": (lambda output_dir: {"../a": write(output_dir)}, "no file can be called"),
        "clashing names": (lambda output_dir: {"a": write(output_dir), "a/b": write(output_dir)}, "clash"),
        "a path outside": (lambda output_dir: {"a": "/etc/passwd"}, "outside of the output directory"),
        "a path above": (lambda output_dir: {"a": output_dir / "../input/f.txt"}, "outside of the output directory"),
        "a link": (a_link, "symbolic link"),
        "a linked folder": (a_linked_folder, "symbolic link"),
        "a link in its directory's place": (its_directory_replaced, "the output directory is gone"),
        "its directory removed": (its_directory_removed, "the output directory is gone"),
        "a directory": (lambda output_dir: {"a": output_dir}, "is a directory"),
        "a file that is not there": (lambda output_dir: {"a": output_dir / "none"}, "there is no file"),
        "a name too few": (a_name_too_few, "no 'b'"),
        "a name too many": (a_name_too_many, "'c'"),
        "an exit": (exits, "sys.exit(3)"),
    }


@pytest.mark.parametrize("what", bad_functions())
def test_what_a_function_does_wrong_is_told_of_its_row(what: str, here: Path, no_leftovers: Path) -> None:
    fn, said = bad_functions()[what]
    found = FileDataset().map_batch(frame().head(1), fn, ONLY)
    (error,) = values(found, "error")
    assert error.startswith("row 0 (id 0): ")
    assert said in error
    assert made() == {}
    assert list(no_leftovers.iterdir()) == []


def test_a_function_may_print_fork_and_change_the_directory(
    here: Path, no_leftovers: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fn(input_dir: Path, output_dir: Path, *, id: int) -> dict[str, str]:  # noqa: A002  # a column
        os.chdir(output_dir)
        print("row", id, flush=True)
        child = os.fork()
        if child == 0:
            return {"never": "seen"}
        os.waitpid(child, 0)
        Path("a.txt").write_text("relative")
        os.chmod(input_dir, 0)
        return {"a.txt": "a.txt"}

    found = FileDataset().map_batch(frame(), fn, ONLY)
    assert values(found, "error") == [None] * 5
    assert os.getcwd() == str(here)
    assert capfd.readouterr().out.splitlines() == [f"row {n}" for n in range(5)]
    assert list(no_leftovers.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({}, {}, "does not say where"),
        ({}, {"into_path": "./out", "more": 1}, "no 'more'"),
        ({}, {"into_path": "./out", "commit_every": 0}, "commit_every"),
        ({}, "./out", "no options"),
        ({}, {"into_path": "./out", "id": "none"}, "column 'none'"),
        ({}, {"into_path": "./out", "id": "f.txt"}, "holds files"),
        ({"timeout": 0}, ONLY, "timeout"),
        ({"timeout": "1 s"}, ONLY, "timeout"),
        ({"ahead": "2"}, ONLY, "ahead"),
        ({"executor": "threads"}, ONLY, "no executor"),
        ({"parameters": [1]}, ONLY, "no names"),
        ({"on_error": "stop"}, ONLY, "on_error"),
        ({"files": ["none"]}, ONLY, "no column 'none'"),
        ({"files": "f.txt"}, ONLY, "no list"),
        ({"stale": "no"}, ONLY, "stale"),
        ({"parameters": {"x": object()}}, ONLY, "'x'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    here: Path, given: dict[str, Any], options: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        FileDataset().map_batch(frame(), rowfunctions.copy, options, **given)
    assert not Path("out").exists()


def test_frames_that_cannot_be_used_are_refused(here: Path) -> None:
    files = FileDataset()
    for bad, said in (
        ([{"a": 1}], "no data frame"),
        (frame(id=[1, 1, 2, 3, 4]), "rows 0 and 1 have the id 1"),
        (frame().drop(columns="id").iloc[[0, 0]], "rows 0 and 1 are the same"),
        (frame().drop(columns="f.txt"), "no column holds files"),
        (frame().rename(columns={"f.txt": "../f"}), "no file can be called"),
        (frame(input_dir=1), "input_dir"),
        (frame(**{"f.txt/g": [Path("in/0.txt")] * 5}), "clash"),
    ):
        with pytest.raises(UsageError, match=said):
            files.map_batch(bad, rowfunctions.copy, ONLY)
    with pytest.raises(UsageError, match="no function"):
        files.map_batch(frame(), "copy", ONLY)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'colour'"):
        files.map_batch(frame(), lambda input_dir, colour: None, ONLY)
    assert not Path("out").exists()


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_executors_run_functions(kind: str, timeout: float | None, here: Path, no_leftovers: Path) -> None:
    executor: Executor = (
        ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    )
    with executor:
        found = FileDataset().map_batch(frame(), rowfunctions.copy, ONLY, executor=executor, timeout=timeout)
        assert values(found, "error") == [None] * 5
        assert made() == {f"out/{n}/copy.txt": f"file {n}" for n in range(5)}
        if kind == "processes":
            with pytest.raises(UsageError, match="cannot be sent to another process"):
                FileDataset().map_batch(frame(), lambda d: None, ONLY, executor=executor, stale="run")
    assert list(no_leftovers.iterdir()) == []


class Elsewhere(Executor):
    """An executor of which nothing is known, as of a cluster: what it is given and answers goes through pickle."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))

    def submit(self, *arguments: Any, **named: Any) -> Any:
        return self._pool.submit(*arguments, **named)

    def shutdown(self, *arguments: Any, **named: Any) -> None:
        self._pool.shutdown(*arguments, **named)


def test_an_executor_elsewhere_has_rows_whole(here: Path) -> None:
    log = str(here / "log")
    given = frame(log=log)
    with Elsewhere() as executor:
        for _ in range(2):
            found = FileDataset().map_batch(given, rowfunctions.noted, ONLY, executor=executor)
            assert values(found, "error") == [None] * 5
        assert len(Path(log).read_text().splitlines()) == 5
        with pytest.raises(UsageError, match="elsewhere"):
            FileDataset().map_batch(given, rowfunctions.noted, {"into_path": "demo/made"}, executor=executor)
    assert made() == {f"out/{n}/copy.txt": f"file {n}" for n in range(5)}


@pytest.mark.parametrize("threads", [0, 2])
def test_a_call_that_takes_too_long_or_dies_is_ended_and_told(threads: int, here: Path, no_leftovers: Path) -> None:
    log = here / "log"
    executor = ThreadPoolExecutor(threads) if threads else None
    for mark, said, timeout in (("hang", "more than 3 s", 3.0), ("die", "signal 9", 60.0)):
        (here / f"log.{mark}").touch()
        given = frame(log=str(log))
        found = FileDataset().map_batch(given, rowfunctions.noted, ONLY, executor=executor, timeout=timeout)
        assert said in values(found, "error")[2]  # of the others, one may be late, too, where all is slow
        (here / f"log.{mark}").unlink()
    found = FileDataset().map_batch(given, rowfunctions.noted, ONLY, executor=executor, timeout=60)
    assert values(found, "error") == [None] * 5
    assert [line.split()[0] for line in log.read_text().splitlines()].count("2") == 3
    assert made() == {f"out/{n}/copy.txt": f"file {n}" for n in range(5)}
    assert list(no_leftovers.iterdir()) == []
    if executor is not None:
        executor.shutdown()


def test_interrupted_it_leaves_finished_rows_finished(here: Path, no_leftovers: Path) -> None:
    ran: list[int] = []

    def fn(input_dir: Path, output_dir: Path, *, id: int) -> dict[str, Path]:  # noqa: A002  # a column
        ran.append(id)
        if id == 3 and len(ran) < 5:
            raise KeyboardInterrupt
        return rowfunctions.copy(input_dir, output_dir)

    with pytest.raises(KeyboardInterrupt):
        FileDataset().map_batch(frame(), fn, ONLY, version="1")
    assert list(no_leftovers.iterdir()) == []
    assert made().keys() == {f"out/{n}/copy.txt" for n in range(3)}
    found = FileDataset().map_batch(frame(), fn, ONLY, version="1")
    assert ran == [0, 1, 2, 3, 3, 4]
    assert values(found, "error") == [None] * 5


def test_progress_counts_rows_and_ends_the_batch_when_it_is_asked_to(here: Path) -> None:
    meter = ProgressMeter()
    FileDataset().map_batch(frame(), rowfunctions.copy, ONLY, progress=meter)
    counts = {state.name: state.done for state in meter.states()}
    assert counts == {"downloading": 30, "uploading": 30, "rows": 5}
    meter.cancel()
    with pytest.raises((CancelledError, PenstockError)):
        FileDataset().map_batch(frame(), rowfunctions.copy, {"into_path": "./other"}, progress=meter)


def test_files_of_the_next_rows_are_fetched_while_the_function_runs(here: Path) -> None:
    fetched = threading.Event()

    def fn(input_dir: Path, output_dir: Path, *, id: int) -> dict[str, Path]:  # noqa: A002  # a column
        if id == 0:
            rows = output_dir.parent.parent
            for _ in range(3000):
                if (rows / "row-2" / "input" / "f.txt").exists():
                    fetched.set()
                    break
                threading.Event().wait(0.01)
        return {}

    FileDataset().map_batch(frame(), fn, ONLY)
    assert fetched.is_set()


def test_a_dry_run_of_a_batch_lists_what_would_be_moved(here: Path) -> None:
    found = FileDataset().map_batch(frame(), rowfunctions.copy, ONLY, dry_run=True)
    assert [(each.direction, each.row) for each in found] == [("download", n) for n in range(5)]
    assert not Path("out").exists()


def test_rows_become_one_version_with_their_columns_as_metadata(here: Path, no_leftovers: Path) -> None:
    penstock.Dataset("demo/made").create()
    log = Log()
    log.failing = {3}
    given = frame(label=list("abcde"))
    files = FileDataset()
    found = files.map_batch(given, copying(log), {"into_path": "demo/made:main/texts"}, version="1")
    assert len(list(penstock.Dataset("demo/made").log())) == 2
    package = penstock.open("demo/made")
    assert [entry.key for entry in package.glob("**/*.txt")] == [f"texts/{n}/a.txt" for n in (0, 1, 2, 4)]
    assert package.get_metadata("texts/1/a.txt") == {"id": 1, "label": "b"}
    assert [entry.key for entry in package.filter(label="e")] == ["texts/4/a.txt"]
    assert values(found, "a.txt")[0] == f"demo/made:{package.commit}/texts/0/a.txt"
    with files.downloader({"x": values(found, "a.txt")[0]}).into_temp_dir() as folder:
        assert (folder / "x").read_text() == "file 0"
    log.ids.clear()
    log.failing.clear()
    again = files.map_batch(given, copying(log), {"into_path": "demo/made:main/texts"}, version="1")
    assert log.ids == [3]
    assert values(again, "error") == [None] * 5
    assert penstock.open("demo/made").read("texts/3/a.txt") == b"file 3"
    assert list(no_leftovers.iterdir()) == []


def test_rows_of_a_dataset_can_be_published_every_so_many(here: Path) -> None:
    options = {"into_path": "demo/made", "commit_every": 2, "message": "rows"}
    FileDataset().map_batch(frame(), rowfunctions.copy, options)
    versions = list(penstock.Dataset("demo/made").log())
    assert 1 < len(versions) < 4
    assert {version.message for version in versions} == {"rows"}
    assert len(list(penstock.open("demo/made").glob("*/copy.txt"))) == 5


def test_an_id_in_a_dataset_that_something_else_has_is_in_use(here: Path) -> None:
    penstock.Dataset("demo/made").push("in")
    files = FileDataset()
    with pytest.raises(ConflictError, match="in use"):
        files.upload_files({"a": Path("in/0.txt")}, "demo/made", id="0.txt")
    sent = files.upload_files({"a": Path("in/0.txt")}, "demo/made", id="new")["a"]
    with files.downloader({"a": sent}).into_temp_dir() as folder:
        assert (folder / "a").read_text() == "file 0"
    with pytest.raises(ConflictError, match="in use"):
        files.upload_files({"a": Path("in/0.txt")}, "demo/made", id="new")


@pytest.mark.parametrize("is_new", [True, False])
def test_what_others_do_to_the_branch_meanwhile_is_merged_with(
    is_new: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.api.files import dataset_target

    files = FileDataset()
    if not is_new:
        files.upload_files({"a": Path("in/0.txt")}, "demo/made", id="first")
    apply_edits = dataset_target.apply_edits

    def overtaken(*given: Any) -> Any:
        made = apply_edits(*given)
        monkeypatch.setattr(dataset_target, "apply_edits", apply_edits)
        files.upload_files({"a": Path("in/1.txt")}, "demo/made", id="theirs")
        return made

    monkeypatch.setattr(dataset_target, "apply_edits", overtaken)
    sent = files.upload_files({"a": Path("in/2.txt")}, "demo/made", id="ours")
    expected = {"theirs/a", "ours/a"} if is_new else {"first/a", "theirs/a", "ours/a"}
    assert {entry.key for entry in penstock.open("demo/made").glob("*/a")} == expected
    with files.downloader({"a": sent["a"]}).into_temp_dir() as folder:
        assert (folder / "a").read_text() == "file 2"
