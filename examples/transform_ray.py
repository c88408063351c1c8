"""A transform whose tasks run on Ray: the same tasks, the same version as on Dask or alone.

    pip install ray
    penstock remote add demo ./store
    python examples/transform_ray.py demo/photos demo/upper

Ray retries what a dead worker was at; a task that is done twice changes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray

import penstock.distributed


def upper(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Write a file in capitals."""
    [path] = input_dir.iterdir()
    made = output_dir / path.name
    made.write_bytes(path.read_bytes().upper())
    return {path.name: made}


def main() -> None:
    """Transform the first dataset into the second."""
    source, into = sys.argv[1:]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    run_task = ray.remote(max_retries=3)(lambda task: task())
    with penstock.distributed.prepare(source, upper, into) as run:
        report = run.finish(ray.get([run_task.remote(task) for task in run.tasks]))
    ray.shutdown()
    print(json.dumps({"outputs": report.outputs, "tasks": report.tasks, "top_hash": report.top_hash}))


if __name__ == "__main__":
    main()
