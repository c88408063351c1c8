"""A real S3 server for the tests: Ceph's RADOS Gateway with one monitor and one OSD in memory, on loopback.

Signatures, policies, versioning, ranges and atomic create-if-absent are the real thing. Ready in a second or two; all
of it lives in one temporary folder and ends with the process that started it (see `tether`). What it does not do as
S3 does: a quoted If-Match fails, x-amz-checksum-* is ignored, trailer checksums are stored as data.

    with RadosGateway() as gateway:
        gateway.make_bucket("photos")
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .ports import LOOPBACK, reserve_port
from .sigv4 import sign
from .tether import Tether

__all__ = ["Answer", "GatewayError", "RadosGateway"]

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
_FSID = "5b7f2f0c-6d1e-4a55-9a0b-2f5d5c3e8a10"
_OSD = "8d0e6c52-0c2b-4c8a-8f60-3f2a4e1b7c9d"
_PATIENCE = 60.0  # seconds for each step; all of them together take one or two on an idle machine

# No authentication inside the cluster, everything in one placement group, and short waits: a cluster of one has
# nobody to wait for. Without tcp_nodelay a small GET takes 44 ms, the delayed-ack timer of the other side.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_client_mode = crc
ms_initial_backoff = 0.05
objecter_tick_interval = 0.2
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
run_dir = {folder}
admin_socket =
keyring = {folder}/keyring
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
[mon]
mon_data = {folder}/mon
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 8589934592
osd_class_load_list = *
osd_class_default_list = *
[client.rgw.a]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_crypt_require_ssl = false
rgw_rados_pool_pg_num_min = 1
rgw_override_bucket_index_max_shards = 1
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
"""
_ROLES = "rgw_s3_auth_use_sts = true\nrgw_sts_key = of-the-test-only\n"
"""With this a wrong key or secret is answered as any other refusal."""
_STARTS = 3
"""Times that it is started from anew: on a busy machine Ceph's own programs sometimes crash while they begin."""


def _policy(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


class GatewayError(Exception):
    """The gateway cannot be started, or answered a request of ours with an error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RadosGateway:
    """A gateway that runs from construction to `close`.

    `endpoint` is ``http://127.0.0.1:PORT``. The user of `access_key` and `secret_key` owns every bucket that
    `make_bucket` makes; the user of `other_access_key` and `other_secret_key` may do nothing with them, nor make
    buckets of its own.
    """

    region = "us-east-1"
    access_key = "AKOWNEROWNEROWNER000"
    secret_key = "owner-secret-owner-secret-owner-secret00"
    other_access_key = "AKOTHEROTHEROTHER000"
    other_secret_key = "other-secret-other-secret-other-secret00"
    _ADMIN = ("radosgw-admin", "-n", "client.rgw.a")

    def __init__(self, *, gives_roles: bool = False) -> None:
        """Start it. `gives_roles`: who may take a role gets its credentials (STS)."""
        self._more = _ROLES if gives_roles else ""
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing:
            raise GatewayError(
                f"the S3 server of the tests cannot start: {', '.join(missing)} not found. "
                f"Run scripts/install --test, or: apt-get install {_PACKAGES}"
            )
        for left in reversed(range(_STARTS)):
            self._tether = Tether("rgw-")
            self._ports: list[socket.socket] = []
            try:
                self._start()
            except BaseException as error:
                self.close()
                if not left or not isinstance(error, GatewayError):
                    raise
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the three servers and remove their data. Calling it again does nothing."""
        self._tether.end()
        for held in self._ports:
            held.close()

    def pids(self) -> dict[str, int]:
        """Return the pids of ``mon``, ``osd`` and ``rgw``."""
        return self._tether.pids()

    def make_bucket(self, name: str) -> None:
        """Create a bucket of the owner's."""
        answer = self.request("PUT", f"/{name}")
        if answer.status != 200:
            raise GatewayError(f"bucket {name} was not made: {answer.status} {answer.body!r}")

    def add_key(self, access_key: str, secret_key: str) -> None:
        """Give the owner another key, which is good until `remove_key`."""
        self._run(*self._ADMIN, "key", "create", "--uid=owner", f"--access-key={access_key}", f"--secret={secret_key}")

    def make_role(self, name: str) -> str:
        """Make a role that the owner may take, which may do all, and return what it is called."""
        trust = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/owner"]}, "Action": ["sts:AssumeRole"]}
        every = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
        for command in (
            ("role", "create", f"--role-name={name}", "--path=/", f"--assume-role-policy-doc={_policy(trust)}"),
            ("role-policy", "put", f"--role-name={name}", "--policy-name=all", f"--policy-doc={_policy(every)}"),
        ):
            self._run(*self._ADMIN, *command)
        return f"arn:aws:iam:::role/{name}"

    def remove_key(self, access_key: str) -> None:
        """Let a key of the owner's be refused from now on."""
        self._run(*self._ADMIN, "key", "rm", "--uid=owner", f"--access-key={access_key}")

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        endpoint: str | None = None,
    ) -> Answer:
        """Send one request signed by the owner; `path` is percent-encoded and may carry a query.

        With `endpoint` (``http://host:port``) by way of a proxy.
        """
        base = endpoint or self.endpoint
        signed = sign(
            method,
            base + path,
            body,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            headers=headers,
        )
        connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=_PATIENCE)
        try:
            connection.request(method, path, body=body, headers=signed)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def _start(self) -> None:
        self._ports = [reserve_port(), reserve_port()]
        mon_port, self.port = (held.getsockname()[1] for held in self._ports)
        self.endpoint = f"http://{LOOPBACK}:{self.port}"
        folder = self._tether.folder
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()
        (folder / "keyring").touch()
        configuration = folder / "ceph.conf"
        told = _CONFIGURATION.format(fsid=_FSID, mon_port=mon_port, port=self.port, folder=folder)
        configuration.write_text(told + self._more)
        # `ceph` is a Python program of the system's: our PYTHONWARNINGS or PYTHONPATH would be its end.
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._env |= {"CEPH_CONF": str(configuration), "PYTHONDONTWRITEBYTECODE": "1"}

        map_file = str(folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", _FSID, "--addv", "a", f"[v2:{LOOPBACK}:{mon_port}]", map_file)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file)
        self._tether.start("mon", ["ceph-mon", "-f", "-i", "a"], self._env)
        self._run("ceph", "osd", "new", _OSD, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", _OSD)
        self._tether.start("osd", ["ceph-osd", "-f", "-i", "0"], self._env)
        # The first of these waits by itself until the OSD is up, and makes the pools.
        self._make_user("owner", self.access_key, self.secret_key)
        self._make_user("other", self.other_access_key, self.other_secret_key, "--max-buckets=-1")
        self._tether.start("rgw", ["radosgw", "-f", "-n", "client.rgw.a"], self._env)
        self._wait_until_listening()

    def _make_user(self, name: str, access_key: str, secret_key: str, *more: str) -> None:
        keys = (f"--access-key={access_key}", f"--secret={secret_key}")
        self._run(
            *(*self._ADMIN, "user", "create"),
            *(f"--uid={name}", f"--display-name={name}", *keys, *more),
        )

    def _run(self, *command: str) -> None:
        try:
            done = subprocess.run(
                command, env=self._env, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise GatewayError(self._report(f"{command[0]} did not end within {_PATIENCE:.0f} s")) from error
        if done.returncode != 0:
            raise GatewayError(self._report(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-2000:]}"))

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if ended := self._tether.ended():
                raise GatewayError(self._report(f"ended while starting: {ended}"))
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)  # nothing can be waited on: the port opens when it opens
            else:
                return
        raise GatewayError(self._report(f"nothing listens on {self.endpoint} after {_PATIENCE:.0f} s"))

    def _report(self, what: str) -> str:
        """Add the last lines of every log to the message: the folder is gone when it is read."""
        lines = [f"the S3 server of the tests did not start: {what}"]
        for path in sorted(self._tether.folder.glob("*.[lo][ou][gt]")):
            tail = path.read_text(errors="replace").splitlines()[-8:]
            if tail:
                lines += [f"--- {path.name}", *tail]
        return "\n".join(lines)
