"""Versions by way of fsspec: the file system itself, and the libraries that read through it."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
from pathlib import Path

import fsspec
import pytest

import penstock
from penstock.errors import IntegrityError
from penstock.progress import SILENT
from penstock.repo.push.push import push
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

URL = "penstock://demo/tables@v1"
LARGE = random.Random(7).randbytes(3 << 20)


def publish(folder: Path, handle: str, tag: str | None = None) -> None:
    push(str(folder), parse_handle(handle), Settings.load(), Authorship("Ada", "", "push"), SILENT, tag)


@pytest.fixture
def files(world: Path) -> fsspec.AbstractFileSystem:
    """Return the file system, beside a data set with files, and links that lead about in it and out of it."""
    folder = world / "tables"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/c.txt").write_bytes(b"in c\n")
    (folder / "a/d.txt").write_bytes(b"in d\n")
    (folder / "large.bin").write_bytes(LARGE)
    os.symlink("../d.txt", folder / "a/b/up")
    os.symlink("a/b", folder / "folder")
    os.symlink("loop", folder / "loop")
    os.symlink("../../../../etc/passwd", folder / "a/b/out")
    os.symlink("/etc/passwd", folder / "absolute")
    publish(folder, "demo/tables", "v1")
    fsspec.get_filesystem_class("penstock").clear_instance_cache()
    return fsspec.filesystem("penstock")


def test_it_is_found_by_its_protocol_and_lists(files: fsspec.AbstractFileSystem) -> None:
    assert type(files).__module__ == "penstock.api.filesystem"
    assert files.ls("", detail=False) == ["demo"]
    assert files.ls("demo", detail=False) == ["demo/photos", "demo/tables"]
    assert files.ls(URL + "/a", detail=False) == ["demo/tables@v1/a/b", "demo/tables@v1/a/d.txt"]
    assert files.ls("penstock://demo/tables:v1/a/", detail=False) == files.ls(URL + "/a", detail=False)
    assert files.ls("demo/tables/a/d.txt", detail=False) == ["demo/tables/a/d.txt"]
    (told,) = files.ls(f"{URL}/a/d.txt")
    assert (told["name"], told["size"], told["type"]) == ("demo/tables@v1/a/d.txt", 5, "file")
    assert files.info(URL)["type"] == "directory"
    assert set(files.find(URL)) == {
        f"demo/tables@v1/{name}"
        for name in ("a/b/c.txt", "a/b/up", "a/b/out", "a/d.txt", "large.bin", "folder", "loop", "absolute")
    }
    assert files.glob(f"{URL}/**/*.txt") == ["demo/tables@v1/a/b/c.txt", "demo/tables@v1/a/d.txt"]
    assert files.du(f"{URL}/a/b/c.txt") == 5
    assert files.isdir(f"{URL}/a")
    assert not files.isfile(f"{URL}/a")


def test_links_are_followed_within_a_version_and_not_out_of_it(files: fsspec.AbstractFileSystem) -> None:
    assert files.cat(f"{URL}/a/b/up") == b"in d\n"
    assert files.cat(f"{URL}/folder/c.txt") == b"in c\n"
    assert files.cat(f"{URL}/folder/up") == b"in d\n"
    assert files.info(f"{URL}/a/b/up")["size"] == 5
    assert files.isdir(f"{URL}/folder")
    for name in ("a/b/out", "absolute", "a/d.txt/x", "nothing", "a/../large.bin"):
        with pytest.raises(FileNotFoundError):
            files.open(f"{URL}/{name}")
        assert not files.exists(f"{URL}/{name}")
    with pytest.raises(OSError, match="symbolic links"):
        files.cat(f"{URL}/loop")
    with pytest.raises(IsADirectoryError):
        files.open(f"{URL}/a")


def test_reads_are_of_what_was_asked_for(files: fsspec.AbstractFileSystem) -> None:
    path = f"{URL}/large.bin"
    assert files.cat_file(path, start=1_000_000, end=2_000_000) == LARGE[1_000_000:2_000_000]
    assert files.cat_file(path, start=-5) == LARGE[-5:]
    with files.open(path) as file:
        assert file.seek(-10, os.SEEK_END) == len(LARGE) - 10
        assert file.read() == LARGE[-10:]
    with fsspec.open(f"{URL}/a/d.txt", "rt") as lines:
        assert lines.read() == "in d\n"
    many = files.cat([f"{URL}/a/d.txt", f"{URL}/large.bin"])
    assert many == {"demo/tables@v1/a/d.txt": b"in d\n", "demo/tables@v1/large.bin": LARGE}
    files.get(f"{URL}/folder/up", "fetched")
    assert Path("fetched").read_bytes() == b"in d\n"
    assert files.ukey(path) == files.info(path)["hash"]
    assert files.checksum(path) == files.checksum("demo/tables/large.bin")
    assert files.modified(path).tzinfo is not None


def test_a_tag_is_not_written_to(files: fsspec.AbstractFileSystem, world: Path) -> None:
    (world / "local").write_bytes(b"")
    for change in (
        lambda: files.open(f"{URL}/new", "wb"),
        lambda: files.pipe(f"{URL}/new", b""),
        lambda: files.rm(f"{URL}/a", recursive=True),
        lambda: files.mv(f"{URL}/a/d.txt", f"{URL}/b"),
        lambda: files.touch(f"{URL}/new"),
        lambda: files.put_file("local", f"{URL}/new"),
    ):
        with pytest.raises(OSError, match="tags and hashes never change"):
            change()


def test_a_missing_version_is_not_there_and_damage_is_no_missing_file(
    files: fsspec.AbstractFileSystem, world: Path
) -> None:
    for url in ("penstock://demo/nothing/a", "penstock://demo/tables@v9/a", "penstock://demo/ta bles/a"):
        with pytest.raises(FileNotFoundError):
            files.open(url)
        assert not files.exists(url)
    (place, *_) = penstock.Package("demo/tables")["large.bin"].physical_keys
    path = Path(place.uri.removeprefix("file://"))
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(IntegrityError):
        files.cat(f"{URL}/large.bin")


def read_d(files: fsspec.AbstractFileSystem) -> bytes:
    return files.cat("demo/tables/a/d.txt")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_reads_the_same_version_in_other_processes(
    files: fsspec.AbstractFileSystem, world: Path, method: str
) -> None:
    assert read_d(files) == b"in d\n"
    sent = pickle.dumps(files)
    (world / "tables/a/d.txt").write_bytes(b"changed\n")
    publish(world / "tables", "demo/tables")
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(files.cat, ["demo/tables/a/d.txt"]) == [b"in d\n"]
    type(files).clear_instance_cache()
    again = pickle.loads(sent)
    assert again is not files
    assert read_d(again) == b"in d\n"
    again.invalidate_cache()
    assert read_d(again) == b"changed\n"


@pytest.fixture
def tables(world: Path) -> str:
    """Return the URL of a data set with a table in parts, a picture, and an array."""
    import numpy as np
    import pandas as pd
    import xarray
    from PIL import Image

    folder = world / "data"
    (folder / "parts/year=2024").mkdir(parents=True)
    (folder / "parts/year=2025").mkdir(parents=True)
    frame = pd.DataFrame({"name": [f"cat {n}" for n in range(1000)], "size": range(1000)})
    frame[:600].to_parquet(folder / "parts/year=2024/a.parquet")
    frame[600:].to_parquet(folder / "parts/year=2025/b.parquet")
    frame.to_parquet(folder / "all.parquet")
    Image.new("RGB", (40, 30), (10, 200, 30)).save(folder / "picture.png")
    xarray.Dataset({"heat": (("y", "x"), np.arange(600.0).reshape(20, 30))}).to_zarr(folder / "grid.zarr")
    publish(folder, "demo/data", "v1")
    fsspec.get_filesystem_class("penstock").clear_instance_cache()
    return "penstock://demo/data@v1"


# What the libraries themselves do is not what is tested here.
@pytest.mark.filterwarnings("default")
def test_tables_pictures_and_arrays_are_read_by_libraries(tables: str) -> None:
    import duckdb
    import numpy as np
    import pandas as pd
    import pyarrow.dataset
    import xarray
    import zarr
    from PIL import Image

    frame = pd.read_parquet(f"{tables}/all.parquet")
    assert frame["size"].sum() == 499_500

    files = fsspec.filesystem("penstock")
    dataset = pyarrow.dataset.dataset("demo/data@v1/parts", filesystem=files, format="parquet", partitioning="hive")
    assert dataset.count_rows() == 1000
    assert dataset.to_table(filter=pyarrow.dataset.field("year") == 2025).num_rows == 400

    with duckdb.connect() as database:
        database.register_filesystem(files)
        found = database.sql(f"select count(*), sum(size) from read_parquet('{tables}/parts/*/*.parquet')").fetchall()
        assert found == [(1000, 499_500)]

    with fsspec.open(f"{tables}/picture.png") as file, Image.open(file) as picture:
        assert (picture.size, picture.getpixel((3, 3))) == ((40, 30), (10, 200, 30))

    grid = zarr.open_group(zarr.storage.FsspecStore.from_url(f"{tables}/grid.zarr", read_only=True), mode="r")
    assert np.array_equal(grid["heat"][5:7], np.arange(600.0).reshape(20, 30)[5:7])
    with xarray.open_zarr(f"{tables}/grid.zarr") as opened:
        assert float(opened["heat"].sum()) == 179_700.0
    assert json.loads(files.cat("demo/data@v1/grid.zarr/zarr.json"))["node_type"] == "group"
