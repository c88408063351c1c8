"""A server of the catalogue: pages of a large dataset, pictures, many clients, ranges beside the mount, any request.

The server is the program that users start, in front of the S3 server 25 ms away. Seconds are those of the client;
beside the bars that a busy machine decides stands the processor time of the server.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from figures import Figures
from world import World

__all__ = ["bench_catalogue"]

_SCREEN = 60
_CLIENTS, _RATE = 50, 50
_LARGE = 256 << 20
_RANGES = 48
_MANY = 100_000


@dataclass(frozen=True)
class _Server:
    """One that runs, and what it is asked."""

    url: str
    pid: int

    def get(self, path: str, **headers: str) -> tuple[float, int, bytes]:
        """Ask on a connection of its own: seconds, status, body."""
        connection = self.connect()
        try:
            return self.ask(connection, path, **headers)
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)

    @staticmethod
    def ask(connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[float, int, bytes]:
        begin = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return time.perf_counter() - begin, answer.status, body

    def datasets(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self.get("/api/datasets")[2])["datasets"]}

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return its memory without the cache's mapped files, which the kernel can drop."""
        resident, shared = map(int, Path(f"/proc/{self.pid}/statm").read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def _serving(world: World, bucket: str) -> Iterator[_Server]:
    """Run `penstock serve`, with nothing cached and no state from before."""
    world.forget_cache()
    state = world.scratch / f"state-{time.monotonic_ns()}"
    words = ["penstock", "serve", bucket, "--trust-loopback", "--port", "0", "--json", "--state", str(state)]
    process = subprocess.Popen(words, env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        yield _Server(json.loads(process.stdout.readline())["url"], process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def bench_catalogue(world: World, figures: Figures) -> None:
    """Measure the rows whose names the world's pattern matches, each with a server of its own."""
    rows = {name: row for name, row in _ROWS.items() if re.search(world.rows, name)}
    if not rows:
        sys.exit(f"no row matches {world.rows}; there are {', '.join(_ROWS)}")
    for name, row in rows.items():
        print(f"catalogue: {name}", file=sys.stderr)
        row(world, figures)


def _clipart(world: World) -> str:
    """Return a bucket with the dataset clipart."""
    bucket = world.bucket()
    world.run("penstock", "push", world.clipart, f"{bucket}/clipart")
    return bucket


def _large_file(world: World, bucket: str) -> None:
    """Push one large file into a bucket, as the dataset large."""
    folder = world.scratch / "large"
    if not folder.exists():
        folder.mkdir()
        with (folder / "large.mp4").open("wb") as file:
            chance = random.Random(0)
            for _ in range(_LARGE >> 20):
                file.write(chance.randbytes(1 << 20))
    world.run("penstock", "push", folder, f"{bucket}/large")


def _first_pages(world: World, figures: Figures) -> None:
    bucket = world.bucket()
    world.run(sys.executable, Path(__file__).parent / "trees.py", bucket, str(world.entries))
    with _serving(world, bucket) as server:
        (about,) = server.datasets().values()
        path = f"/dataset/{about['dataset_hash']}"
    for name, query in (("its top", ""), ("a directory of it", "?path=part-0500")):
        with _serving(world, bucket) as server:
            server.get("/health")
            world.proxy.reset()
            cpu = server.cpu_seconds()
            cold, status, _ = server.get(path + query)
            counts = world.proxy.counts()
            cpu = server.cpu_seconds() - cpu
            again = min(server.get(path + query)[0] for _ in range(5))
            assert status == 200
            figures.add(f"page of {world.entries:,} entries, {name}, nothing cached", cold, "s", at_most=1)
            figures.add("  fetched for it", counts.bytes_to_client / 1e6, "MB", at_most=1)
            figures.add("  requests to the store for it", counts.requests(), "")
            figures.add("  processor time of the server", cpu, "s")
            figures.add("  again, its nodes cached", again, "s", at_most=0.3)


def _pictures(world: World, figures: Figures) -> None:
    """Ask for the pictures of a screen as a browser does: by six connections, each for one after the other."""
    bucket = _clipart(world)
    with _serving(world, bucket) as server:
        about = server.datasets()["clipart"]
        names = sorted(
            str(path.relative_to(world.clipart)) for path in world.clipart.rglob("*.png") if path.stat().st_size < 1e6
        )
        place = f"/dataset/{about['dataset_hash']}/picture?at={about['top_hash']}&path="

        def screen(names: list[str]) -> float:
            left = iter(names[:_SCREEN])

            def fetch(_: int) -> set[int]:
                connection = server.connect()
                return {server.ask(connection, place + quote(name))[1] for name in left}

            begin = time.perf_counter()
            with ThreadPoolExecutor(6) as browser:
                statuses = list(browser.map(fetch, range(6)))
            took = time.perf_counter() - begin
            assert set().union(*statuses) == {200}
            return took

        world.proxy.reset()
        figures.add(f"pictures of a screen of {_SCREEN} images, cold", screen(names), "s", at_most=2)
        figures.add("  requests to the store for them", world.proxy.counts().requests(), "")
        figures.add("  again", min(screen(names) for _ in range(3)), "s", at_most=0.2)


def _many_rows(world: World, figures: Figures) -> None:
    """List and filter the rows of a dataset that has 100,000, as programs and as people do."""
    bucket = world.bucket()
    world.run(sys.executable, Path(__file__).parent / "trees.py", bucket, str(_MANY))
    world.run(sys.executable, __file__, bucket)
    with _serving(world, bucket) as server:
        about = server.datasets()["tree"]
        base = f"/api/datasets/{about['dataset_hash']}/rows"
        begin = time.perf_counter()
        status, total = server.get(base)[1], json.loads(server.get(base)[2])["total"]
        assert (status, total) == (200, _MANY)
        figures.add(f"{_MANY:,} rows, asked for the first time", time.perf_counter() - begin, "s")
        connection = server.connect()
        for name, path in (
            ("listed", f"{base}?limit=100"),
            ("filtered by a part of the title", f"{base}?title_like=%2577%25&limit=100"),
            ("filtered by type and width, the largest first", f"{base}?data_type=image&min_width=900&sort=-size"),
            ("as a page", f"/dataset/{about['dataset_hash']}/rows?title=77&sort=-size"),
        ):
            took = []
            for _ in range(9):
                seconds, status, _ = server.ask(connection, path)
                assert status == 200
                took.append(seconds)
            figures.add(f"  {name}", statistics.median(took), "s", at_most=0.2)


def _make_rows(bucket: str) -> None:
    """Make a data row of each file of the dataset tree, as if all had been looked into."""
    import datetime as dt

    import penstock
    from penstock.catalogue.datasets.dataset_rows import built_row
    from penstock.catalogue.rows.probe_messages import Facts
    from penstock.catalogue.rows.row_metadata import ROW, new_row

    now, chance = dt.datetime.now(dt.UTC), random.Random(0)
    files = [entry.key for entry in penstock.Package(f"{bucket}/tree") if entry.is_file()]
    metas = {
        key: {ROW: built_row(new_row(Facts("image", chance.randrange(100, 2000), 700), key.rpartition("/")[2], now))}
        for key in files
    }
    penstock.Dataset(f"{bucket}/tree").set_meta_many(metas, message="Rows")


def _many_clients(world: World, figures: Figures) -> None:
    """Have clients list, filter and read ranges, at a steady rate in all, whatever the answers take."""
    bucket = _clipart(world)
    _large_file(world, bucket)
    seconds = 60 if world.full else 20
    with _serving(world, bucket) as server:
        datasets = server.datasets()
        clipart, large = datasets["clipart"], datasets["large"]
        raw = f"/dataset/{large['dataset_hash']}/raw?at={large['top_hash']}&path=large.mp4"
        server.get(f"/api/datasets/{clipart['dataset_hash']}/rows")
        took: list[float] = []
        wrong: list[int] = []
        memory: list[float] = []
        end = time.monotonic() + seconds

        def client(number: int) -> None:
            chance = random.Random(number)
            connection = server.connect()
            due = time.monotonic() + number / _RATE
            while due < end:
                time.sleep(max(0, due - time.monotonic()))
                due += _CLIENTS / _RATE
                offset = chance.randrange(_LARGE - (1 << 20))
                path, headers = chance.choice(
                    (
                        ("/api/datasets?limit=50", {}),
                        (f"/api/datasets/{clipart['dataset_hash']}/rows?title_like=%25a%25", {}),
                        (f"/dataset/{clipart['dataset_hash']}?view=list&at={clipart['top_hash']}", {}),
                        (raw, {"Range": f"bytes={offset}-{offset + 65_535}"}),
                    )
                )
                lasted, status, _ = server.ask(connection, path, **headers)
                took.append(lasted)
                if status not in (200, 206):
                    wrong.append(status)

        cpu = server.cpu_seconds()
        threads = [threading.Thread(target=client, args=(number,)) for number in range(_CLIENTS)]
        for each in threads:
            each.start()
        while time.monotonic() < end:
            time.sleep(seconds / 12)
            memory.append(server.memory_mb())
        for each in threads:
            each.join()
        cpu = server.cpu_seconds() - cpu
        name = f"{_CLIENTS} clients, {_RATE} requests a second, {seconds:g} s"
        figures.add(f"{name}: p99", statistics.quantiles(took, n=100)[98], "s", at_most=0.5)
        figures.add("  median", statistics.median(took), "s")
        if wrong:
            print(f"  answers that are errors: {sorted(wrong)}", file=sys.stderr)
        figures.add("  answers that are errors", len(wrong), "", at_most=0)
        figures.add("  requests", len(took), "")
        figures.add("  processor time of the server a request", cpu / len(took) * 1000, "ms")
        grown = memory[-1] / memory[len(memory) // 3]
        figures.add("  memory at the end", memory[-1], "MB")
        figures.add("  the same beside a third of the time", grown, "x", at_most=1.15)


def _ranges(world: World, figures: Figures) -> None:
    """Read the same ranges of a large file in turn, through the server and the mount, whose page cache is dropped."""
    bucket = world.bucket()
    _large_file(world, bucket)
    with _serving(world, bucket) as server, world.penstock_mount(f"{bucket}/large") as (where, _):
        about = server.datasets()["large"]
        path = f"/dataset/{about['dataset_hash']}/raw?at={about['top_hash']}&path=large.mp4"
        connection = server.connect()
        file = os.open(where / "large.mp4", os.O_RDONLY)

        def served(offset: int, length: int) -> float:
            seconds, status, body = server.ask(connection, path, Range=f"bytes={offset}-{offset + length - 1}")
            assert (status, len(body)) == (206, length)
            return seconds

        def mounted(offset: int, length: int) -> float:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            begin = time.perf_counter()
            left = length
            while left:
                left -= len(os.pread(file, left, offset + length - left))
            return time.perf_counter() - begin

        try:
            for offset in range(0, _LARGE, 8 << 20):
                served(offset, 8 << 20)
            for length, bar in ((256 << 10, None), (1 << 20, 0.5), (8 << 20, 0.5)):
                chance = random.Random(length)
                pairs = []
                for _ in range(_RANGES):
                    offset = chance.randrange(_LARGE - length)
                    pairs.append((served(offset, length), mounted(offset, length)))
                ratio = statistics.median(pair[1] for pair in pairs) / statistics.median(pair[0] for pair in pairs)
                name = f"ranges of {length >> 10} KiB through the server, beside the mount, both from the cache"
                figures.add(name, ratio, "x", at_least=bar)
        finally:
            os.close(file)


def _any_request(world: World, figures: Figures) -> None:
    bucket = _clipart(world)
    cases = 10_000 if world.full else 1000
    with _serving(world, bucket) as server:
        known = {"dataset": server.datasets()["clipart"]["dataset_hash"], "bucket": bucket}
        from servers.api_cases import ask_cases  # brings schemathesis along, which no other benchmark needs

        report = ask_cases(server.url, cases, known)
        assert server.get("/health")[1] == 200
    for each in report.faults[:10]:
        print(f"  {each}", file=sys.stderr)
    figures.add("cases of the interface, by schemathesis", report.cases, "", at_least=0.75 * cases)
    figures.add("  errors of the server, and no answer", len(report.faults), "", at_most=0)
    figures.add("  slowest answer", report.slowest, "s", at_most=30)


_ROWS: dict[str, Callable[[World, Figures], None]] = {
    "pages": _first_pages,
    "pictures": _pictures,
    "rows": _many_rows,
    "clients": _many_clients,
    "ranges": _ranges,
    "cases": _any_request,
}


if __name__ == "__main__":
    _make_rows(sys.argv[1])
