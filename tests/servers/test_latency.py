"""The latency proxy: late, paced, transparent, and right in what it counts."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import latency
from servers.latency import LatencyProxy

pytestmark = pytest.mark.s3

BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def stored(gateway, bucket):
    path = f"/{bucket}/object"
    assert gateway.request("PUT", path, BODY).status == 200
    return path


def test_every_answer_is_late_by_the_delay(gateway, stored):
    with LatencyProxy(gateway.endpoint, delay_ms=60, jitter_ms=10) as proxy:
        for _ in range(5):
            began = time.monotonic()
            assert gateway.request("HEAD", stored, endpoint=proxy.endpoint).status == 200
            assert time.monotonic() - began >= 0.050


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_is_paced_both_ways(gateway, stored, method):
    with LatencyProxy(gateway.endpoint, delay_ms=0, jitter_ms=0, megabytes_per_second=4) as proxy:
        began = time.monotonic()
        answer = gateway.request(method, stored, BODY if method == "PUT" else b"", endpoint=proxy.endpoint)
        took = time.monotonic() - began
    assert answer.status == 200
    # 0.26 s at 4 MB/s; a socket's buffers hold some of it at either end, and the first bytes go out unpaced.
    assert 0.1 <= took < 10


def test_bytes_pass_unchanged_and_are_counted(gateway, stored):
    other = stored + "-2"
    with LatencyProxy(gateway.endpoint, delay_ms=1, jitter_ms=0) as proxy:
        assert gateway.request("PUT", other, BODY, endpoint=proxy.endpoint).status == 200
        for _ in range(3):
            assert gateway.request("GET", other, endpoint=proxy.endpoint).body == BODY
        counts = proxy.reset()
        assert (counts.connections, counts.requests(), counts.requests("GET", "PUT")) == (4, 4, 4)
        assert counts.paths == [("PUT", other), *[("GET", other)] * 3]
        assert len(BODY) < counts.methods["PUT"].bytes_to_store < len(BODY) + 2000
        assert 3 * len(BODY) < counts.methods["GET"].bytes_to_client < 3 * len(BODY) + 6000
        assert counts.bytes_to_client > counts.methods["GET"].bytes_to_client
        assert proxy.counts().requests() == 0


def test_a_kept_connection_counts_each_request(gateway, stored):
    with LatencyProxy(gateway.endpoint, delay_ms=1, jitter_ms=0) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, stored)
            assert connection.getresponse().read().startswith(b"" if method == "HEAD" else b"<?xml")
        connection.close()
        counts = proxy.counts()
    assert (counts.connections, counts.requests("GET"), counts.requests("HEAD")) == (1, 2, 1)


def test_the_program_prints_its_port_and_ends_with_its_input(gateway, stored):
    host_port = gateway.endpoint.removeprefix("http://")
    program = subprocess.Popen(
        [sys.executable, str(Path(latency.__file__)), "--upstream", host_port, "--delay-ms", "1", "--end-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    port = int(program.stdout.readline())
    assert gateway.request("GET", stored, endpoint=f"http://127.0.0.1:{port}").body == BODY
    program.communicate(timeout=20)
    assert program.returncode == 0
