"""A mount that tells how it is doing, and goes on whatever its clients do."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers.faultproxy import FaultProxy
from servers.faults import Stall
from views.bucket import LocalBucket, push
from views.living import kill, state_files, until, worker

from penstock.api.mounts.metrics import mount_metrics
from penstock.errors import NotFoundError, PenstockError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import (
    PROTOCOL,
    AccessLogAnswer,
    AccessLogRequest,
    Question,
    StatusRequest,
)
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.machine_checks import check_mounts
from penstock.mountpoint.mount_records import live_records
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.processes import start_time
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.wire import encode_message

from .conftest import BIG

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def socket_of(info: MountInfo) -> str:
    (record,) = [record for record in live_records() if record.pid == info.pid]
    assert record.control is not None
    return record.control


def speak(path: str, body: bytes) -> dict[str, Any]:
    """Send bytes to a control socket, and no more; return the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    found: dict[str, Any] = json.loads(answer)
    return found


def question(request: str) -> bytes:
    return f'{{"protocol": {PROTOCOL}, "version": "0", "request": {request}}}\n'.encode()


def test_what_it_tells(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    before = ask(info.mountpoint, StatusRequest(), MountStatus)
    assert (before.handle, before.top_hash, before.commit) == ("demo/data", info.top_hash, info.commit)
    assert before.worker_pid == worker(info)
    assert before.hit_rate is None or before.hits
    assert (before.bytes_read, before.open_files, before.restarts) == (0, 0, 0)
    with open(Path(info.mountpoint, "big.bin"), "rb") as big:
        assert big.read() == BIG
        during = ask(info.mountpoint, StatusRequest(), MountStatus)
        assert during.open_files == 1
    assert during.bytes_read >= len(BIG)
    assert during.misses >= 1
    assert during.gets > before.gets
    assert during.bytes_fetched >= before.bytes_fetched + len(BIG)
    assert during.uptime > before.uptime
    assert 0 <= during.in_flight <= during.budget
    for pid in during.fetcher_pids:
        assert Path(f"/proc/{pid}").exists()
    assert during.memory.worker > 10 << 20
    assert during.memory.fetchers > 10 << 20
    assert during.cache.mode == "ok"
    assert len(BIG) <= during.cache.bytes <= during.cache.max_bytes == pushed.settings.cache_size
    assert during.offline is False
    assert during.access_log is None
    until(lambda: ask(info.mountpoint, StatusRequest(), MountStatus).open_files == 0, "the file is closed")


def test_a_fetch_process_that_was_killed_is_counted(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    (pid,) = ask(info.mountpoint, StatusRequest(), MountStatus).fetcher_pids
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in ask(info.mountpoint, StatusRequest(), MountStatus).fetcher_pids, "its end is seen")
    assert Path(info.mountpoint, "big.bin").read_bytes() == BIG
    assert ask(info.mountpoint, StatusRequest(), MountStatus).restarts == 1


def test_two_mounts_are_told_apart(pushed: LocalBucket, mounts: Mount) -> None:
    first, second = mounts(), mounts(at="two")
    assert Path(first.mountpoint, "small.txt").read_bytes() == b"hello world\n"
    assert ask(first.mountpoint, StatusRequest(), MountStatus).bytes_read == 12
    assert ask(second.mountpoint, StatusRequest(), MountStatus).bytes_read == 0


def test_metrics_are_what_prometheus_reads(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    assert Path(info.mountpoint, "small.txt").read_bytes()
    values = {}
    for family in text_string_to_metric_families(mount_metrics(info.mountpoint)):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        (sample,) = family.samples
        assert sample.labels["mountpoint"] == info.mountpoint
        if sample.name != "penstock_up":
            assert sample.labels == {"dataset": "data", "top_hash": info.top_hash, "mountpoint": info.mountpoint}
        values[sample.name] = sample.value
    assert values["penstock_up"] == 1
    assert values["penstock_read_bytes_total"] == 12
    assert values["penstock_block_misses_total"] >= 1
    assert values["penstock_fetched_bytes_total"] > 12


def test_files_that_were_waited_for_are_named(
    behind_proxy: Callable[[float], Settings], mounts: Mount, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=behind_proxy(60.0))
    fault_proxy.fail(fault=Stall(0.5), match=lambda method, path: method == "GET" and "/data/" in path, times=1)
    assert Path(info.mountpoint, "big.bin").read_bytes() == BIG
    slowest = ask(info.mountpoint, StatusRequest(), MountStatus).slowest
    assert [slow.path for slow in slowest] == ["big.bin"]
    assert slowest[0].waited > 0.2


def test_the_access_log_can_be_turned_on_and_off(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    there = Path(info.mountpoint)
    assert (there / "old").read_bytes() == b"old"  # not written down
    path = ask(info.mountpoint, AccessLogRequest(True), AccessLogAnswer).access_log
    assert Path(path).parent == Path(info.log or "").parent
    assert ask(info.mountpoint, StatusRequest(), MountStatus).access_log == path
    assert (there / "small.txt").read_bytes() == b"hello world\n"
    assert (there / "names" / os.fsdecode(b"not-utf8-\xff\xfe")).read_bytes() == b"bytes"
    with open(there / "big.bin", "rb") as big:
        assert os.pread(big.fileno(), 10, 2 << 20) == BIG[2 << 20 : (2 << 20) + 10]
    assert ask(info.mountpoint, AccessLogRequest(False), AccessLogAnswer).access_log is None
    assert (there / "bin" / "hello").read_bytes()  # not written down any more
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    opened = [line["path"] for line in lines if line["op"] == "open"]
    assert opened == ["small.txt", os.fsdecode(b"names/not-utf8-\xff\xfe"), "big.bin"]
    small = next(line for line in lines if line["op"] == "read" and line["path"] == "small.txt")
    assert (small["offset"], small["size"]) == (0, 12)
    assert isinstance(small["hit"], bool)
    assert small["ms"] >= 0
    big_reads = [line for line in lines if line["op"] == "read" and line["path"] == "big.bin"]
    assert big_reads[0]["hit"] is False
    assert any(line["offset"] <= 2 << 20 < line["offset"] + line["size"] for line in big_reads)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_read_that_fails_is_written_down(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    path = ask(info.mountpoint, AccessLogRequest(True), AccessLogAnswer).access_log
    for data in pushed.data_objects():
        data.unlink()
    with pytest.raises(OSError, match="Input/output"):
        Path(info.mountpoint, "big.bin").read_bytes()
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert "cannot be read" in lines[-1]["error"]
    assert lines[-1]["hit"] is False


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\n", "no question"),
        (b"[1]\n", "no question"),
        (b"\xff\xfe\n", "no question"),
        (b"[" * 100_000 + b"\n", "no question"),
        (b"{}\n", "another version"),
        (b'{"command": "status"}\n', "another version"),  # as it was asked before questions had a protocol
        (b'{"protocol": 9, "version": "9.9", "request": {"type": "status"}}\n', "another version"),
        (b'{"protocol": "2", "request": {"type": "status"}}\n', "no question"),
        (question('{"type": "explode"}'), "no question"),
        (question('{"type": "access-log", "on": "maybe"}'), "no question"),
        (question('{"type": "access-log", "on": true, "path": "/etc/passwd"}'), "no question"),
        (question('{"type": "job", "job": 12345}'), "knows no job"),
        (question('{"type": "changes", "every": true}'), "cannot do that"),
        (question('{"type": "status"}')[:-3], "no question"),
        (b"x" * (2 << 20), "too long"),
    ],
)
def test_what_is_no_request_is_refused(pushed: LocalBucket, mounts: Mount, body: bytes, what: str) -> None:
    info = mounts()
    try:
        found = speak(socket_of(info), body)
    except (BrokenPipeError, ConnectionResetError):
        assert len(body) > 1 << 20  # it had heard enough
    else:
        assert what in found["error"]["what"]
    assert Path(info.mountpoint, "small.txt").read_bytes() == b"hello world\n"
    assert ask(info.mountpoint, StatusRequest(), MountStatus).open_files in (0, 1)


def test_clients_that_hang_keep_nobody_waiting(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    path = socket_of(info)
    clients = []
    try:
        for _ in range(10):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            clients.append(client)
            client.connect(path)
            client.sendall(b'{"protocol"')
        assert ask(info.mountpoint, StatusRequest(), MountStatus).worker_pid == worker(info)
        assert Path(info.mountpoint, "small.txt").read_bytes() == b"hello world\n"
        # Each is dropped when its time is up.
        clients[0].settimeout(20)
        assert clients[0].recv(1) == b""
    finally:
        for client in clients:
            client.close()
    # One that is gone before its answer is no trouble either.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hasty:
        hasty.connect(path)
        hasty.sendall(encode_message(Question(StatusRequest())))
    assert ask(info.mountpoint, StatusRequest(), MountStatus).worker_pid == worker(info)


def test_the_socket_is_private_and_goes_with_the_mount(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    path = Path(socket_of(info))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    kill(info, signal.SIGTERM)
    assert state_files() == []


def test_what_a_killed_daemon_left_is_told_and_swept(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    kill(info)
    with pytest.raises(PenstockError, match="is dead") as told:
        ask(info.mountpoint, StatusRequest(), MountStatus)
    assert "penstock umount" in told.value.fix
    assert str(info.log) in told.value.fix
    checked = check_mounts()
    assert (checked.state, info.mountpoint in checked.found, info.mountpoint in checked.fix) == ("warning", True, True)
    again = mounts()
    assert again.pid is not None
    stem = f"{again.pid}-{start_time(again.pid)}"
    assert state_files() == [f"{stem}.json", f"{stem}.sock"]


def test_a_daemon_that_does_not_answer(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    os.kill(worker(info), signal.SIGSTOP)
    try:
        with pytest.raises(PenstockError, match="does not answer") as told:
            ask(info.mountpoint, StatusRequest(), MountStatus, timeout=0.3)
        assert "penstock umount --force" in told.value.fix
    finally:
        os.kill(worker(info), signal.SIGCONT)
    assert ask(info.mountpoint, StatusRequest(), MountStatus).worker_pid == worker(info)


@pytest.mark.s3
def test_it_answers_while_every_reader_waits_for_a_store_that_does_not(
    demo: LocalBucket,
    bucket: str,
    aws_environment: dict[str, str],
    fault_proxy: FaultProxy,
    mounts: Mount,
    tmp_path: Path,
) -> None:
    del aws_environment
    source = tmp_path / "many"
    source.mkdir()
    names = [f"{number:02d}" for number in range(80)]
    for name in names:
        (source / name).write_bytes(os.urandom((1 << 20) + 1))
    plain = replace(demo.settings, remotes={})
    push(source, f"s3://{bucket}/data", plain)
    lab = Remote(
        name="lab", url=f"s3://{bucket}", endpoint_url=fault_proxy.endpoint, addressing_style="path", deadline=8.0
    )
    settings = replace(plain, cache_directory=tmp_path / "cold", remotes={"lab": lab})
    info = mounts("lab/data", settings=settings)
    stalled = fault_proxy.fail(
        fault=Stall(30), match=lambda method, path: method == "GET" and "/data/" in path, times=1000
    )
    readers = [
        subprocess.Popen(["cat", f"{info.mountpoint}/{name}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in names
    ]
    try:
        until(lambda: ask(info.mountpoint, StatusRequest(), MountStatus).open_files == len(names), "all of them read")
        until(lambda: stalled.struck > 20, "many wait for the store")
        begun = time.monotonic()
        status = ask(info.mountpoint, StatusRequest(), MountStatus)
        assert time.monotonic() - begun < 2
        assert status.open_files == len(names)
        assert 0 < status.in_flight <= status.budget
    finally:
        for reader in readers:
            reader.kill()
        for reader in readers:
            reader.wait()


def test_where_nothing_is_mounted(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    info = mounts()
    with pytest.raises(NotFoundError, match="nothing is mounted"):
        ask(str(tmp_path), StatusRequest(), MountStatus)
    with pytest.raises(NotFoundError) as told:
        ask(f"{info.mountpoint}/bin", StatusRequest(), MountStatus)
    assert told.value.fix == f"penstock status {info.mountpoint}"


def test_a_mount_of_another_version_is_named_as_such(pushed: LocalBucket, mounts: Mount) -> None:
    """Whichever of the two is older: what a daemon of protocol 1 answers to us, and what ours answers to a client."""
    info = mounts()
    path = socket_of(info)
    os.unlink(path)
    old = {"kind": "UsageError", "what": "this mount knows no command None", "why": "", "fix": "", "candidates": []}
    new = {"type": "answer", "protocol": PROTOCOL + 1, "version": "9.9", "answer": {"later": 1}}
    for answer, theirs in (({"error": old}, "an older Penstock"), (new, "Penstock 9.9")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, ThreadPoolExecutor(1) as pool:
            listening.bind(path)
            listening.listen()

            def reply(listening: socket.socket = listening, answer: object = answer) -> None:
                client, _ = listening.accept()
                with client:
                    client.makefile("rb").readline()
                    client.sendall(json.dumps(answer).encode() + b"\n")

            replied = pool.submit(reply)
            with pytest.raises(PenstockError, match="made by another version of Penstock") as told:
                ask(info.mountpoint, StatusRequest(), MountStatus)
            replied.result(10)
        os.unlink(path)
        assert theirs in told.value.why
        assert f"penstock restart {info.mountpoint}" in told.value.fix


def test_a_state_file_of_a_later_version_is_read_as_far_as_it_is_known(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    file = Path(socket_of(info)).with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "of_tomorrow": 1}))
    assert ask(info.mountpoint, StatusRequest(), MountStatus).handle == info.handle


def test_damage_in_the_store_shows_until_it_is_repaired(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    bucket = Path(pushed.settings.remotes["demo"].url.removeprefix("file://"))
    data = [path for path in (bucket / ".penstock" / "data").rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in data}
    for path in data:
        path.write_bytes(bytes(len(kept[path])))
    big = Path(info.mountpoint, "big.bin")
    with pytest.raises(OSError, match="Input/output error"):
        big.read_bytes()
    (told,) = ask(info.mountpoint, StatusRequest(), MountStatus).trouble
    assert told.startswith("big.bin cannot be read: ")
    for path, body in kept.items():
        path.write_bytes(body)
    assert big.read_bytes() == BIG
    assert ask(info.mountpoint, StatusRequest(), MountStatus).trouble == []
