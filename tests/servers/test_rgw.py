"""The gateway keeps the promises that the store leans on, and leaves nothing behind."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from servers.sigv4 import sign

pytestmark = pytest.mark.s3

BODY = bytes(range(256)) * 400


@pytest.fixture
def stored(gateway, bucket):
    path = f"/{bucket}/object"
    assert gateway.request("PUT", path, BODY).status == 200
    return path


class TestGateway:
    def test_create_if_absent_lets_exactly_one_writer_win(self, gateway, bucket):
        path = f"/{bucket}/refs/1"
        start = threading.Barrier(8)
        answers = {}

        def write(number):
            start.wait()
            answers[number] = gateway.request("PUT", path, b"%d" % number, headers={"If-None-Match": "*"})

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        winners = [number for number, answer in answers.items() if answer.status == 200]
        assert len(winners) == 1
        assert {answer.status for answer in answers.values()} <= {200, 409, 412}
        assert gateway.request("GET", path).body == b"%d" % winners[0]

    def test_ranges(self, gateway, stored):
        part = gateway.request("GET", stored, headers={"Range": "bytes=10-19"})
        assert (part.status, part.body) == (206, BODY[10:20])
        assert gateway.request("GET", stored, headers={"Range": "bytes=900000-900001"}).status == 416

    def test_the_other_user_and_nobody_are_refused(self, gateway, stored):
        signed = sign(
            "GET",
            gateway.endpoint + stored,
            b"",
            access_key=gateway.other_access_key,
            secret_key=gateway.other_secret_key,
        )
        for headers in (signed, {}):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
            connection.request("GET", stored, headers=headers)
            response = connection.getresponse()
            assert response.status == 403
            assert b"AccessDenied" in response.read()
            connection.close()

    def test_a_wrong_secret_is_told_apart(self, gateway, stored, monkeypatch):
        monkeypatch.setattr(gateway, "secret_key", "wrong")
        answer = gateway.request("GET", stored)
        assert answer.status == 403
        assert b"SignatureDoesNotMatch" in answer.body

    def test_nothing_is_left_when_its_owner_is_killed(self):
        program = (
            "import os, signal\n"
            "from servers.rgw import RadosGateway\n"
            "gateway = RadosGateway()\n"
            "print(*gateway.pids().values(), gateway._tether.folder, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        here = Path(__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, timeout=60)
        *pids, folder = done.stdout.split()
        assert len(pids) == 3, done.stderr
        deadline = time.monotonic() + 20
        while any(is_running(pid) for pid in pids) or Path(folder).exists():
            assert time.monotonic() < deadline, "servers outlived their owner"
            time.sleep(0.02)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
