"""Packages in the making: keys set one by one, entries that are not read, two who push at once; beside quilt3.

quilt3 runs in a Python of its own: ``PENSTOCK_BENCH_QUILT`` names it (a throw-away environment with ``quilt3``);
without it its rows are left out.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from figures import Figures
from quilt_peer import key
from servers.sigv4 import sign
from world import World

__all__ = ["bench_keys", "bench_listed", "bench_pushers", "bench_unread"]

_KEYS = (50_000, 200_000)
_MANY_KEYS = 1_000_000
_FILES = 1000
_UNREAD = 100_000
_FEW_LISTED, _LISTED = 200_000, 1_000_000
_ROUNDS = 100
_HERE = os.path.dirname(os.path.abspath(__file__))


def bench_keys(world: World, figures: Figures) -> None:
    """Set keys one by one, in a bucket on this disk: what is measured is this machine's work."""
    folder = _small_files(world)
    for count in (*_KEYS, _MANY_KEYS) if world.full else _KEYS:
        worked, megabytes = _ask(world, "keys", f"{count} {world.disk_bucket}", str(folder))
        figures.add(f"{count:,} keys set one by one, CPU", worked, "s")
        figures.add("  memory", megabytes, "MB", at_most=500)


def bench_unread(world: World, figures: Figures) -> None:
    """Have objects that lie in S3 be a package, left there and not read, and ask it."""
    count = min(_UNREAD, world.entries)
    bucket = world.bucket()
    world.run(sys.executable, os.path.abspath(__file__), "fill", str(count), f"{world.gateway.endpoint} {bucket}")
    listed, _ = _ask(world, "raw", str(count), bucket)
    figures.add(f"raw LIST of {count:,} objects of S3", listed, "s")
    built, megabytes = _ask(world, "build", str(count), bucket)
    figures.add("  package of them, left where they lie and not read: build", built, "s")
    figures.add("    memory", megabytes, "MB", at_most=80)
    figures.add("    raw LIST's time / ours", listed / built, "x", at_least=0.8)
    told = {}
    for question in ("list", "metadata"):
        told[question], held = _ask(world, question, str(count), bucket)
        figures.add(f"  open and {question}", told[question], "s", at_most=0.5)
        figures.add("    memory", held, "MB", at_most=80)
    quilt = os.environ.get("PENSTOCK_BENCH_QUILT")
    if quilt is None:
        return
    _, answer = world.run(quilt, os.path.join(_HERE, "quilt_peer.py"), str(count), world.scratch)
    peer = json.loads(answer)
    figures.add("  quilt3: build and write the manifest", peer["build"][0], "s")
    figures.add("    quilt3's time / ours", peer["build"][0] / built, "x")
    for question in ("list", "metadata"):
        figures.add(f"  quilt3: open and {question}", peer[question][0], "s")
        figures.add("    quilt3's time / ours", peer[question][0] / told[question], "x", at_least=20)
        figures.add("    quilt3's memory", peer[question][1], "MB")


def bench_listed(world: World, figures: Figures) -> None:
    """Have a listing replayed that no server here could be filled with in time."""
    count = _LISTED if world.full else _FEW_LISTED
    command = [sys.executable, os.path.join(_HERE, "listing_server.py"), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
            world.run("penstock", "remote", "add", "listing", "s3://listing", "--endpoint-url", endpoint, "--anonymous")
            took, megabytes = _ask(world, "listed", str(count), world.disk_bucket)
        finally:
            server.kill()
    figures.add(
        f"{count:,} objects of a listing that is replayed, not read", count / took, "entries/s", at_least=20_000
    )
    figures.add("  memory", megabytes, "MB", at_most=500)


def bench_pushers(world: World, figures: Figures) -> None:
    """Count what is lost of what two push at once."""
    folder = _small_files(world)
    seconds, lost = _ask(world, "pushers", f"{_ROUNDS} {world.disk_bucket}", str(folder))
    figures.add(f"two who push at once, {_ROUNDS} rounds: pushes lost", lost, "", at_most=0)
    figures.add("  a round", seconds / _ROUNDS, "s")


def _small_files(world: World) -> Path:
    folder = world.scratch / "keys"
    folder.mkdir(exist_ok=True)
    for number in range(_FILES):
        (folder / str(number)).write_bytes(str(number).encode())
    return folder


def _ask(world: World, what: str, count: str, folder: str) -> tuple[float, float]:
    _, answer = world.run(sys.executable, os.path.abspath(__file__), what, count, folder)
    first, second = json.loads(answer)
    return first, second


def _set_keys(count: int, bucket: str, folder: str) -> float:
    import penstock

    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    begin = time.process_time()
    builder = penstock.PackageBuilder(f"{bucket}/keys")
    for number in range(count):
        builder.set(key(number), files[number % len(files)], {"label": number % 10})
    builder.build_manifest()
    return time.process_time() - begin


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        config=Config(
            s3={"addressing_style": "path"},
            max_pool_connections=32,
            request_checksum_calculation="when_required",
        ),
    )


def _fill(count: int, endpoint: str, bucket: str) -> None:
    """Put the objects, by the shortest way: boto3 takes longer for a request than the server does."""
    threads = 8
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]

    def put(first: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
        for number in range(first, count, threads):
            path = f"/{bucket}/in/{key(number)}"
            signed = sign("PUT", endpoint + path, b"x", access_key=keys[0], secret_key=keys[1])
            connection.request("PUT", path, body=b"x", headers=signed)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        connection.close()

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(put, range(threads)):
            pass


def _list_raw(count: int, bucket: str) -> float:
    pages = _client().get_paginator("list_objects_v2")
    begin = time.perf_counter()
    assert sum(page["KeyCount"] for page in pages.paginate(Bucket=bucket, Prefix="in/")) == count
    return time.perf_counter() - begin


def _build_unread(bucket: str) -> float:
    import penstock

    begin = time.perf_counter()
    builder = penstock.PackageBuilder(f"{bucket}/unread").add(f"s3://{bucket}/in/", "", identity=True)
    builder.push_manifest(allow_missing_readme=True)
    return time.perf_counter() - begin


def _build_listed(bucket: str, count: int) -> float:
    import penstock

    begin = time.perf_counter()
    builder = penstock.PackageBuilder(f"{bucket}/listed").add("s3://listing/in/", "", identity=True)
    package = builder.push_manifest(allow_missing_readme=True)
    took = time.perf_counter() - begin
    assert package.info().entries > count, package.info()
    return took


def _question(what: str, bucket: str) -> float:
    import penstock

    penstock.Package  # noqa: B018  # imported when it is first named
    begin = time.perf_counter()
    with penstock.open(f"{bucket}/unread") as package:
        if what == "list":
            assert sum(1 for _ in package.ls("part-0042")) > 1
        else:
            assert package.get_metadata(key(4242)) == {}
    return time.perf_counter() - begin


def _push_twice(rounds: int, bucket: str, folder: str) -> tuple[float, int]:
    """Have two threads push to one branch at the same time; seconds, and how many said success and are not there."""
    import penstock

    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))][:2]
    penstock.PackageBuilder(f"{bucket}/pushers").set("README.md", files[0]).push()
    begin = time.perf_counter()
    for number in range(rounds):
        together = threading.Barrier(2)

        def push(who: int, number: int = number, together: threading.Barrier = together) -> None:
            builder = penstock.Package(f"{bucket}/pushers").to_builder().set(f"{who}/{number:04}", files[who])
            together.wait()
            builder.push(allow_missing_readme=True)

        threads = [threading.Thread(target=push, args=(who,)) for who in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    package = penstock.open(f"{bucket}/pushers")
    lost = sum(f"{who}/{number:04}" not in package for who in range(2) for number in range(rounds))
    return time.perf_counter() - begin, lost


def main() -> None:
    """Do what the first argument says, and print two numbers."""
    what, folder = sys.argv[1], sys.argv[3]
    size, _, disk = sys.argv[2].partition(" ")
    count = int(size)
    if what == "pushers":
        print(json.dumps(_push_twice(count, disk, folder)))
        return
    if what == "fill":
        _fill(count, *folder.split())
        return
    did: dict[str, Callable[[], float]] = {
        "keys": lambda: _set_keys(count, disk, folder),
        "listed": lambda: _build_listed(folder, count),
        "raw": lambda: _list_raw(count, folder),
        "build": lambda: _build_unread(folder),
    }
    took = did[what]() if what in did else _question(what, folder)
    print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


if __name__ == "__main__":
    main()
