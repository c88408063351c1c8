"""The Python face: what a program does with datasets, and all that the command line does.

`penstock` names what is public and imports it from here when it is first asked for. Key types:

- `Bucket` and `Dataset`: names for what is in object storage, with its history, branches, tags, pushes;
- `Package`: one version, read; `PackageBuilder`: one version in the making;
- `Workspace`: what was changed in a writable mount, mounted or not; `mount` and its neighbours show versions as files;
- `FileDataset`: files fetched for functions that know only directories, and what those make sent.

**Invariants.** Handles (`Bucket`, `Dataset`, `Package`) hold names and settings: to make one costs nothing, they can be
pickled, copied to other processes and used there, and what they have open belongs to the process that opened it
(`per_process`). What methods return are frozen values: hashes as hex digits, sizes in bytes, times as ISO 8601 in UTC
where they come from records. Errors are those of `penstock.errors`.

Blocking, and thread-safe. Nothing here imports trio, pyfuse3, click or rich.
"""
