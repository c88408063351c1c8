"""A version made of another one by a function, by one process or by many workers.

    prepare     what is to be done: which files are new, how they are divided (`transform_plan`)
    tasks       each by itself, anywhere, as often as anybody likes (`transform_task`, `task_inputs`, `task_outputs`)
    finish      one commit of all of it (`transform_merge`)

Key types: `TransformTask`, `TaskReceipt` (`transform_task`), `TransformRun`, `TransformReport` (`transform`). Public by
way of `penstock.distributed`. Of Dask, only `dask_run` knows. docs/design/019-transform.md says why.
"""
