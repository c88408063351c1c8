"""Data sets as Hugging Face keeps them become versions: their files, their card, and what rows say of files."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet
from trees.directory import write

import penstock
from penstock.errors import IntegrityError, NotFoundError, PenstockError, UsageError

CARD = b"""---
license: cc-by-4.0
task_categories: [image-classification]
date: 2024-05-01
configs:
- config_name: default
  data_files: [{split: train, path: train/**}]
---
# Pictures
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_clone_with_a_card_and_metadata_files(world: Path) -> None:
    write(
        world,
        {
            "pets/README.md": CARD,
            "pets/.gitattributes": b"*.png filter=lfs\n",
            "pets/.git/config": b"[core]\n",
            "pets/train/metadata.csv": b'file_name,label,score,id\na.png,cat,0.5,007\nin/b.png,"dog, old",2,\n',
            "pets/train/a.png": b"a",
            "pets/train/in/b.png": b"b",
            "pets/test/metadata.jsonl": b'{"file_name": "c.png", "boxes": [[1, 2]]}\n\n'
            b'{"file_name": "c.png", "boxes": []}\n{"file_name": "c.png", "boxes": null}\n'
            b'{"left_file_name": "d.png", "right_file_names": ["e.png"], "same": true}\n',
            "pets/test/c.png": b"c",
            "pets/test/d.png": b"d",
            "pets/test/e.png": b"e",
            "pets/val/f.png": b"f",
        },
    )
    rows = [{"file_name": "f.png", "label": 3, "nothing": None}]
    parquet.write_table(pa.Table.from_pylist(rows), world / "pets/val/metadata.parquet")
    done = penstock.import_hf("pets", "demo/pets", tag="v1")
    assert (done.handle, done.files, done.described, done.has_card) == ("demo/pets:v1", 11, 6, True)
    package = penstock.open("demo/pets:v1")
    assert not any(key.startswith(".git/") for key in list(package.keys()))
    assert package.read("train/metadata.csv") == (world / "pets/train/metadata.csv").read_bytes()
    assert package.get_metadata()["huggingface"] == {
        "card": {
            "license": "cc-by-4.0",
            "task_categories": ["image-classification"],
            "date": "2024-05-01",
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train/**"}]}],
        }
    }
    assert {each.key: each.metadata for each in package if each.metadata} == {
        "train/a.png": {"label": "cat", "score": 0.5, "id": "007"},
        "train/in/b.png": {"label": "dog, old", "score": 2},
        "test/c.png": {"rows": [{"boxes": [[1, 2]]}, {"boxes": []}, {}]},
        "test/d.png": {"same": True},
        "test/e.png": {"same": True},
        "val/f.png": {"label": 3},
    }
    again = penstock.import_hf("pets", "demo/pets")
    assert (again.commit, again.bytes_sent) == (done.commit, 0)


def test_a_snapshot_in_the_cache_of_the_hub_is_followed_to_its_blobs_and_nowhere_else(world: Path) -> None:
    repository = world / "hub/datasets--org--pets"
    write(world, {"hub/datasets--org--pets/blobs/b1": b"one", "hub/secret": b"secret"})
    snapshot = repository / "snapshots" / COMMIT
    (snapshot / "data").mkdir(parents=True)
    os.symlink("../../../blobs/b1", snapshot / "data/1.bin")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    for source in (repository, snapshot):
        penstock.import_hf(source, "demo/cached")
        package = penstock.open("demo/cached")
        assert package.read("data/1.bin") == b"one"
        told = {"source": "hf://datasets/org/pets", "commit": COMMIT}
        assert package.get_metadata() == {"huggingface": told}
    (repository / "refs/main").write_text("another")
    with pytest.raises(UsageError, match="which snapshot is meant"):
        (repository / "snapshots/other").mkdir()
        penstock.import_hf(repository, "demo/cached")
    os.symlink("../../../../secret", snapshot / "data/2.bin")
    with pytest.raises(UsageError, match=r"'data/2.bin' is a link that leads out"):
        penstock.import_hf(snapshot, "demo/cached")
    assert list(penstock.open("demo/cached").keys()) == ["data", "data/1.bin"]


def test_what_save_to_disk_wrote_keeps_its_record(world: Path) -> None:
    write(
        world,
        {
            "saved/dataset_info.json": b'{"description": "pets", "features": {"n": {"dtype": "int64"}}}',
            "saved/state.json": b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}',
            "saved/data-00000-of-00001.arrow": b"ARROW1",
        },
    )
    assert penstock.import_hf("saved", "demo/saved").files == 3
    assert penstock.open("demo/saved").get_metadata()["huggingface"]["dataset_info"]["description"] == "pets"


def test_a_url_that_fsspec_knows_is_downloaded_first(world: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/pets/README.md": CARD, "/pets/train/a.png": b"a"})
    try:
        done = penstock.import_hf("memory://pets", "demo/pets")
        assert (done.files, done.has_card) == (2, True)
        assert penstock.open("demo/pets").get_metadata()["huggingface"]["source"] == "memory://pets"
        with pytest.raises(NotFoundError, match="no directory"):
            penstock.import_hf("memory://nothing", "demo/pets")
    finally:
        files.rm("/pets", recursive=True)
    with pytest.raises(UsageError, match="cannot be read"):
        penstock.import_hf("nosuch://pets", "demo/pets")


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({}, UsageError, "there is no file"),
        ({"metadata.csv": b"file_name,x\nb.png,1\n"}, UsageError, "names files that are not there"),
        ({"metadata.csv": b"file_name,x\na.png,1,2\n"}, UsageError, "row 1 of 'metadata.csv'"),
        ({"metadata.csv": b"name,x\na.png,1\n"}, UsageError, "row 1 of 'metadata.csv'"),
        ({"metadata.jsonl": b'{"file_name": "../../a.png"}\n'}, UsageError, "row 1 of 'metadata.jsonl'"),
        ({"metadata.jsonl": b'{"file_name": "a.png"}\n[1]\n'}, UsageError, "row 2 of 'metadata.jsonl'"),
        ({"metadata.jsonl": b'{"file_name": "a.png", "x": NaN}\n'}, UsageError, "metadata"),
        ({"metadata.parquet": b"PAR1"}, UsageError, "'metadata.parquet' cannot be read"),
        ({"README.md": b"---\nlicense: mit\n"}, UsageError, "what README.md says"),
        ({"README.md": b"---\na: &x [1]\nb: *x\n---\n"}, UsageError, "what README.md says"),
        ({"README.md": b"---\na: !!python/object/apply:os.getcwd []\n---\n"}, UsageError, "what README.md says"),
        ({"README.md": b"---\n- 1\n---\n"}, UsageError, "what README.md says"),
        ({"dataset_info.json": b"[]"}, UsageError, "what dataset_info.json says"),
        (
            {"b.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"},
            IntegrityError,
            "'b.png' has not been fetched",
        ),
    ],
)
def test_what_is_malformed_is_named_and_nothing_is_pushed(
    world: Path, files: dict[str, bytes], kind: type[PenstockError], said: str
) -> None:
    (world / "pets").mkdir()
    write(world, {f"pets/{name}": body for name, body in files.items()} | ({"pets/a.png": b"a"} if files else {}))
    with pytest.raises(kind) as error:
        penstock.import_hf("pets", "demo/pets")
    assert said in str(error.value)
    assert penstock.Bucket("demo").datasets() == ["photos"]


def test_a_directory_that_is_not_there_is_named(world: Path) -> None:
    with pytest.raises(NotFoundError, match="no directory 'nothing'"):
        penstock.import_hf("nothing", "demo/pets")
