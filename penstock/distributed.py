"""Work beyond one machine: a function over the files of a version, by many workers, whose outputs are one version.

    import penstock.distributed
    from dask.distributed import Client

    report = penstock.distributed.transform("bucket/photos:v1", resize, "bucket/small", client=Client("scheduler:8786"))

Dask comes with ``pip install 'penstock[dask]'``; Ray and Spark run what `prepare` gives (examples/). A version's files
are divided by `Package.shards`. docs/DISTRIBUTED.md goes through it.
"""

from __future__ import annotations

from penstock.api.distributed.transform import TransformReport, TransformRun, prepare, transform
from penstock.api.distributed.transform_task import TaskReceipt, TransformTask
from penstock.api.packages.shard import Shard

__all__ = ["Shard", "TaskReceipt", "TransformReport", "TransformRun", "TransformTask", "prepare", "transform"]
