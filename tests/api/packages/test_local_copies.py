"""Copies of a version in a directory: made, made again, held against it, brought up to date; and what harms them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.latency import LatencyProxy
from servers.rgw import RadosGateway

import penstock
from penstock.errors import AccessError, CancelledError, ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.progress import SILENT, ProgressMeter
from penstock.repo.local_copy import copy_task
from penstock.repo.push.push import push
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

MIB = 1 << 20
LARGE = random.Random(1).randbytes(6 * MIB + 12345)
FILES = {
    **{f"train/{number:03}.bin": random.Random(number).randbytes(2000 + number) for number in range(60)},
    "large.bin": LARGE,
    "empty": b"",
    "a/b/run.sh": b"#!/bin/sh\n",
    os.fsdecode(b"odd \xff\n"): b"odd",
    "labels.csv": b"cat,1\n",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def publish(folder: Path, handle: str, tag: str | None = None) -> penstock.Package:
    push(str(folder), parse_handle(handle), Settings.load(), Authorship("Ada", "", "push"), SILENT, tag)
    return penstock.Package(handle)


def content(folder: Path) -> dict[str, object]:
    """Return what is in a directory, by path: bytes and the executable bit, a link's target, None of a directory."""
    found: dict[str, object] = {}
    for top, directories, files in os.walk(folder):
        for name in directories + files:
            path = Path(top) / name
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = os.readlink(path)
            else:
                found[key] = None if path.is_dir() else (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@pytest.fixture
def source(world: Path) -> Path:
    folder = write(world / "source", FILES)
    (folder / "a/b/run.sh").chmod(0o755)
    (folder / "nothing/in/it").mkdir(parents=True)
    os.symlink("a/b/run.sh", folder / "link")
    os.symlink("/nowhere", folder / "dangling")
    os.utime(folder / "labels.csv", ns=(10**18 + 5, 10**18 + 5))
    return folder


@pytest.fixture
def package(source: Path) -> penstock.Package:
    return publish(source, "demo/copies")


@pytest.fixture
def copy(world: Path, package: penstock.Package) -> Path:
    package.download(world / "copy")
    return world / "copy"


def test_a_download_is_what_was_pushed_and_needs_few_requests(
    source: Path, world: Path, package: penstock.Package
) -> None:
    report = package.download("copy")
    assert content(world / "copy") == content(source)
    assert (world / "copy/labels.csv").stat().st_mtime_ns == 10**18 + 5
    assert report.files == report.fetched == len(FILES) + 2
    assert report.bytes == report.bytes_written == sum(map(len, FILES.values()))
    assert report.gets <= 6
    assert package.verify_directory("copy")


def test_content_that_several_files_have_is_fetched_once_wherever_they_lie(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = {f"a/{number:03}.bin": random.Random(number).randbytes(20_000 + number) for number in range(60)}
    twins = {f"z/{number % 7}/{number:03}.bin": once[f"a/{number:03}.bin"] for number in range(60)}
    large = {f"{folder}/large.bin": LARGE for folder in ("a", "m", "z")}
    source = write(world / "twins", {**once, **twins, **large})
    package = publish(source, "demo/twins")
    penstock.clear_cache()
    with monkeypatch.context() as small:
        small.setattr(copy_task, "_BATCH_BYTES", 1 << 20)
        small.setattr(copy_task, "REQUEST", 64 << 10)
        report = package.download("copied")
    assert content(world / "copied") == content(source)
    assert report.fetched == len(once) + len(twins) + len(large)
    whole = package.download("whole")
    assert content(world / "whole") == content(source)
    assert whole.bytes_fetched == len(LARGE) + sum(map(len, once.values()))


def test_what_is_there_is_not_fetched_again(source: Path, copy: Path, package: penstock.Package) -> None:
    penstock.clear_cache()
    again = package.copy(to=copy)
    assert (bool(again), again.gets, again.bytes_written, again.changes) == (False, 0, 0, ())
    write(source, {"train/030.bin": b"another"})
    changed = publish(source, "demo/copies").download(copy)
    assert [(each.path, each.change) for each in changed.changes] == [("train/030.bin", "replaced")]
    assert changed.bytes_written == 7
    assert content(copy) == content(source)


def test_the_server_counts_nothing_for_a_second_download_and_one_for_one_change(
    gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], world: Path, source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def data_gets(proxy: LatencyProxy) -> int:
        return sum("/data/" in path for method, path in proxy.counts().paths if method == "GET")

    with LatencyProxy(gateway.endpoint, delay_ms=0, jitter_ms=0, megabytes_per_second=1000) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        publish(source, f"{bucket}/copies").download("copy")
        assert content(world / "copy") == content(source)
        proxy.reset()
        assert not penstock.Package(f"{bucket}/copies").download("copy")
        assert data_gets(proxy) == 0
        write(source, {"train/030.bin": b"another"})
        changed = publish(source, f"{bucket}/copies")
        proxy.reset()
        assert changed.download("copy").replaced == 1
        assert data_gets(proxy) == 1
    assert content(world / "copy") == content(source)


def test_of_a_large_file_only_what_differs_is_fetched(source: Path, copy: Path) -> None:
    penstock.clear_cache()
    changed = bytearray(LARGE)
    changed[3 * MIB + 7] ^= 1
    write(source, {"large.bin": bytes(changed) + b"and more"})
    package = publish(source, "demo/copies")
    penstock.clear_cache()
    report = package.download(copy)
    assert report.bytes_written == len(changed) + 8
    assert report.bytes_fetched < 3 * MIB
    assert content(copy) == content(source)


def test_only_what_is_named_is_taken(world: Path, package: penstock.Package) -> None:
    package.download("one", paths=["train", "labels.csv"])
    assert set(content(world / "one")) == {
        "train",
        "labels.csv",
        *(name for name in FILES if name.startswith("train/")),
    }
    package.download("two", include=["00?.bin", "/a/"])
    assert set(content(world / "two")) == {"train", *(f"train/00{n}.bin" for n in range(10)), "a", "a/b", "a/b/run.sh"}
    package.download("three", paths=["a"], include=["*.bin"])
    assert content(world / "three") == {}
    with pytest.raises(NotFoundError, match="trian"):
        package.download("four", paths=["trian"])
    for pattern in ("!a", "#", "[", ""):
        with pytest.raises(UsageError, match="bad pattern"):
            package.download("four", include=[pattern])
    assert not (world / "four").exists()


def test_what_differs_is_named_with_what_mends_it(copy: Path, package: penstock.Package) -> None:
    assert bool(package.verify_directory_matches_manifest(copy)) is True
    write(copy, {"file1.txt": b"", "extra/file2.txt": b"", "labels.csv": b"dog,1\n"})
    (copy / "large.bin").write_bytes(LARGE[:-1] + b"?")
    (copy / "empty").chmod(0o755)
    shutil.rmtree(copy / "train")
    (copy / "link").unlink()
    os.symlink("elsewhere", copy / "link")
    (copy / "a/b/run.sh").unlink()
    (copy / "a/b/run.sh").mkdir()
    check = package.verify_directory_matches_manifest(copy)
    assert not check
    assert {(each.state, each.path) for each in check.differences} == {
        ("extra", "file1.txt"), ("extra", "extra"), ("missing", "train"), ("modified", "labels.csv"),
        ("modified", "large.bin"), ("modified", "empty"), ("modified", "link"), ("modified", "a/b/run.sh"),
    }  # fmt: skip
    assert (check.missing, check.extra, check.modified) == (1, 2, 5)
    shown = repr(check).splitlines()
    assert shown[0] == "False"
    assert f"{copy}/file1.txt exists locally, but does not exist in the manifest demo/copies" in shown
    assert shown[-1] == f"This can be fixed by calling pkg.force_directory_to_match_manifest('{copy}')"


def test_a_directory_is_forced_to_match(source: Path, copy: Path, package: penstock.Package) -> None:
    write(copy, {"file1.txt": b"", "extra/deep/file2.txt": b"", "labels.csv": b"dog,1\n"})
    (copy / "a/b/run.sh").chmod(0o644)
    (copy / "empty").unlink()
    write(copy, {"empty/in the way": b""})
    shutil.rmtree(copy / "train")
    (copy / "train").write_bytes(b"in the way, too")
    before = content(copy)
    tried = package.sync(copy, delete=True, dry_run=True)
    assert content(copy) == before
    done = package.force_directory_to_match_manifest(copy)
    assert content(copy) == content(source)
    assert sorted(done.changes, key=str) == sorted(tried.changes, key=str)
    assert {(each.path, each.change) for each in done.changes if not each.path.startswith("train/")} == {
        ("file1.txt", "removed"), ("extra", "removed"), ("train", "removed"), ("labels.csv", "replaced"),
        ("a/b/run.sh", "mode"), ("empty", "replaced"),
    }  # fmt: skip
    assert not package.sync(copy, delete=True)


def test_what_ignore_files_leave_out_is_left_alone(source: Path, copy: Path, package: penstock.Package) -> None:
    write(
        copy, {"sub/.penstockignore": b"", ".penstockignore": b"*.pyc\n.penstockignore\nsub/\ntrain/\n", "x.pyc": b"x"}
    )
    (copy / "train/001.bin").unlink()
    assert [each.path for each in package.verify_directory(copy).differences] == ["train/001.bin"]
    package.sync(copy, delete=True)
    assert content(copy).keys() - content(source).keys() == {".penstockignore", "x.pyc", "sub", "sub/.penstockignore"}
    assert (copy / "train/001.bin").exists()


def test_without_delete_what_is_in_the_way_stays(copy: Path, package: penstock.Package) -> None:
    (copy / "empty").unlink()
    write(copy, {"empty/precious": b"mine"})
    with pytest.raises(ConflictError, match="empty' is in the way"):
        package.download(copy)
    assert (copy / "empty/precious").read_bytes() == b"mine"
    shutil.rmtree(copy / "train")
    write(copy, {"train": b"mine"})
    shutil.rmtree(copy / "empty")
    with pytest.raises(ConflictError, match="train' is in the way"):
        package.download(copy)
    assert (copy / "train").read_bytes() == b"mine"
    assert package.sync(copy, delete=True)


def test_nothing_is_written_or_removed_through_links(world: Path, copy: Path, package: penstock.Package) -> None:
    outside = write(world / "outside", {"labels.csv": b"mine", "b/run.sh": b"mine", "001.bin": b"mine"})
    before = content(outside)
    for name in ("a", "train"):
        shutil.rmtree(copy / name)
        os.symlink(outside, copy / name)
    (copy / "labels.csv").unlink()
    os.symlink(outside / "labels.csv", copy / "labels.csv")
    os.symlink(outside, copy / "extra")
    with pytest.raises(ConflictError, match="in the way"):
        package.download(copy)
    assert not package.verify_directory(copy)
    assert content(outside) == before
    package.sync(copy, delete=True)
    assert content(outside) == before
    assert not (copy / "labels.csv").is_symlink()
    assert package.verify_directory(copy)


def test_a_link_that_takes_a_directorys_place_meanwhile_is_not_followed(
    world: Path, copy: Path, package: penstock.Package
) -> None:
    outside = write(world / "outside", {"keep": b"mine"})
    shutil.rmtree(copy / "train")

    class Swapping(ProgressMeter):
        """Swaps the directory as soon as anything was written."""

        is_shown = False

        def stage(self, name: str, /, **more: object) -> object:
            stage = super().stage(name, **more)
            advance = stage.advance

            def swapping(amount: int = 1, /) -> None:
                if (copy / "train").is_dir() and not (copy / "train").is_symlink():
                    (copy / "train").rmdir()
                    os.symlink(outside, copy / "train")
                advance(amount)

            stage.advance = swapping
            return stage

    with pytest.raises(ConflictError, match="in the way"):
        package.download(copy, progress=Swapping())
    assert content(outside) == {"keep": (b"mine", False)}


class _Ending(ProgressMeter):
    """Asks for the end after some bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def check_done(self) -> None:
        if sum(state.done for state in self.states()) > self._most:
            self.cancel()

    is_shown = False

    def stage(self, name: str, /, **more: object) -> object:
        stage = super().stage(name, **more)
        advance = stage.advance

        def ending(amount: int = 1, /) -> None:
            advance(amount)
            self.check_done()

        stage.advance = ending
        return stage


def test_a_download_that_is_cancelled_shows_only_whole_files_and_goes_on(
    source: Path, world: Path, package: penstock.Package
) -> None:
    with pytest.raises(CancelledError):
        package.download("copy", progress=_Ending(3 * MIB))
    whole = content(source)
    assert {key: whole[key] for key in content(world / "copy") if not key.startswith(".penstock")} == {
        key: value for key, value in content(world / "copy").items() if not key.startswith(".penstock")
    }
    left = [path for path in (world / "copy").iterdir() if path.name.startswith(".penstock")]
    assert len(left) == 1  # of the large file there is a part
    penstock.clear_cache()
    report = package.download("copy")
    assert report.bytes_fetched < sum(map(len, FILES.values())) - MIB
    assert content(world / "copy") == whole


_KILLED = """
import os, sys, penstock
from penstock.progress import ProgressMeter
class Killing(ProgressMeter):
    done = 0
    is_shown = False

    def stage(self, name, /, **more):
        stage = super().stage(name, **more)
        advance = stage.advance
        def killing(amount=1, /):
            advance(amount)
            Killing.done += amount
            if Killing.done > int(sys.argv[1]):
                os.kill(os.getpid(), 9)
        stage.advance = killing
        return stage
penstock.Package("demo/copies").download("copy", progress=Killing())
"""


@pytest.mark.parametrize("after", [0, 100_000, 5 * MIB])
def test_a_download_that_is_killed_shows_only_whole_files_and_is_gone_on_with(
    source: Path, world: Path, package: penstock.Package, after: int
) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(after)], check=False)
    assert killed.returncode == -signal.SIGKILL
    whole = content(source)
    seen = {key: value for key, value in content(world / "copy").items() if not key.startswith(".penstock")}
    assert seen == {key: whole[key] for key in seen}
    assert not [each for each in package.verify_directory("copy").differences if each.state != "missing"]
    package.download("copy")
    assert content(world / "copy") == whole


def test_two_downloads_into_one_directory_do_not_harm_each_other(
    source: Path, world: Path, package: penstock.Package
) -> None:
    program = "import penstock; penstock.Package('demo/copies').download('copy')"
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [each.wait() for each in running] == [0, 0]
    assert content(world / "copy") == content(source)


def test_a_damaged_file_stops_no_other(source: Path, world: Path, package: penstock.Package) -> None:
    place = package["train/050.bin"].physical_keys[0]
    path = Path(place.uri.removeprefix("file://"))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place.offset + 5)
        file.write(b"\0\0\0\0")
    with pytest.raises(IntegrityError, match=r"a file of demo/copies could not be downloaded.*train/050\.bin"):
        package.download("copy")
    whole = content(source)
    del whole["train/050.bin"]
    assert content(world / "copy") == whole


def test_what_the_store_refuses_stops_nothing_else_and_is_asked_for_once(
    source: Path, world: Path, package: penstock.Package
) -> None:
    for place in package["large.bin"].physical_keys:
        path = Path(place.uri.removeprefix("file://"))
        if path.exists() and not path.is_symlink():
            path.unlink()
            os.symlink("/etc/hostname", path)  # of a link a local store gives nothing out
    with pytest.raises(AccessError, match=r"a file of demo/copies could not be downloaded.*large\.bin"):
        package.download("copy")
    whole = content(source)
    del whole["large.bin"]
    assert content(world / "copy") == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_and_one_that_may_not_be_written_are_said(
    source: Path, package: penstock.Package, small_disk: Path
) -> None:
    with pytest.raises(AccessError, match=r"No space left on device.*Make room"):
        package.download(small_disk)
    whole = content(source)
    seen = {key: value for key, value in content(small_disk).items() if not key.startswith(".penstock")}
    assert seen == {key: whole[key] for key in seen}
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    package.download(small_disk)
    assert content(small_disk) == whole
    (small_disk / "labels.csv").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(AccessError, match=r"Read-only file system.*Mount it writable"):
        package.download(small_disk)
    assert [each.path for each in package.verify_directory(small_disk).differences] == ["labels.csv"]


def test_nothing_is_removed_of_what_is_mounted_in_a_directory(
    copy: Path, package: penstock.Package, small_disk: Path
) -> None:
    write(small_disk, {"precious": b"mine"})
    (copy / "extra/mounted").mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(small_disk), str(copy / "extra/mounted")], check=True)
    try:
        with pytest.raises(ConflictError, match="another file system is mounted there"):
            package.sync(copy, delete=True)
    finally:
        subprocess.run(["umount", str(copy / "extra/mounted")], check=True)
    assert (small_disk / "precious").read_bytes() == b"mine"


def test_a_home_is_not_cleared_and_places_that_are_none_are_named(
    world: Path, package: penstock.Package, isolated_home: Path
) -> None:
    for place in (isolated_home, "/", "~"):
        with pytest.raises(UsageError, match="is not cleared"):
            package.sync(os.path.expanduser(place), delete=True)
    write(world, {"file": b""})
    with pytest.raises(UsageError, match="is not a directory"):
        package.download("file")
    with pytest.raises(NotFoundError, match="no directory 'nowhere'"):
        package.verify_directory("nowhere")
    with pytest.raises(NotFoundError, match="no directory 'nowhere'"):
        package.sync("nowhere", dry_run=True)
    with pytest.raises(UsageError, match="0 jobs"):
        package.download("copy", jobs=0)


def test_a_difference_is_a_mapping_with_the_hash_of_the_directory(copy: Path, package: penstock.Package) -> None:
    same = package.diff(copy)
    assert not same
    assert same == {"added": [], "modified": [], "deleted": [], "hash": package.top_hash}
    write(copy, {"labels.csv": b"dog", "more/new": b"", "empty": b"moved"})
    (copy / "train/001.bin").rename(copy / "moved.bin")
    (copy / "large.bin").unlink()
    with package.diff(copy) as found:
        assert found
        assert set(found["added"]) == {"more", "more/new", "moved.bin"}
        assert found["modified"] == ["empty", "labels.csv"]
        assert set(found["deleted"]) == {"large.bin", "train/001.bin"}
        assert found["hash"] == penstock.hash_directory(copy).top_hash
        assert dict(found).keys() == {"added", "modified", "deleted", "hash"}
    assert repr(found).startswith("{'added': [")


def test_progress_counts_every_byte_once(package: penstock.Package, copy: Path) -> None:
    for setup in (lambda: shutil.rmtree(copy), lambda: (copy / "large.bin").unlink(), lambda: None):
        setup()
        meter = ProgressMeter()
        package.download(copy, progress=meter)
        (state,) = meter.states()
        assert state.done == state.total == sum(map(len, FILES.values()))
