"""State files, processes, and what goes over the wire between a mount and its daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from penstock.error_form import to_form
from penstock.errors import AccessError, AmbiguousError, NotFoundError
from penstock.mountpoint.daemon.supervisor_link import Failed, Link, Mounted, Moved, Serving, Start
from penstock.mountpoint.daemon_messages import MountFailed, MountReady, MountRequest, decode_answer
from penstock.mountpoint.known_mounts import list_mounts
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_records import MountRecord, Registration, live_records, log_path, sweep
from penstock.mountpoint.processes import boot_id, end, start_time, wait_for_end
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import Trust
from penstock.wire import NoMessageError, decode_message, encode_message


def record() -> MountRecord:
    started = start_time(os.getpid())
    assert started is not None
    return MountRecord(
        os.getpid(),
        started,
        "/mnt/\udcff",
        (0, 99),
        "demo/x",
        "file:///b",
        "x",
        "ab",
        None,
        "2026-01-01",
        "/log",
        boot=boot_id(),
    )


def state_files(home: Path) -> list[str]:
    return sorted(os.listdir(home / "state" / "penstock" / "mounts"))


def test_a_record_comes_back_as_it_was_and_goes(isolated_home: Path) -> None:
    mine = record()
    registered = Registration(mine)
    assert live_records() == [mine]
    (name,) = state_files(isolated_home)
    facts = (isolated_home / "state" / "penstock" / "mounts" / name).stat()
    assert facts.st_mode & 0o777 == 0o600
    registered.update(msgspec.structs.replace(mine, restarts=1))
    assert live_records() == [msgspec.structs.replace(mine, restarts=1)]
    registered.end()
    registered.end()
    assert live_records() == []
    assert state_files(isolated_home) == []


def test_records_of_the_dead_are_ignored_and_swept(isolated_home: Path) -> None:
    mine = record()
    registered = [
        Registration(mine),
        Registration(msgspec.structs.replace(mine, pid=os.getppid(), started=1)),
    ]  # the id came again
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    registered += [
        Registration(msgspec.structs.replace(mine, pid=process.pid)),
        Registration(msgspec.structs.replace(mine, started=5, boot="before")),
    ]
    for each in registered[1:]:
        each.let_go()
    (isolated_home / "state" / "penstock" / "mounts" / "5.json").write_text("not json")
    assert live_records() == [mine]
    assert len(state_files(isolated_home)) == 5
    sweep()
    assert state_files(isolated_home) == [f"{mine.pid}-{mine.started}.json"]


def test_a_record_that_a_daemon_out_of_sight_holds_stays(isolated_home: Path) -> None:
    elsewhere = msgspec.structs.replace(record(), started=1, boot="of another machine")
    registered = Registration(elsewhere)
    assert live_records() == []
    sweep()
    assert len(state_files(isolated_home)) == 1
    registered.let_go()
    sweep()
    assert state_files(isolated_home) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_directory_that_others_may_write_is_refused(isolated_home: Path, mode: int) -> None:
    directory = isolated_home / "state" / "penstock" / "mounts"
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(AccessError, match="XDG_STATE_HOME"):
        Registration(record())
    assert isinstance(list_mounts(), list)  # which has to work all the same


def test_a_link_in_place_of_the_directory_is_refused(isolated_home: Path, tmp_path: Path) -> None:
    (isolated_home / "state" / "penstock").mkdir(parents=True)
    (isolated_home / "state" / "penstock" / "mounts").symlink_to(tmp_path)
    with pytest.raises(AccessError, match="not safe"):
        Registration(record())


def test_processes_end_and_are_known_to_have() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = start_time(process.pid)
    assert started is not None
    assert not wait_for_end(process.pid, started, 0.01)
    assert wait_for_end(process.pid, started + 1, 0.01)  # another one
    assert end(process.pid, started, 10)
    assert start_time(process.pid) is None  # a zombie is as good as gone
    process.communicate()
    assert wait_for_end(process.pid, started, 0.01)


def test_a_process_that_does_not_listen_is_killed() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    started = start_time(process.pid)
    assert started is not None
    assert end(process.pid, started, 0.2)
    process.communicate()
    assert process.returncode == -9


def test_requests_cross_the_wire() -> None:
    remotes = {"demo": Remote(name="demo", url="s3://b/p", profile="x", deadline=2.5)}
    settings = Settings(Path("/c/\udcff.toml"), Path("/cache"), 123, remotes, Trust(("/data",), None))
    request = MountRequest("demo/ü", "/mnt/\udcff", settings, MountOptions(uid=7, allow_other=True), "/log")
    assert decode_message(encode_message(request), MountRequest) == request


def test_answers_cross_the_wire() -> None:
    assert decode_answer(encode_message(MountReady(record()))) == record()


def test_failures_cross_the_wire() -> None:
    error = AmbiguousError("which", candidates=["a", "b"], why="two")
    with pytest.raises(AmbiguousError) as told:
        decode_answer(encode_message(MountFailed(to_form(error))))
    assert vars(told.value) == vars(error)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"ready"}', b'{"type":"later"}', b'{"type":"failed","error":3}'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(NoMessageError):
        decode_answer(body)


def test_a_supervisor_and_its_serving_process_understand_each_other() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = MountRequest("demo/x", "/mnt/\udcff", Settings(Path("/c"), Path("/d"), 1), MountOptions(), None)
    here, there = Link(ours), Link(theirs)
    messages = [
        Start(request, 20, 7),
        Start(request, 20, 7, b"\0\xff greeting", b"pin\xff", record(), "damaged"),
        Mounted((0, 41), b"\xff\0", b"pin"),
        Serving(record()),
        Serving(None),
        Moved("demo/x:main/\udcff", "ab", None),
        Failed(to_form(NotFoundError("no \udcff"))),
    ]
    for message in messages:
        here.send(message)
        assert there.receive() == (message, None)
    here.close()
    assert there.receive() is None
    there.close()


def test_logs_have_readable_names() -> None:
    assert os.path.basename(log_path("/mnt/my data")) == "mnt-my data.log"
    assert len(os.path.basename(log_path("/" + "x" * 250 + "/y"))) < 160
    assert os.path.isdir(os.path.dirname(log_path("/")))
