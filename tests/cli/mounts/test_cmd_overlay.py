"""``penstock overlay check`` and ``rescue``, and what other commands say of one that is damaged, full or gone."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]
LARGE = random.Random(2).randbytes(1_500_000)


@pytest.fixture
def place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Push ``demo/things``; return a directory to mount it at."""
    source = tmp_path / "things"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_bytes(b"text\n")
    (source / "sub" / "b").write_bytes(b"below\n")
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")
    there = tmp_path / "mnt"
    there.mkdir()
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(source), "demo/things").exit_code == 0
    try:
        yield there
    finally:
        if os.path.ismount(there):
            run("umount", "--force", str(there))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    there = tmp_path / "disk"
    there.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "penstock-test", there], check=True)
    try:
        yield there
    finally:
        subprocess.run(["umount", "-l", there], check=True)


def mount(run: Run, place: Path, overlay: Path) -> Result:
    return run("mount", "--writable", "--overlay-dir", str(overlay), "demo/things", str(place))


@pytest.fixture
def left(run: Run, place: Path, tmp_path: Path) -> Path:
    """Return the overlay of a mount that is unmounted with changes."""
    overlay = tmp_path / "overlay"
    assert mount(run, place, overlay).exit_code == 0
    (place / "new").mkdir()
    for number in range(30):
        (place / "new" / f"file-{number}").write_bytes(b"content of %d\n" % number)
    (place / "large").write_bytes(LARGE)
    with open(place / "a", "r+b") as stream:
        stream.write(b"T")
    os.symlink("large", place / "link")
    (place / "sub" / "b").unlink()
    assert run("umount", str(place)).exit_code == 0
    return overlay


def test_what_is_whole_is_said_to_be(run: Run, place: Path, left: Path) -> None:
    told = json.loads(run("overlay", "check", str(left), "--json").stdout)
    assert told["whole"]
    assert told["records"] > 100
    assert mount(run, place, left).exit_code == 0
    assert "is whole" in run("overlay", "check", str(place)).stdout


def flip(root: Path, text: bytes) -> None:
    """Flip a bit of some bytes, everywhere below a directory."""
    found = 0
    for path in root.rglob("*"):
        if path.is_file():
            with open(path, "r+b") as stream:
                body = stream.read()
                at = body.find(text)
                while at >= 0:
                    found += 1
                    stream.seek(at)
                    stream.write(bytes([body[at] ^ 2]))
                    at = body.find(text, at + 1)
    assert found


@pytest.mark.regress
def test_damaged_bytes_are_named_refused_and_left_out(run: Run, place: Path, left: Path, tmp_path: Path) -> None:
    flip(left / "data" / "heads", LARGE[1000:1020])
    committed = run("commit", str(left), "-m", "x")
    assert committed.exit_code == 5
    assert "damaged" in committed.stderr
    checked = run("overlay", "check", str(left), "--json")
    assert checked.exit_code == 5
    told = json.loads(checked.stdout)
    assert [each["path"] for each in told["damaged"]] == ["large"]
    assert not told["whole"]
    assert mount(run, place, left).exit_code == 0  # what is whole can be read on
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (place / "large").read_bytes()
    assert (place / "new" / "file-3").read_bytes() == b"content of 3\n"
    assert "trouble:" in run("status", str(place)).stdout
    assert "damaged  large" in run("overlay", "check", str(place)).stdout
    assert run("commit", str(place), "-m", "x").exit_code == 5
    assert run("overlay", "rescue", str(place), str(tmp_path / "saved")).exit_code == 4
    assert run("umount", str(place)).exit_code == 0
    rescued = run("overlay", "rescue", str(left), str(tmp_path / "saved"))
    assert rescued.exit_code == 1
    assert "left     large" in rescued.stdout
    assert "deleted  sub/b" in rescued.stdout
    saved = tmp_path / "saved"
    assert (saved / "a").read_bytes() == b"Text\n"
    assert os.readlink(saved / "link") == "large"
    assert len(list((saved / "new").iterdir())) == 30
    assert not (saved / "large").exists()
    assert run("overlay", "rescue", str(left), str(saved)).exit_code == 2  # nothing is overwritten


@pytest.mark.regress
def test_damaged_tables_are_refused_and_what_is_whole_comes_out(
    run: Run, place: Path, left: Path, tmp_path: Path
) -> None:
    flip(left / "index", b"file-7")
    for command in (("commit", str(left), "-m", "x"), ("status", str(left)), ("discard", "-y", str(left))):
        done = run(*command)
        assert done.exit_code == 5, command
        assert "overlay rescue" in done.stderr
    mounted = mount(run, place, left)
    assert mounted.exit_code == 5
    assert "overlay check" in mounted.stderr
    assert run("overlay", "check", str(left)).exit_code == 5
    assert run("overlay", "rescue", str(left), str(tmp_path / "saved")).exit_code == 1
    names = {path.name for path in (tmp_path / "saved").rglob("file-*")}
    assert len(names) == 29
    assert (tmp_path / "saved" / "large").read_bytes() == LARGE


def test_without_its_bucket_what_the_overlay_has_alone_comes_out(run: Run, left: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store")
    assert run("cache", "clear").exit_code == 0
    assert run("overlay", "check", str(left)).exit_code == 0
    rescued = run("overlay", "rescue", str(left), str(tmp_path / "saved"))
    assert rescued.exit_code == 1
    assert (tmp_path / "saved" / "large").read_bytes() == LARGE
    assert "left" in rescued.stdout


def fill(path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), open(path, "wb", buffering=0) as stream:
        while True:
            stream.write(os.urandom(1 << 20))


@pytest.mark.regress
@pytest.mark.parametrize("way", ["discard", "commit", "rm", "umount"])
def test_there_is_a_way_out_of_a_full_disk(run: Run, place: Path, disk: Path, way: str) -> None:
    overlay = disk / "overlay"
    assert mount(run, place, overlay).exit_code == 0
    for number in range(100):
        (place / f"small-{number}").write_bytes(b"small")
    fill(place / "big")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        for number in range(10_000):
            (place / f"more-{number}").write_bytes(bytes(100))
    for command in (("status",), ("diff",)):
        done = run(*command, str(place))
        assert done.exit_code in (0, 1), done.stderr
        assert "big" in done.stdout or "more" in done.stdout
    if way == "rm":
        (place / "big").unlink()
        (place / "again").write_bytes(bytes(20 << 20))
    elif way == "discard":
        done = run("discard", "-y", str(place))
        assert done.exit_code == 0, done.stderr
        assert sorted(os.listdir(place)) == ["a", "sub"]
    elif way == "commit":
        done = run("commit", str(place), "-m", "all")
        assert done.exit_code == 0, done.stderr
    if way != "umount":
        (place / "room").write_bytes(bytes(20 << 20))
    done = run("umount", str(place))
    assert done.exit_code == 0, done.stderr
    if way != "rm":
        done = run("discard", "-y", str(overlay))
        assert done.exit_code == 0, done.stderr
        facts = os.statvfs(disk)
        assert facts.f_bfree * facts.f_frsize > 50 << 20


@pytest.mark.regress
def test_an_overlay_directory_that_is_removed_under_its_mount_is_named(run: Run, place: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    assert mount(run, place, overlay).exit_code == 0
    (place / "new").write_bytes(b"new")
    shutil.rmtree(overlay)
    for command in (("status",), ("commit", "-m", "x"), ("discard", "-y")):
        done = run(command[0], str(place), *command[1:])
        assert done.exit_code == 3, done.stderr
        assert f"the overlay directory {overlay} is gone" in done.stderr
    done = run("umount", str(place))
    assert done.exit_code == 0, done.stderr
    assert f"the overlay directory {overlay} is gone" in done.stderr
    assert not overlay.exists()
