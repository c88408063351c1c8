"""What fsspec writes to a branch becomes versions: one of a transaction, or one of each call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from trees.directory import write

import penstock
from penstock.errors import ConflictError, MergeConflictError, UsageError

URL = "penstock://demo/photos"


@pytest.fixture
def files(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """Return the file system, in a world where what is left behind in the temporary folder is seen."""
    (world / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(world / "temporary"))
    fsspec.get_filesystem_class("penstock").clear_instance_cache()
    yield fsspec.filesystem("penstock")
    assert os.listdir(world / "temporary") == []


def versions(handle: str = "demo/photos") -> list[str]:
    return [each.message for each in penstock.Dataset(handle).log()]


def test_a_transaction_becomes_one_version(files: fsspec.AbstractFileSystem) -> None:
    before = len(versions())
    with files.transaction:
        with files.open(f"{URL}/new/a.txt", "w") as text:
            text.write("line\n")
        files.pipe({f"{URL}/new/b": b"b", f"{URL}/new/c": b"c"})
        files.rm(f"{URL}/new/c")
        files.mv(f"{URL}/labels.csv", f"{URL}/meta/labels.csv")
        files.copy(f"{URL}/new/b", f"{URL}/copy")
        files.copy(f"{URL}/2024/cat.jpg", f"{URL}/cat.jpg")
        assert files.cat(f"{URL}/new/a.txt") == b"line\n"  # what is written can be read, before it is a version
        assert files.ls(f"{URL}/new", detail=False) == ["demo/photos/new/a.txt", "demo/photos/new/b"]
        assert not files.exists(f"{URL}/labels.csv")
        assert len(versions()) == before
    assert versions()[0] == "written through fsspec"
    assert len(versions()) == before + 1
    package = penstock.open("demo/photos")
    assert {each.key: each.read() for each in package if each.is_file()} == {
        "2024/cat.jpg": package["cat.jpg"].read(),
        "2024/dog.jpg": package["2024/dog.jpg"].read(),
        "cat.jpg": package["2024/cat.jpg"].read(),
        "copy": b"b",
        "meta/labels.csv": b"cat,1",
        "new/a.txt": b"line\n",
        "new/b": b"b",
    }
    assert package["cat.jpg"].physical_keys == package["2024/cat.jpg"].physical_keys
    assert files.cat(f"{URL}/new/b") == b"b"


def test_a_transaction_that_an_error_leaves_changes_nothing(files: fsspec.AbstractFileSystem) -> None:
    before = versions()
    with pytest.raises(ZeroDivisionError), files.transaction:
        files.pipe(f"{URL}/new", b"new")
        raise ZeroDivisionError
    assert (versions(), files.exists(f"{URL}/new")) == (before, False)
    with pytest.raises(ZeroDivisionError), files.open(f"{URL}/new", "wb") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (versions(), files.exists(f"{URL}/new")) == (before, False)


def test_without_a_transaction_each_call_is_a_version(files: fsspec.AbstractFileSystem, world: Path) -> None:
    before = len(versions())
    with files.open(f"{URL}/one", "wb") as file:
        file.write(b"one")
    with files.open(f"{URL}/one", "ab") as file:
        file.write(b", two")
    assert (files.cat(f"{URL}/one"), len(versions())) == (b"one, two", before + 2)
    write(world, {"folder/a": b"a", "folder/b/c": b"c"})
    files.put("folder", f"{URL}/put", recursive=True)
    assert (sorted(files.find(f"{URL}/put")), len(versions())) == (
        ["demo/photos/put/a", "demo/photos/put/b/c"],
        before + 3,
    )
    files.rm(f"{URL}/put", recursive=True)
    files.touch(f"{URL}/empty")
    assert (files.ls(URL, detail=False), len(versions())) == (
        ["demo/photos/2024", "demo/photos/empty", "demo/photos/labels.csv", "demo/photos/one"],
        before + 5,
    )
    with pytest.raises(FileExistsError):
        files.open(f"{URL}/one", "xb")
    with pytest.raises(ValueError, match="written anew"):
        files.open(f"{URL}/one", "r+b")
    with pytest.raises(IsADirectoryError):
        files.rm(f"{URL}/2024")
    with pytest.raises(ConflictError, match="is a directory"):
        files.pipe(f"{URL}/2024", b"")
    with pytest.raises(FileNotFoundError):
        files.rm(f"{URL}/nothing")
    assert len(versions()) == before + 5


def test_it_writes_to_branches_and_makes_data_sets(files: fsspec.AbstractFileSystem) -> None:
    files.pipe("penstock://demo/fresh/a", b"a")
    assert penstock.open("demo/fresh").read("a") == b"a"
    penstock.Dataset("demo/fresh").branch("next")
    with files.transaction:
        files.pipe("penstock://demo/fresh@next/b", b"b")
        files.pipe("penstock://demo/other@trunk/c", b"c")
    assert list(penstock.open("demo/fresh").keys()) == ["a"]
    assert list(penstock.open("demo/fresh:next").keys()) == ["a", "b"]
    assert list(penstock.open("demo/other:trunk").keys()) == ["c"]
    with pytest.raises(FileNotFoundError):
        files.pipe("penstock://demo/fresh@misspelt/d", b"d")
    other = fsspec.filesystem("penstock", asynchronous=True)  # as zarr makes one
    with files.transaction, pytest.raises(UsageError, match="is under way"), other.transaction:
        pass


def test_who_moves_the_branch_meanwhile_is_merged_with(files: fsspec.AbstractFileSystem) -> None:
    with files.transaction:
        files.pipe(f"{URL}/ours", b"ours")
        penstock.Package("demo/photos").to_builder().set("theirs", __file__).push(allow_missing_readme=True)
    assert {"ours", "theirs"} <= set(penstock.open("demo/photos").keys())
    with pytest.raises(MergeConflictError, match="1 path has changed on both sides"), files.transaction:
        files.pipe(f"{URL}/labels.csv", b"ours")
        penstock.Package("demo/photos").to_builder().set("labels.csv", __file__).push(allow_missing_readme=True)
    assert penstock.open("demo/photos").read("labels.csv") == Path(__file__).read_bytes()


def test_pandas_and_zarr_write(files: fsspec.AbstractFileSystem) -> None:
    pandas, zarr = pytest.importorskip("pandas"), pytest.importorskip("zarr")
    before = len(versions())
    with files.transaction:
        pandas.DataFrame({"n": range(100)}).to_parquet(f"{URL}/table.parquet")
        group = zarr.open_group(zarr.storage.FsspecStore.from_url(f"{URL}/grid.zarr"), mode="w")
        heat = group.create_array("heat", shape=(40, 40), chunks=(10, 10), dtype="f8")
        heat[:] = 3.0
        heat[:10] = 4.0
    assert len(versions()) == before + 1
    assert pandas.read_parquet(f"{URL}/table.parquet")["n"].sum() == 4950
    read = zarr.open_group(zarr.storage.FsspecStore.from_url(f"{URL}/grid.zarr", read_only=True), mode="r")
    assert read["heat"][:].sum() == 4 * 400 + 3 * 1200
