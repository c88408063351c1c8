"""The mounted view: a version of a dataset as a file system, served by a process of its own.

`serve` has that process (``python -m penstock.vfs.serve.server``), which the daemon of `penstock.mountpoint` starts,
and starts again when it dies. A request goes from `fuse` (the protocol of the kernel) to `files` (the file system: it
runs without a kernel in tests), which reads from `source` and has `ahead` fetch more than was asked for.
"""
