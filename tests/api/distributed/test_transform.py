"""A transform in one process: what comes of it, what a second run does, what is refused, what stays when it fails."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypedDict

import pytest
from views.transformed import FILES, data_objects
from views.transforms import halve

import penstock
from penstock import distributed
from penstock.errors import ConflictError, IntegrityError, PenstockError, UsageError
from penstock.repo.bucket import object_keys
from penstock.store.local import LocalStore


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def transform(calls: Path, into: str = "demo/halves", fn: Any = halve, **options: Any) -> distributed.TransformReport:
    return distributed.transform("demo/things", fn, into, parameters={"calls": str(calls)}, **options)


def called(calls: Path) -> list[str]:
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return sorted(lines)


def test_outputs_lie_beside_their_inputs_and_say_what_they_come_from(things: Path, calls: Path) -> None:
    report = transform(calls, tag="v1", message="halved")
    assert (report.inputs, report.outputs, report.changed, report.tag) == (30, 60, True, "v1")
    made = penstock.open("demo/halves:v1")
    for name, data in FILES.items():
        folder, _, last = name.partition("/")
        assert made.read(name) == data[::2]
        assert made.read(f"{folder}/about/{last}.txt").decode() == name
    said = made.get_metadata(f"{folder}/about/{last}.txt")["derived_from"]
    source = penstock.open("demo/things")
    assert (said["key"], said["hash"]) == (name, source[name].hash)
    whole = made.get_metadata()["derived_from"]
    assert (whole["dataset"], whole["top_hash"], whole["by"]) == ("things", source.top_hash, "file")
    assert (whole["function"]["name"], whole["parameters"]) == ("halve", {"calls": str(calls)})
    assert made.verify(deep=True).sound


def test_tasks_in_any_number_and_order_done_twice_make_the_same(things: Path, calls: Path, tmp_path: Path) -> None:
    once = transform(calls)
    parameters = {"calls": str(calls)}
    store = LocalStore(str(tmp_path / "store"))
    with distributed.prepare("demo/things", halve, "demo/again", parameters=parameters, tasks=5) as run:
        tasks = list(run.tasks)
        assert len(tasks) > 2
        receipts = []
        for task in reversed(tasks):
            receipts.append(task())
            assert task().again  # it finds what it did
            store.delete([run.job.part_set.record_key(receipts[-1].part)])
            before = {info.key for info in store.list(object_keys.ROOT)}
            again = task()  # it does it a second time
            assert (again.part, again.again) == (receipts[-1].part, False)
            assert {info.key for info in store.list(object_keys.ROOT)} >= before
        with pytest.raises(
            UsageError, match="1 of 5 tasks were not done" if len(tasks) == 5 else "tasks were not done"
        ):
            run.finish(receipts[1:])
        report = run.finish([*receipts, receipts[0]])
    assert report.top_hash == once.top_hash
    assert not list(store.list(object_keys.PARTS))
    penstock.Bucket("demo").gc(delete=True, grace=0)
    there, needed = data_objects("demo", "demo/things", "demo/halves", "demo/again")
    assert there == needed


def test_equal_contents_under_other_names_are_other_inputs(tmp_path: Path, things: Path, calls: Path) -> None:
    twins = tmp_path / "twins"
    for folder in ("a", "b"):
        (twins / folder).mkdir(parents=True)
        for name in ("1.bin", "2.bin"):
            (twins / folder / name).write_bytes(name.encode() * 20_000)
    penstock.Dataset("demo/twins").push(twins)
    report = distributed.transform("demo/twins", halve, "demo/both", parameters={"calls": str(calls)}, tasks=2)
    assert report.tasks == 2
    assert called(calls) == ["a/1.bin", "a/2.bin", "b/1.bin", "b/2.bin"]
    assert report.outputs == 8


def test_a_second_run_does_what_is_new_and_drops_what_went(things: Path, calls: Path, tmp_path: Path) -> None:
    transform(calls)
    called(calls)
    assert not transform(calls).changed
    assert called(calls) == []
    for number in range(10):
        (things / f"1/new-{number}.bin").write_bytes(b"new" * number)
    (things / "0/00.bin").write_bytes(b"changed")
    (things / "0/03.bin").unlink()
    for path in (things / "2").iterdir():
        path.unlink()
    (things / "2").rmdir()
    penstock.Dataset("demo/things").push(things)
    before = data_objects("demo")[0]
    report = transform(calls)
    assert called(calls) == sorted(["0/00.bin", *(f"1/new-{number}.bin" for number in range(10))])
    assert (report.inputs, report.removed) == (11, 22)
    assert len(data_objects("demo")[0] - before) <= 1
    made = penstock.open("demo/halves")
    assert [key for key in ("0/03.bin", "0/about/03.bin.txt", "2") if key in made] == []
    assert transform(calls, "demo/fresh").top_hash == report.top_hash


def test_a_changed_function_does_all_anew_and_a_version_stands_for_its_code(things: Path, calls: Path) -> None:
    def other(input_dir: Path, output_dir: Path, key: str, calls: str) -> dict[str, Path]:
        return {"all": next(iter(halve(input_dir, output_dir, key, calls).values()))} if key == "0/00.bin" else {}

    transform(calls)
    called(calls)
    report = transform(calls, fn=other)
    assert (len(called(calls)), report.inputs, report.outputs, report.removed) == (1, 30, 1, 60)
    assert list(penstock.open("demo/halves").keys()) == ["0", "0/all"]
    first = transform(calls, "demo/pinned", version="1")
    assert not transform(calls, "demo/pinned", version="1").changed
    assert transform(calls, "demo/pinned", version="2").inputs == 30
    assert first.outputs == 60


def test_what_is_no_output_stays_and_is_never_replaced(things: Path, calls: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "2").mkdir(parents=True)
    (own / "README").write_text("mine")
    penstock.Dataset("demo/halves").push(own)
    report = transform(calls)
    made = penstock.open("demo/halves")
    assert made.read("README") == b"mine"
    assert report.outputs == 60
    (own / "2/02.bin").write_text("mine as well")
    penstock.Dataset("demo/taken").push(own)
    with pytest.raises(ConflictError, match=r"2/02.bin would take|take the place of '2/02.bin'"):
        transform(calls, "demo/taken")
    assert penstock.open("demo/taken").read("2/02.bin") == b"mine as well"


def test_two_inputs_that_make_one_path_are_named(things: Path, calls: Path) -> None:
    def same(input_dir: Path, output_dir: Path) -> dict[str, str]:
        (output_dir / "x").write_text("x")
        return {"x": "x"}

    for tasks in (1, 5):
        with pytest.raises(ConflictError, match=r"'0/x' comes from two sides: 0/\d\d.bin and 0/\d\d.bin both"):
            distributed.transform("demo/things", same, "demo/one", tasks=tasks)


def test_a_record_is_a_group_of_files_of_one_stem(tmp_path: Path, things: Path) -> None:
    folder = tmp_path / "records"
    (folder / "a").mkdir(parents=True)
    for stem in ("cat", "dog", "cat-2"):
        (folder / f"a/{stem}.jpg").write_bytes(stem.encode())
        (folder / f"a/{stem}.json").write_text(json.dumps(stem))
    penstock.Dataset("demo/records").push(folder)
    seen: list[str] = []

    def joined(input_dir: Path, output_dir: Path, key: str, metadata: dict[str, Any]) -> dict[str, Path]:
        seen.append(key)
        assert sorted(metadata) == sorted(os.listdir(input_dir))
        name = f"{key.rpartition('/')[2]}.out"
        (output_dir / name).write_bytes(b"|".join(path.read_bytes() for path in sorted(input_dir.iterdir())))
        return {name: output_dir / name}

    distributed.transform("demo/records", joined, "demo/joined", by="record", version="1", tasks=3)
    made = penstock.open("demo/joined")
    assert made.read("a/cat.out") == b'cat|"cat"'
    assert seen == ["a/cat-2", "a/cat", "a/dog"]
    seen.clear()
    (folder / "a/cat.json").unlink()
    penstock.Dataset("demo/records").push(folder)
    penstock.Dataset("demo/records").set_meta("a/dog.jpg", {"label": "dog"})
    distributed.transform("demo/records", joined, "demo/joined", by="record", version="1")
    assert seen == ["a/cat", "a/dog"]
    assert penstock.open("demo/joined").read("a/cat.out") == b"cat"


def test_a_shard_becomes_one_file_and_is_not_made_twice(things: Path, calls: Path) -> None:
    seen: list[int] = []

    def packed(input_dir: Path, output_dir: Path, number: int, of: int) -> dict[str, Path]:
        seen.append(number)
        path = output_dir / f"train-{number:05}-of-{of:05}.tar"
        with tarfile.open(path, "w") as tar:
            for each in sorted(input_dir.rglob("*.bin")):
                info = tarfile.TarInfo(each.relative_to(input_dir).as_posix())
                info.size = each.stat().st_size
                with each.open("rb") as file:
                    tar.addfile(info, file)
        return {path.name: path}

    report = distributed.transform("demo/things", packed, "demo/tars", by="shard", version="1", tasks=3)
    made = penstock.open("demo/tars")
    assert list(made.keys()) == [f"train-0000{number}-of-00003.tar" for number in (1, 2, 3)]
    names = set()
    for key in made.keys():  # noqa: SIM118  # of a package
        with made.open(key) as file, tarfile.open(fileobj=file) as tar:
            names |= set(tar.getnames())
    assert names == set(FILES)
    assert sorted(seen) == [1, 2, 3]
    again = distributed.transform("demo/things", packed, "demo/tars", by="shard", version="1", tasks=3)
    assert (again.changed, again.top_hash, len(seen)) == (False, report.top_hash, 3)
    other = distributed.transform("demo/things", packed, "demo/tars", by="shard", version="1", tasks=2)
    assert (other.outputs, other.removed) == (2, 3)


class Promised(TypedDict):
    small: Path


def refuses(body: Callable[[Path, Path], Any]) -> Callable[..., Any]:
    def fn(input_dir: Path, output_dir: Path) -> Any:
        return body(input_dir, output_dir)

    return fn


def leave(_: Path, output_dir: Path) -> Any:
    os.symlink("/etc/hostname", output_dir / "x")
    return {"x": "x"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda _, __: None, "returned nothing"),
        (lambda _, __: 1 / 0, "ZeroDivisionError"),
        (lambda _, __: __import__("sys").exit(3), r"sys.exit\(3\)"),
        (lambda _, __: {"x": "x"}, "there is no file"),
        (lambda _, __: {"x": "/etc/hostname"}, "outside of the output directory"),
        (lambda _, __: {"../x": "x"}, "no file can be called"),
        (leave, "symbolic link"),
    ],
)
def test_a_function_that_fails_is_told_with_its_input_and_nothing_happens(
    things: Path, tmp_path: Path, body: Callable[[Path, Path], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    with pytest.raises(PenstockError, match=words) as raised:
        distributed.transform("demo/things", refuses(body), "demo/none", version="1")
    assert "0/00.bin" in str(raised.value)
    assert list(work.iterdir()) == []
    assert not list(LocalStore(str(tmp_path / "store")).list(object_keys.dataset_prefix("none")))


def test_what_other_tasks_did_is_kept_for_the_next_run(things: Path, calls: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()

    def fails(input_dir: Path, output_dir: Path, key: str, calls: str) -> Any:
        if key == "1/28.bin" and broken.exists():
            raise ValueError("no such thing")
        return halve(input_dir, output_dir, key, calls)

    with pytest.raises(UsageError, match=r"1/28\.bin: the function failed: ValueError: no such thing") as raised:
        transform(calls, fn=fails, tasks=5, version="1")
    assert "Traceback" in raised.value.__notes__[0]
    done = set(called(calls))
    assert done
    broken.unlink()
    report = transform(calls, fn=fails, tasks=5, version="1")
    again = set(called(calls))
    assert report.tasks_again
    assert done | again == set(FILES)
    assert len(done & again) < 10  # those of the task that failed
    assert report.top_hash == transform(calls, "demo/whole", fn=fails, version="1").top_hash


def test_a_part_whose_data_went_is_made_again(things: Path, calls: Path, tmp_path: Path) -> None:
    def large(input_dir: Path, output_dir: Path, key: str) -> dict[str, str]:
        (output_dir / "out").write_bytes(key.encode() * 300_000)
        return {f"{key[-6:]}": "out"}

    store = LocalStore(str(tmp_path / "store"))
    with distributed.prepare("demo/things", large, "demo/large", version="1", tasks=1) as run:
        [task] = run.tasks
        receipt = task()
        sent = data_objects("demo")[0] - data_objects("demo", "demo/things")[1]
        assert sent
        store.delete(sent)
        with pytest.raises(IntegrityError, match="what task 1 of 1 did is not in"):
            run.finish([receipt])
        assert not task().again
        assert run.finish([task()]).outputs == 30
    assert penstock.open("demo/large").verify(deep=True).sound


def test_processes_of_this_machine_are_workers_as_well(things: Path, calls: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        report = transform(calls, client=pool, tasks=4)
    assert len(called(calls)) == 30
    assert report.top_hash == transform(calls, "demo/alone").top_hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "line"}, "cannot be called by 'line'"),
        ({"tasks": 0}, "0 tasks"),
        ({"deadline": 0}, "a deadline of 0 s"),
        ({"client": object()}, "tasks cannot run on a object"),
        ({"into": "demo/x:main/sub"}, "path in a version"),
    ],
)
def test_what_cannot_be_asked_for(things: Path, calls: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        transform(calls, **options)


def test_a_parameter_that_functions_are_given_anyway_is_refused(things: Path) -> None:
    with pytest.raises(UsageError, match="cannot be called 'key'"):
        distributed.transform("demo/things", halve, "demo/x", parameters={"key": 1, "calls": "x"})
