"""A transform whose tasks run on Spark: the same tasks, the same version as on Dask or alone.

    pip install pyspark       # and a Java that it can start
    penstock remote add demo ./store
    python examples/transform_spark.py demo/photos demo/upper

Spark runs the tasks of a lost executor again, and, with speculation, slow ones twice: neither changes anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

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
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    with penstock.distributed.prepare(source, upper, into) as run:
        tasks = spark.sparkContext.parallelize(run.tasks, max(1, len(run.tasks)))
        report = run.finish(tasks.map(lambda task: task()).collect())
    spark.stop()
    print(json.dumps({"outputs": report.outputs, "tasks": report.tasks, "top_hash": report.top_hash}))


if __name__ == "__main__":
    main()
