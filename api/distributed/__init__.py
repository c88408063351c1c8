"""Work beyond one machine: a directory pushed by many processes, a version transformed by many workers.

Key types: `Shard` (`shards`), `TransformTask` (`transform_task`), `transform`
(`transform`). `penstock.distributed` has what is public; nothing here imports Dask.
"""
