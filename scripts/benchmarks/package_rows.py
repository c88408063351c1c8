"""Packages: what is imported, many versions, a first push beside quilt3, and training beside reading local files.

    python package_rows.py versions HANDLE COUNT FOLDER      seconds of processor time of the first and last hundred
    python package_rows.py push DIRECTORY HANDLE             seconds, and those of processor time, without the imports
    python package_rows.py load HANDLE COUNT DIRECTORY       two epochs by `penstock.torch`, of images of the directory

print JSON. They are called by `bench_rows` in processes of their own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from figures import Figures
from world import World

__all__ = ["bench_history", "bench_imports", "bench_loader", "bench_quilt_push"]

_HERE = os.path.abspath(__file__)
_FEW_VERSIONS, _VERSIONS = 1000, 10_000
_MEASURED = 100
_TIMES = 9
_IMAGES = 1000
_SIDE, _BATCH, _WORKERS = 64, 32, 2


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def bench_imports(world: World, figures: Figures) -> None:
    """Measure processor time, since others may use the machine; the least of some runs."""
    program = "import time; begin = time.process_time(); import penstock; print(time.process_time() - begin)"
    took = min(float(world.run(sys.executable, "-c", program)[1]) for _ in range(_TIMES))
    figures.add("import penstock, CPU", took * 1000, "ms", at_most=30)
    took = min(_worked(world, "penstock", "--help") for _ in range(_TIMES))
    figures.add("penstock --help, CPU of the whole process", took * 1000, "ms", at_most=250)


def bench_history(world: World, figures: Figures) -> None:
    """Make versions of one new file each, in a bucket on this disk."""
    count = _VERSIONS if world.full else _FEW_VERSIONS
    handle = f"{world.disk_bucket}/many"
    _, answer = world.run(sys.executable, _HERE, "versions", handle, str(count), world.scratch)
    first, last = json.loads(answer)
    figures.add(f"{count:,} versions of one new file each: the first {_MEASURED}, CPU of one", first * 1000, "ms")
    figures.add(f"  the last {_MEASURED} / the first", last / first, "x", at_most=1.2)
    took = min(_worked(world, "penstock", "log", "-n", "5", handle) for _ in range(3))
    figures.add("  log -n 5, CPU of the whole process", took, "s", at_most=0.5)


def bench_quilt_push(world: World, figures: Figures) -> None:
    """Push openclipart for the first time, beside quilt3, which hashes it and writes a manifest."""
    quilt = os.environ.get("PENSTOCK_BENCH_QUILT")
    ours, theirs = [], []
    for run in range(3):
        world.forget_cache()
        _, answer = world.run(sys.executable, _HERE, "push", world.clipart, f"{world.disk_bucket}/clipart-{run}")
        ours.append(json.loads(answer))
        if quilt is not None:
            peer = os.path.join(os.path.dirname(_HERE), "quilt_peer.py")
            _, answer = world.run(quilt, peer, "push", world.clipart, world.scratch / f"quilt-{run}")
            theirs.append(json.loads(answer))
    for at, what in enumerate(("", ", CPU")):
        figures.add(f"first push of openclipart into a bucket on this disk{what}", _median([e[at] for e in ours]), "s")
        if theirs:
            taken = _median([each[at] for each in theirs])
            figures.add(f"  quilt3, which hashes and copies nothing{what}", taken, "s")
            figures.add(f"  ours / quilt3's{what}", _median([e[at] for e in ours]) / taken, "x", at_most=0.6)


def bench_loader(world: World, figures: Figures) -> None:
    """Have a DataLoader go through epochs: of local files, of a version that is cached, of one that is not."""
    handle = f"{world.bucket()}/clipart"
    world.run("penstock", "push", world.clipart, handle)
    program = os.path.join(os.path.dirname(_HERE), "training.py")
    local, warm, cold = [], [], []
    for _ in range(3):
        _, answer = world.run(sys.executable, program, world.clipart, "--count", str(_IMAGES))
        local.append(_rate(answer))
        world.forget_cache()
        _, answer = world.run(sys.executable, _HERE, "load", handle, str(_IMAGES), world.clipart)
        first, second = answer.splitlines()
        cold.append(_rate(first))
        warm.append(_rate(second))
    figures.add(f"DataLoader, {_WORKERS} workers, decoded: local files", _median(local), "images/s")
    figures.add("  penstock.torch, cached", _median(warm), "images/s")
    figures.add("    ours / local files", _median(warm) / _median(local), "x", at_least=0.95)
    figures.add("  penstock.torch, nothing cached, the order announced", _median(cold), "images/s")
    figures.add("    cold / cached", _median(cold) / _median(warm), "x", at_least=0.8)


def _rate(answer: str) -> float:
    found = json.loads(answer)
    rate: float = found["images"] / found["seconds"]
    return rate


def _worked(world: World, *command: str) -> float:
    """Return the seconds of processor time that a program takes, all of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    world.run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _make_versions(handle: str, count: int, folder: str) -> tuple[float, float]:
    import penstock

    file = Path(folder) / "of-a-version"
    penstock.Dataset(handle).create()
    took = []
    for number in range(count):
        file.write_bytes(str(number).encode())
        begin = time.process_time()
        builder = penstock.Package(handle).to_builder().set(f"{number % 100:02}/{number:06}.txt", file)
        builder.push(allow_missing_readme=True)
        builder.close()
        took.append(time.process_time() - begin)
    warmed = took[_MEASURED // 2 :]  # what is imported and opened by the first is none of a version's
    return _median(warmed[:_MEASURED]), _median(took[-_MEASURED:])


def _push(directory: str, handle: str) -> tuple[float, float]:
    import penstock

    penstock.Dataset  # noqa: B018  # imported when it is first named
    begin, worked = time.perf_counter(), time.process_time()
    penstock.Dataset(handle).push(directory)
    return time.perf_counter() - begin, time.process_time() - worked


def _pixels(data: bytes) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(BytesIO(data)).convert("RGB").resize((_SIDE, _SIDE))).copy()


def _of_sample(sample: Any) -> tuple[Any, int]:
    import torch

    return torch.from_numpy(sample.data), 0


def _load(handle: str, count: int, root: Path) -> None:
    """Go through an epoch with nothing cached, and through the same files once more; images and seconds of each."""
    from torch.utils.data import DataLoader
    from training import chosen

    from penstock.torch import Dataset, Sampler

    keys = {str(path.relative_to(root)) for path in chosen(root, count)}
    images = Dataset(handle, filter=lambda entry: entry.key in keys, decode=_pixels, transform=_of_sample)
    sampler = Sampler(images, seed=0)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        begin = time.perf_counter()
        seen = sum(len(labels) for _, labels in DataLoader(images, _BATCH, sampler=sampler, num_workers=_WORKERS))
        print(json.dumps({"images": seen, "seconds": time.perf_counter() - begin}))


def _main() -> None:
    what, *rest = sys.argv[1:]
    if what == "versions":
        print(json.dumps(_make_versions(rest[0], int(rest[1]), rest[2])))
    elif what == "push":
        print(json.dumps(_push(rest[0], rest[1])))
    else:
        _load(rest[0], int(rest[1]), Path(rest[2]))


if __name__ == "__main__":
    _main()
