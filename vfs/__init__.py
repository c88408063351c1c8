"""The mounted view: a version of a dataset as a file system.

Two halves. The light one, imported by the command line, needs neither pyfuse3 nor trio: `mounting` (mount),
`unmounting` (unmount), `mounts` (list_mounts). The heavy one runs in the mount's own process: `daemon`, `serving`,
`fuse` (protocol adapter), and the file system itself in `filesystem`, which runs without a kernel as well.
"""
