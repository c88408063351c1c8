"""What the benchmarks run against: a real S3 server behind a proxy that makes it 25 ms away, real data, and peers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from servers.latency import LatencyProxy
from servers.rgw import RadosGateway

__all__ = ["World"]

DELAY_MS, JITTER_MS, MEGABYTES_PER_SECOND = 25, 5, 100
_DROP = Path("/proc/sys/vm/drop_caches")


class World:
    """Starts what is asked for when it is asked for, and ends all of it.

    `entries` is the size of the tree benchmark, `rows` a pattern of the rows that the reading benchmark is to measure;
    `full`: what takes longer than some minutes is done at its full size.
    """

    def __init__(self, scratch: Path, entries: int, rows: str = "", *, full: bool = False) -> None:
        self.scratch = scratch
        self.entries = entries
        self.rows = rows
        self.full = full
        self._stack = ExitStack()
        self._buckets = 0
        self._mounts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def gateway(self) -> RadosGateway:
        """The S3 server."""
        return self._stack.enter_context(RadosGateway())

    @cached_property
    def proxy(self) -> LatencyProxy:
        """What stands in front of it: 25 ms +- 5 to the first byte, 100 MB/s a connection."""
        return self._stack.enter_context(
            LatencyProxy(
                self.gateway.endpoint,
                delay_ms=DELAY_MS,
                jitter_ms=JITTER_MS,
                megabytes_per_second=MEGABYTES_PER_SECOND,
            )
        )

    @cached_property
    def clipart(self) -> Path:
        """The content of Debian's openclipart-png: 8,121 PNG files in 173 directories.

        1,221 of them are symlinks to others in the package, which rclone leaves out: here they are files as well.
        """
        packages = self.scratch / "packages"
        packages.mkdir()
        kept = os.environ.get("PENSTOCK_BENCH_DEB")  # the package, for machines without Debian's archive
        if kept is None:
            subprocess.run(["apt-get", "download", "-qq", "openclipart-png"], cwd=packages, check=True)
            (package,) = packages.glob("*.deb")
        else:
            package = Path(kept)
        subprocess.run(["dpkg", "-x", package, packages / "content"], check=True)
        where = self.scratch / "clipart"
        subprocess.run(["cp", "-rL", packages / "content/usr/share/openclipart/png", where], check=True)
        return where

    def bucket(self) -> str:
        """Make a new bucket; its name."""
        self._buckets += 1
        name = f"bench-{self._buckets}"
        self.gateway.make_bucket(name)
        return name

    @cached_property
    def disk_bucket(self) -> str:
        """Name of a bucket on this disk: where it is used, this machine's work is what is measured."""
        store = self.scratch / "store"
        store.mkdir()
        self.run("penstock", "remote", "add", "disk", store)
        return "disk"

    @cached_property
    def environment(self) -> dict[str, str]:
        """Variables for a program that talks to the server through the proxy, with nothing cached."""
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        # The last one would have every program compile all of its modules anew.
        foreign = ("AWS_", "PENSTOCK_", "RCLONE_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "AWS_ACCESS_KEY_ID": self.gateway.access_key,
            "AWS_SECRET_ACCESS_KEY": self.gateway.secret_key,
            "AWS_DEFAULT_REGION": self.gateway.region,
            "PENSTOCK_CONFIG": str(home / "penstock.toml"),
            "PENSTOCK_CACHE_DIR": str(home / "cache"),
            "RCLONE_CONFIG": str(home / "rclone.conf"),
            "RCLONE_CACHE_DIR": str(home / "rclone"),
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Ceph",
            "RCLONE_CONFIG_S_ENV_AUTH": "true",
            "RCLONE_CONFIG_S_ENDPOINT": self.proxy.endpoint,
        }

    @contextmanager
    def no_latency(self) -> Iterator[None]:
        """Have programs talk to the server itself until the block ends, with nothing between."""
        own = self.environment
        address = {"AWS_ENDPOINT_URL": self.gateway.endpoint, "RCLONE_CONFIG_S_ENDPOINT": self.gateway.endpoint}
        self.environment = {**own, **address}
        try:
            yield
        finally:
            self.environment = own

    def forget_cache(self) -> None:
        """Empty the block cache and what else Penstock keeps between runs."""
        shutil.rmtree(self.environment["PENSTOCK_CACHE_DIR"], ignore_errors=True)

    def run(self, *command: str | Path) -> tuple[float, str]:
        """Run a program to its end: seconds, and what it printed. Ends the benchmark if it fails."""
        begin = time.perf_counter()
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - begin
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return took, done.stdout

    def drop_page_cache(self) -> bool:
        """Let the kernel forget all that it has of files; False where that is not permitted (only root may)."""
        os.sync()
        try:
            _DROP.write_text("3")
        except OSError:
            return False
        return True

    @contextmanager
    def penstock_mount(self, handle: str, *options: str) -> Iterator[tuple[Path, int]]:
        """Mount a version until the block ends, over whatever is in the cache: where, and the process that serves."""
        where = self._mountpoint("penstock")
        try:
            _, answer = self.run("penstock", "mount", "--json", *options, handle, where)
            yield where, json.loads(answer)["pid"]
        finally:
            if where.is_mount():
                self.run("penstock", "umount", "--force", where)

    @contextmanager
    def rclone_mount(self, bucket: str, *options: str) -> Iterator[tuple[Path, int]]:
        """Mount a bucket with rclone until the block ends: where, and the process that serves."""
        where = self._mountpoint("rclone")
        command: list[str | Path] = [
            "rclone",
            "mount",
            f"s:{bucket}",
            where,
            "--read-only",
            "--log-level",
            "ERROR",
            *options,
        ]
        with self.serving(where, *command) as pid:
            yield where, pid

    @contextmanager
    def s3fs_mount(self, bucket: str, *options: str) -> Iterator[tuple[Path, int]]:
        """Mount a bucket with s3fs until the block ends, as it comes: without a disk cache. As `rclone_mount`."""
        where = self._mountpoint("s3fs")
        keys = self.scratch / "s3fs.keys"
        keys.touch(mode=0o600)
        keys.write_text(f"{self.gateway.access_key}:{self.gateway.secret_key}\n")
        address = self.environment["AWS_ENDPOINT_URL"]
        own = f"passwd_file={keys},url={address},endpoint={self.gateway.region},use_path_request_style,ro"
        with self.serving(where, "s3fs", bucket, where, "-f", "-o", ",".join([own, *options])) as pid:
            yield where, pid

    @contextmanager
    def serving(self, where: Path, *command: str | Path) -> Iterator[int]:
        """Run a program that mounts at `where` and serves in the foreground, until the block ends; its process id."""
        process = subprocess.Popen([str(word) for word in command], env=self.environment, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not where.is_mount():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{command[0]} did not mount")
                time.sleep(0.05)
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                subprocess.run(["fusermount3", "-uz", where], check=False)
                process.kill()
                process.wait()

    def _mountpoint(self, name: str) -> Path:
        self._mounts += 1
        where = self.scratch / f"{name}-{self._mounts}"
        where.mkdir()
        return where
