"""A transform of openclipart on a cluster of Dask on this machine, and what it costs in requests."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transform_functions
from figures import Figures
from world import World

import penstock
from penstock import distributed

__all__ = ["bench_transform"]

_NEW = 10
_SLEEPERS = 2000


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1"}
    with LocalCluster(dashboard_address="127.0.0.1:0", protocol="tcp", **options) as cluster, Client(cluster) as client:
        yield client


def _enter(world: World) -> penstock.Settings:
    """Have this process, and the workers that it starts, talk to the server through the proxy as programs do."""
    os.environ.update(
        {name: value for name, value in world.environment.items() if name.startswith(("AWS_", "PENSTOCK_"))}
    )
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}:{path}"  # where workers find the functions
    return penstock.Settings.load()


def _requests(world: World) -> Counter[str]:
    counts: Counter[str] = Counter()
    for method, path in world.proxy.counts().paths:
        counts[method] += 1
        counts["data PUT"] += method == "PUT" and "/data/" in path
    return counts


def _processor_time() -> float:
    """Return the processor time of this process and of all its children that have ended, in seconds."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def bench_transform(world: World, figures: Figures) -> None:
    """Measure those rows whose name what is asked for fits."""
    bucket = world.bucket()
    source = f"{bucket}/clipart"
    world.run("penstock", "push", world.clipart, source)
    settings = _enter(world)
    rows = {"sleep": _bench_sleep, "pillow": _bench_pillow, "again": _bench_again, "requests": _bench_cost}
    for name, bench in rows.items():
        if re.search(world.rows, name):
            bench(world, figures, bucket, source, settings)


def _bench_sleep(world: World, figures: Figures, bucket: str, source: str, settings: Any) -> None:
    some = source
    if not world.full:  # all of it takes ten minutes
        some = f"{bucket}/some"
        penstock.Package(source, settings).sample(_SLEEPERS, some)
    slept: dict[int, float] = {}
    for workers in (1, 2):
        world.forget_cache()
        with _cluster(workers) as client:
            begun = time.monotonic()
            distributed.transform(
                some, transform_functions.sleep, f"{bucket}/slept-{workers}", client=client, settings=settings
            )
            slept[workers] = time.monotonic() - begun
    figures.add(
        "transform, a function that sleeps 50 ms: time of 1 worker / of 2", slept[1] / slept[2], "x", at_least=1.8
    )


def _bench_pillow(world: World, figures: Figures, bucket: str, source: str, settings: Any) -> None:
    spent: dict[str, float] = {}
    tops: dict[str, str] = {}
    for name in ("alone", "cluster"):
        world.forget_cache()
        before = _processor_time()
        if name == "alone":
            pid = os.fork()
            if pid == 0:  # a process of its own, whose time is that of a child
                distributed.transform(source, transform_functions.resize, f"{bucket}/{name}", settings=settings)
                os._exit(0)
            os.waitpid(pid, 0)
        else:
            with _cluster(2) as client:
                distributed.transform(
                    source, transform_functions.resize, f"{bucket}/{name}", client=client, settings=settings
                )
        spent[name] = _processor_time() - before
        tops[name] = penstock.Package(f"{bucket}/{name}", settings).top_hash
    figures.add(
        "transform with Pillow: processor time of all with 2 workers / of one process",
        spent["cluster"] / spent["alone"],
        "x",
        at_most=1.2,
    )
    figures.add("top hash of 2 workers is that of one process", float(tops["cluster"] == tops["alone"]), "", at_least=1)


def _bench_again(world: World, figures: Figures, bucket: str, source: str, settings: Any) -> None:
    calls = world.scratch / "calls"
    parameters = {"calls": str(calls)}
    into = f"{bucket}/noted"
    files = sum(1 for entry in penstock.Package(source, settings) if entry.is_file())
    with _cluster(2) as client:
        pid = os.fork()
        if pid == 0:
            try:
                distributed.transform(source, transform_functions.noted, into, parameters=parameters, settings=settings)
            finally:
                os._exit(0)
        while not calls.exists() or calls.read_bytes().count(b"\n") < files // 2:
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        done = calls.read_bytes().count(b"\n")
        report = distributed.transform(
            source, transform_functions.noted, into, parameters=parameters, settings=settings, client=client
        )
        again = calls.read_bytes().count(b"\n") - files
        figures.add("killed at half, run again: calls that were done before", again, f"of {done}", at_most=128)
        new = world.scratch / "new"
        new.mkdir()
        for number in range(_NEW):
            (new / f"{number}.png").write_bytes(next(world.clipart.rglob("*.png")).read_bytes() + bytes([number]))
        builder = penstock.Package(source, settings).to_builder()
        builder.add("new", str(new))
        builder.push(message="ten more")
        calls.unlink()
        world.proxy.reset()
        second = distributed.transform(
            source, transform_functions.noted, into, parameters=parameters, settings=settings, client=client
        )
        figures.add("second run after 10 new inputs: calls", calls.read_bytes().count(b"\n"), "", at_most=10)
        figures.add("second run after 10 new inputs: data PUTs", _requests(world)["data PUT"], "", at_most=1)
        assert second.outputs == _NEW
        assert report.outputs == files


def _bench_cost(world: World, figures: Figures, bucket: str, source: str, settings: Any) -> None:
    for workers in (1, 2):
        world.forget_cache()
        world.proxy.reset()
        with _cluster(workers) as client:
            report = distributed.transform(
                source, transform_functions.copy, f"{bucket}/copied-{workers}", client=client, settings=settings
            )
        counts = _requests(world)
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            figures.add(
                f"requests of a transform, {workers} workers, {report.tasks} tasks: {method}", counts[method], ""
            )
