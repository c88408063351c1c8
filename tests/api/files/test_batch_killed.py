"""A program that is killed in the middle of a batch: what it leaves, and what the next run does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from views import rowfunctions

from penstock.api.files.work_directory import SharedDirectory, WorkDirectory, remove_tree

TESTS = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


def wait_until(what: str, happened: object) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.02)


def program(here: Path, into: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(here.parent / "temporary")}
    return subprocess.Popen(
        [sys.executable, "-m", "views.rowfunctions", into, str(here / "log"), "5"], env=environment, cwd=here
    )


@pytest.fixture
def place(here: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "s3":
        request.getfixturevalue("aws_environment")
        yield f"s3://{request.getfixturevalue('bucket')}/out"
    else:
        yield request.param


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("./out", signal.SIGTERM),
        ("demo/made", signal.SIGKILL),
        pytest.param("s3", signal.SIGKILL, marks=pytest.mark.s3),
    ],
    indirect=["place"],
)
def test_only_what_was_not_finished_runs_again(
    place: str, number: signal.Signals, here: Path, no_leftovers: Path
) -> None:
    log, hang = here / "log", here / "log.hang"
    hang.touch()
    os.chmod(no_leftovers, 0o1777)
    with program(here, place) as running:
        wait_until("the third row", lambda: log.exists() and len(log.read_text().splitlines()) == 3)
        if place == "./out":
            wait_until("two rows", lambda: len(list(here.glob("out/.penstock-files/*/done-*"))) == 2)
        running.send_signal(number)
        assert running.wait(PATIENCE) == -number
    wait_until("nothing to be left", lambda: not list(no_leftovers.glob("penstock-files-*")))
    assert os.stat(no_leftovers).st_mode & 0o7777 == 0o1777, "a folder that is not ours was changed"
    hang.unlink()
    for _ in range(2):
        assert rowfunctions.run(place, str(log), 5)
    ran = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert ran[:3] == [0, 1, 2]
    if place == "./out":
        assert ran[3:] == [2, 3, 4]
    else:  # of a dataset nothing was published yet; to a bucket the second row may have been on its way
        assert ran[-3:] == [2, 3, 4]
        assert len(ran) <= 8


def test_a_directory_for_a_while_is_its_owners_and_goes_with_all_in_it(no_leftovers: Path) -> None:
    outside = no_leftovers.parent / "outside"
    outside.mkdir()
    (outside / "file").touch()
    with WorkDirectory() as work:
        base = Path(work.path)
        assert os.stat(base).st_mode & 0o777 == os.stat(base.parent).st_mode & 0o777 == 0o700
        (base / "link").symlink_to(outside)
        (base / "a").mkdir()
        (base / "a" / "b").touch()
        os.chmod(base / "a", 0)
        child = os.fork()
        if child == 0:
            work.close()  # not its own: nothing happens
            os._exit(0)
        os.waitpid(child, 0)
        assert base.exists()
    assert list(no_leftovers.iterdir()) == []
    assert (outside / "file").exists()
    remove_tree(str(base))


def test_a_directory_for_many_short_uses_goes_when_nobody_uses_it_any_more(no_leftovers: Path) -> None:
    shared = SharedDirectory()
    with shared.use() as one, shared.use() as other:
        assert Path(one).parent == Path(other).parent
        Path(one, "a").touch()
    assert not Path(one).exists()
    wait_until("nothing to be left", lambda: not list(no_leftovers.iterdir()))
    with shared.use() as fourth:
        assert Path(fourth).is_dir()
    wait_until("nothing to be left", lambda: not list(no_leftovers.iterdir()))
