"""What operators use: the exporter, top, restart, mount.penstock, service managers, logs that programs read."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from views.bucket import LocalBucket
from views.living import kill, until, worker

from penstock.api.mounts.mounts import restart
from penstock.errors import NotFoundError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.kernel_mounts import top_mount
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_status import MountStatus

from .conftest import BIG

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]
PENSTOCK = (sys.executable, "-P", "-m", "penstock")
HELPER = (sys.executable, "-P", "-c", "from penstock.cli.operation.mount_helper import main; main()")


@pytest.fixture
def named(pushed: LocalBucket) -> None:
    """Have the command line know the bucket as well."""
    subprocess.run([*PENSTOCK, "remote", "add", "demo", pushed.settings.remotes["demo"].url], check=True)


def is_mounted(place: Path) -> bool:
    found = top_mount(str(place))
    return found is not None and found.is_ours


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        body: bytes = answer.read()
    return body.decode()


def test_an_exporter_tells_of_all_mounts_with_one_help_a_name(pushed: LocalBucket, mounts: Mount) -> None:
    first, second, dead = mounts(), mounts(at="two"), mounts(at="dead")
    kill(dead)
    command = [*PENSTOCK, "exporter", "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exporter:
        try:
            assert exporter.stdout is not None
            text = scraped(json.loads(exporter.stdout.readline())["url"])
        finally:
            exporter.terminate()
            assert exporter.wait(60) == 0
    helps = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# HELP"))
    assert set(helps.values()) == {1}
    up = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "penstock_up":
                up[sample.labels["mountpoint"]] = sample.value
    assert (up[first.mountpoint], up[second.mountpoint], up[dead.mountpoint]) == (1, 1, 0)


def test_an_address_that_is_taken_is_an_error_that_names_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [*PENSTOCK, "exporter", "--listen", address], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 6
    assert "cannot listen" in ended.stderr
    assert "--listen" in ended.stderr


def test_top_tells_what_mounts_do(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    assert Path(info.mountpoint, "big.bin").read_bytes() == BIG
    table = subprocess.run([*PENSTOCK, "top", "--once", "-d", "0.2"], capture_output=True, text=True, check=True).stdout
    assert info.mountpoint in table
    answered = subprocess.run([*PENSTOCK, "top", "--json", "-d", "0.2"], capture_output=True, check=True).stdout
    (found,) = [each for each in map(json.loads, answered.splitlines()) if each["mountpoint"] == info.mountpoint]
    assert found["alive"]
    assert found["handle"] == "demo/data"


def test_a_restart_keeps_open_files_open(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    before = worker(info)
    with open(Path(info.mountpoint, "big.bin"), "rb") as reading:
        begin = reading.read(1000)
        status = restart(info.mountpoint)
        assert status.worker_pid not in (before, os.getpid())
        assert begin + reading.read() == BIG
    assert ask(info.mountpoint, StatusRequest(), MountStatus).worker_pid == status.worker_pid
    told = subprocess.run([*PENSTOCK, "restart", info.mountpoint], capture_output=True, text=True, check=True).stdout
    assert f"{info.mountpoint} is served by Penstock" in told
    with pytest.raises(NotFoundError):
        restart(Path(info.mountpoint).parent)


def test_a_log_can_be_lines_of_json(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts(options=MountOptions(log_format="json"))
    os.kill(worker(info), signal.SIGKILL)
    assert info.log is not None
    log = Path(info.log)
    until(lambda: "starting another" in log.read_text(), "its death is written down")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"time", "pid", "level", "logger", "message"} <= lines[0].keys()
    assert any(line["level"] == "WARNING" for line in lines)


def test_a_service_manager_is_told_when_files_can_be_read_and_when_it_ends(named: None, tmp_path: Path) -> None:
    there = tmp_path / "served"
    there.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        served = subprocess.Popen([*PENSTOCK, "mount", "-f", "demo/data", str(there)], env=environment)
        try:
            assert b"READY=1\n" in manager.recv(4096)
            assert (there / "small.txt").read_bytes() == b"hello world\n"
            served.send_signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1\n"
            assert served.wait(60) == 0
        finally:
            served.kill()
            served.wait()
    assert not is_mounted(there)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root tells the kernel of noexec")
def test_mount_penstock_mounts_as_fstab_says(named: None, tmp_path: Path) -> None:
    there = tmp_path / "from-fstab"
    there.mkdir()

    def helper(*words: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*HELPER, *map(str, words)], capture_output=True, text=True, check=False)

    wrong = helper("demo/data", there, "-o", "rw,cache_sise=1GB")
    assert wrong.returncode == 1
    assert "cache_sise" in wrong.stderr
    assert "cache_size=" in wrong.stderr
    assert helper("demo/nothing", there, "-o", "ro").returncode == 32
    assert helper("demo/data", there, "-f").returncode == 0
    assert not is_mounted(there)
    made = helper("demo/data", there, "-o", "rw,_netdev,noexec,umask=077,x-systemd.automount")
    assert made.returncode == 0, made.stderr
    try:
        assert (there / "small.txt").stat().st_mode & 0o777 == 0o600
        with pytest.raises(PermissionError):
            subprocess.run([there / "bin" / "hello"], check=False)
    finally:
        subprocess.run([*PENSTOCK, "umount", there], check=True)
