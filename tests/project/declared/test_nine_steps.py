"""The nine steps of the document, typed in an empty repository, against a local bucket and the real S3 server."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
from views.datasets_in_git import DatasetRepository, new_repository
from views.declared import picture

STEP_1 = """
from penstock import dataset, File, ingest, png, jpg

@dataset(remote="awsbucket")
class SegmentationDataset:
    image: File[png | jpg]
    segmentation: File[png]
"""
STEP_4 = """
from pathlib import Path
from penstock import dataset, File, ingest, png, jpg

@dataset(remote="awsbucket")
class SegmentationDataset:
    image: File[png | jpg]
    segmentation: File[png]

    @ingest
    def get_dataset_from_web():
        web = Path("../web")
        list_of_image = sorted(web.glob("image*"))
        list_of_segmentation = sorted(web.glob("segmentation*"))
        return list_of_image, list_of_segmentation
"""
STEP_6 = """
from penstock import dataset, File, ingest, png, jpg

@dataset(remote="awsbucket")
class SegmentationDataset:
    image: File[png | jpg]
    segmentation: File[png]

    def segmentation_resized(segmentation: File[png]) -> File[png]:
        from PIL import Image
        file = Image.open(segmentation).resize((2, 2))
        return file
"""
STEP_7 = STEP_6.replace("    image: File[png | jpg]\n", "")


def new(tmp_path, url, more=()):
    """Return an empty repository of a user who has a remote called awsbucket."""
    found = new_repository(tmp_path / "repository", tmp_path / "home")
    found.env.update(more)
    found.run("python", "-m", "penstock", "remote", "add", "awsbucket", url)
    web = tmp_path / "web"
    web.mkdir()
    for number in range(3):
        kind = "JPEG" if number == 2 else "PNG"
        (web / f"image{number}.{kind.lower()}").write_bytes(picture(number, kind))
        (web / f"segmentation{number}.png").write_bytes(picture(100 + number))
    return found


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "store").mkdir()
    return new(tmp_path, f"file://{tmp_path}/store")


def there(repository):
    return sorted(each.name for each in repository.root.iterdir() if not each.name.startswith("."))


def columns(repository):
    return [row[1] for row in repository.rows("PRAGMA table_info('SegmentationDataset')")]


def nine_steps(repository, tmp_path):
    # 1, 2: write the file, track it
    repository.write(STEP_1)
    repository.git("datasets", "track", "index.py")
    # 3: commit it
    repository.git("commit", "index.py", "-m", "fields")
    assert there(repository) == ["dataset.sqlite", "image", "index.py", "segmentation"]
    assert columns(repository) == ["id", "image", "segmentation"]
    # 4, 5: an ingest
    repository.write(STEP_4)
    repository.git("commit", "index.py", "-m", "ingest")
    rows = repository.rows("SELECT * FROM SegmentationDataset")
    assert len(rows) == 3
    assert sorted(row[1] for row in rows) == [f"image/{name}" for name in repository.names("image")]
    assert sorted(name.rpartition(".")[2] for name in repository.names("image")) == ["jpg", "png", "png"]
    brought = sorted((repository.root / row[1]).read_bytes() for row in rows)
    assert brought == sorted(each.read_bytes() for each in (tmp_path / "web").glob("image*"))
    assert all((repository.root / row[1]).is_symlink() for row in rows)
    # 6: a derived field
    repository.write(STEP_6)
    repository.git("commit", "index.py", "-m", "resized")
    assert there(repository) == ["dataset.sqlite", "image", "index.py", "segmentation", "segmentation_resized"]
    assert len(repository.names("segmentation_resized")) == 3
    resized = repository.shown()
    # 7: a field is removed
    repository.write(STEP_7)
    repository.git("commit", "index.py", "-m", "no image")
    assert there(repository) == ["dataset.sqlite", "index.py", "segmentation", "segmentation_resized"]
    assert columns(repository) == ["id", "segmentation", "segmentation_resized"]
    # 8: and back
    repository.git("reset", "--hard", "HEAD~1")
    assert there(repository) == ["dataset.sqlite", "image", "index.py", "segmentation", "segmentation_resized"]
    assert repository.shown() == resized
    assert repository.git("status", "--short") == ""
    # 9: pushed, and cloned by somebody else
    origin = tmp_path / "origin.git"
    repository.git("init", "-q", "--bare", "-b", "main", str(origin))
    repository.git("remote", "add", "origin", str(origin))
    repository.git("push", "-u", "origin", "main")
    shutil.rmtree(tmp_path / "web")
    repository.git("clone", "-q", str(origin), str(tmp_path / "clone"))
    clone = DatasetRepository(tmp_path / "clone", repository.env)
    assert there(clone) == ["index.py"]
    clone.git("datasets", "trust")
    assert columns(clone) == ["id", "image", "segmentation", "segmentation_resized"]
    clone.git("datasets", "pull")
    assert clone.shown() == resized
    return clone, resized


@pytest.mark.slow
def test_the_nine_steps(repository, tmp_path):
    clone, resized = nine_steps(repository, tmp_path)
    # and goes on: what is made of what is there, sent back
    clone.commit(STEP_6.replace("(2, 2)", "(3, 3)"))
    clone.git("push", "-q")
    repository.git("pull", "-q")
    repository.git("datasets", "pull")
    assert repository.shown() == clone.shown() != resized


@pytest.mark.s3
@pytest.mark.slow
def test_the_nine_steps_against_a_real_server(tmp_path, bucket, aws_environment):
    nine_steps(new(tmp_path, f"s3://{bucket}", aws_environment), tmp_path)


def test_the_same_is_in_any_mount_or_copy_of_the_version(repository, tmp_path):
    repository.write(STEP_4)
    repository.git("datasets", "track", "index.py")
    repository.git("commit", "-q", "index.py", "-m", "ingest")
    repository.git("init", "-q", "--bare", str(tmp_path / "origin.git"))
    repository.git("push", "-q", str(tmp_path / "origin.git"), "main")
    repository.run("python", "-m", "penstock", "download", "awsbucket/SegmentationDataset", str(tmp_path / "copy"))
    for name in repository.names("image"):
        assert (tmp_path / "copy" / "image" / name).read_bytes() == (repository.root / "image" / name).read_bytes()
    found = repository.run("python", "-m", "penstock", "log", "awsbucket/SegmentationDataset", "--json")
    top_hash = repository.git("log", "-1", "--format=%N", "--notes=refs/notes/penstock")
    assert found.split('"top_hash": "')[1][:64] in top_hash


def test_a_push_whose_data_cannot_be_sent_is_refused(repository, tmp_path):
    repository.write(STEP_4.replace("awsbucket", "nowhere"))
    repository.run("python", "-m", "penstock", "remote", "add", "nowhere", f"file://{tmp_path}/in/nowhere.txt/store")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "nowhere.txt").touch()
    repository.git("datasets", "track", "index.py")
    repository.git("commit", "-q", "index.py", "-m", "ingest")
    repository.git("init", "-q", "--bare", str(tmp_path / "origin.git"))
    assert "nowhere" in repository.git("push", str(tmp_path / "origin.git"), "main", fails=True)
    assert repository.git("ls-remote", str(tmp_path / "origin.git")) == ""


def test_the_database_is_read_by_anything(repository):
    import pandas as pd

    repository.write(STEP_4)
    repository.git("datasets", "track", "index.py")
    repository.git("commit", "-q", "index.py", "-m", "ingest")
    with closing(sqlite3.connect(repository.root / "dataset.sqlite")) as database:
        frame = pd.read_sql("SELECT * FROM SegmentationDataset", database)
    assert list(frame.columns) == ["id", "image", "segmentation"]
    assert len(frame) == 3
