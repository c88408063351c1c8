"""Make a folder of pictures small, row by row and on several workers, and read them through a mount with PyTorch.

    apt-get download openclipart-png && dpkg -x openclipart-png_*.deb clipart
    penstock remote add demo ./store
    python examples/transform_pictures.py clipart/usr/share/openclipart/png demo/clipart demo/small --mount /mnt/small

The folder becomes a version of the first dataset. `map_batch` makes `--rows` of its pictures small, as rows of a data
frame, into a dataset beside the second one (``small-rows``). `transform` makes the second of all of them, on a cluster
of Dask with as many workers as `--workers` says; that is mounted, and read by a `DataLoader`. The function is the same
for both, and so is what it makes. Run it again with more pictures in the folder: only those are made small. Needs
pandas, pillow, torch and `pip install 'penstock[dask]'`. Prints a line of JSON a step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import penstock
import penstock.distributed

SIDE = 64


def resize(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Make one picture small: this function knows directories alone, and can be called with any two."""
    from PIL import Image

    [path] = input_dir.iterdir()
    made = output_dir / f"{path.stem}.png"
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except Image.DecompressionBombError:  # one of openclipart has 620 million pixels
        return {}
    small.thumbnail((SIDE, SIDE))
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(small)
    square.save(made)
    return {made.name: made}


class Pictures:
    """The pictures below a folder, as a dataset of PyTorch: plain files, nothing of Penstock."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob("*.png"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> object:
        import numpy as np
        import torch
        from PIL import Image

        with Image.open(self._paths[index]) as picture:
            return torch.from_numpy(np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255)


def small_rows(pictures: str, into: str, count: int) -> int:
    """Make some pictures small as rows of a data frame; return how many. A row's id is where its picture lies."""
    from itertools import islice

    import pandas as pd

    package = penstock.open(pictures)
    files = (entry.key for entry in package.glob("**/*.png") if entry.is_file())  # others are links to these
    keys = list(islice(files, count))
    frame = pd.DataFrame({"picture": [f"{package.handle}/{key}" for key in keys], "id": [_row_id(key) for key in keys]})
    with penstock.ProgressDisplay() as progress:
        made = penstock.FileDataset().map_batch(
            frame, resize, {"into_path": into, "message": "small"}, files=["picture"], progress=progress
        )
    failed = made["error"].dropna()
    if len(failed):
        raise SystemExit(failed.iloc[0])
    return len(made)


def _row_id(key: str) -> str:
    return key.removesuffix(".png").replace("/", "--")


def differing_rows(rows: str, small: str) -> list[str]:
    """Return the pictures that the rows have otherwise than the transform."""
    whole = penstock.open(small)
    by_id = {_row_id(entry.key): entry.hash for entry in whole.glob("**/*.png")}
    made = {entry.key.partition("/")[0]: entry.hash for entry in penstock.open(rows).glob("*/*.png")}
    return [name for name, found in made.items() if by_id.get(name) != found]


@contextmanager
def timed(step: str) -> Iterator[dict[str, object]]:
    """Print what a step has done, and how long it took."""
    told: dict[str, object] = {"step": step}
    begun = time.monotonic()
    yield told
    print(json.dumps({**told, "seconds": round(time.monotonic() - begun, 1)}), flush=True)


def main() -> None:
    """Push, transform, mount, read."""
    parser = argparse.ArgumentParser(description="Make a folder of pictures small, by several workers.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", help="the dataset that the folder is pushed to: bucket/dataset")
    parser.add_argument("small", help="the dataset of small pictures")
    parser.add_argument("--rows", type=int, default=200, help="how many pictures map_batch makes small")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--mount", type=Path, help="read it through a mount here")
    parser.add_argument("--loaders", type=int, default=2, help="worker processes of the DataLoader")
    arguments = parser.parse_args()

    from distributed import Client, LocalCluster

    with timed("push") as told:
        told["files"] = penstock.Dataset(arguments.pictures).push(arguments.folder).files
    rows = f"{arguments.small}-rows"
    with timed("map_batch") as told:
        told["rows"] = small_rows(arguments.pictures, rows, arguments.rows)
    options = {
        "n_workers": arguments.workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
    }
    with timed("transform") as told, LocalCluster(protocol="tcp", **options) as cluster, Client(cluster) as client:
        report = penstock.distributed.transform(arguments.pictures, resize, arguments.small, client=client)
        told |= {"calls": report.inputs, "outputs": report.outputs, "top_hash": report.top_hash}
    with timed("compare") as told:
        told["rows that differ from the transform"] = differing_rows(rows, arguments.small)
    if arguments.mount is None:
        return

    from torch.utils.data import DataLoader

    penstock.mount(arguments.small, arguments.mount)
    try:
        with timed("read") as told:
            loader = DataLoader(Pictures(arguments.mount), batch_size=64, num_workers=arguments.loaders)
            batches = [(len(batch), float(batch.sum())) for batch in loader]
            told |= {"pictures": sum(count for count, _ in batches), "sum": round(sum(total for _, total in batches))}
    finally:
        penstock.unmount(arguments.mount)


if __name__ == "__main__":
    main()
