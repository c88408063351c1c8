"""The mounted view: a version of a dataset as a file system.

Two halves. The light one needs neither pyfuse3 nor trio: what the command line imports, `mounting` (mount),
`unmounting` (unmount), `mounts` (list_mounts), and the mount's daemon, which supervises (`daemon`, `supervising`). The
heavy one is a process of its own that the daemon starts, and starts again when it dies: `server`, `serving`, `session`,
`fuse` (protocol adapter), and the file system itself in `filesystem`, which runs without a kernel as well.
"""
