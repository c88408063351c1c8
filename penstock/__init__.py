"""Penstock: versions of datasets in object storage, mounted as plain files.

    import penstock

    with penstock.open("bucket/photos:v1") as package:      # one version, read
        for entry in package.ls("2024"):
            print(entry.key, entry.size)

    penstock.mount("bucket/photos:v1", "/mnt/photos")       # the same, as plain files

What is public is named here, and imported when it is first asked for: `import penstock` costs nothing.

**Invariant:** no name here is a submodule's. Importing a submodule sets an attribute of this package, so that what a
shared name meant would depend on what was imported before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.api.builder.builder import PackageBuilder
    from penstock.api.builder.hugging_face import import_hf
    from penstock.api.datasets.dataset import Dataset
    from penstock.api.datasets.push import hash_directory
    from penstock.api.files.file_dataset import FileDataset
    from penstock.api.mounts.mounted_path import MountedPath, stat
    from penstock.api.mounts.mounts import mount, mount_foreground, mounts, unmount
    from penstock.api.mounts.workspace import Workspace
    from penstock.api.packages.entry import Entry
    from penstock.api.packages.package import Package
    from penstock.api.runs.recording import record_run
    from penstock.api.runs.reproduction import reproduce
    from penstock.api.runs.stamp import stamp
    from penstock.api.settings import Settings, add_remote, remotes, remove_remote
    from penstock.api.storage.block_cache import cache_info, clear_cache, verify_cache
    from penstock.api.storage.bucket import Bucket
    from penstock.api.storage.doctor import doctor
    from penstock.cli.progress import ProgressDisplay
    from penstock.mountpoint.announce import announce
    from penstock.project.declared.runtime import (
        JSON,
        File,
        alter,
        csv,
        dataset,
        delete,
        derived,
        dicom,
        ingest,
        jpg,
        json,
        mp3,
        mp4,
        nifti,
        npy,
        parquet,
        pdf,
        png,
        tif,
        txt,
        was,
        wav,
        webp,
    )
    from penstock.project.sources.opened import open_version as open  # noqa: A004  # `penstock.open`, as of files

__version__ = "0.1.0"

_DECLARED = (
    "File",
    "JSON",
    "alter",
    "csv",
    "dataset",
    "delete",
    "derived",
    "dicom",
    "ingest",
    "jpg",
    "json",
    "mp3",
    "mp4",
    "nifti",
    "npy",
    "parquet",
    "pdf",
    "png",
    "tif",
    "txt",
    "was",
    "wav",
    "webp",
)
"""What a file that declares datasets imports: docs/CODE.md."""

_HOMES = {
    "Bucket": "api.storage.bucket:Bucket",
    "Dataset": "api.datasets.dataset:Dataset",
    "Entry": "api.packages.entry:Entry",
    "FileDataset": "api.files.file_dataset:FileDataset",
    "MountedPath": "api.mounts.mounted_path:MountedPath",
    "Package": "api.packages.package:Package",
    "PackageBuilder": "api.builder.builder:PackageBuilder",
    "ProgressDisplay": "cli.progress:ProgressDisplay",
    "Settings": "api.settings:Settings",
    "Workspace": "api.mounts.workspace:Workspace",
    "add_remote": "api.settings:add_remote",
    "announce": "mountpoint.announce:announce",
    "cache_info": "api.storage.block_cache:cache_info",
    "clear_cache": "api.storage.block_cache:clear_cache",
    "doctor": "api.storage.doctor:doctor",
    "hash_directory": "api.datasets.push:hash_directory",
    "import_hf": "api.builder.hugging_face:import_hf",
    "mount": "api.mounts.mounts:mount",
    "mount_foreground": "api.mounts.mounts:mount_foreground",
    "mounts": "api.mounts.mounts:mounts",
    "open": "project.sources.opened:open_version",
    "record_run": "api.runs.recording:record_run",
    "remotes": "api.settings:remotes",
    "remove_remote": "api.settings:remove_remote",
    "reproduce": "api.runs.reproduction:reproduce",
    "stamp": "api.runs.stamp:stamp",
    "stat": "api.mounts.mounted_path:stat",
    "unmount": "api.mounts.mounts:unmount",
    "verify_cache": "api.storage.block_cache:verify_cache",
    **{name: f"project.declared.runtime:{name}" for name in _DECLARED},
}
"""Where each public name is: ``module:attribute`` below `penstock`."""

__all__ = [  # noqa: RUF022  # as in `_HOMES`
    "__version__",
    "Bucket",
    "Dataset",
    "Entry",
    "FileDataset",
    "MountedPath",
    "Package",
    "PackageBuilder",
    "ProgressDisplay",
    "Settings",
    "Workspace",
    "add_remote",
    "announce",
    "cache_info",
    "clear_cache",
    "doctor",
    "hash_directory",
    "import_hf",
    "mount",
    "mount_foreground",
    "mounts",
    "open",
    "record_run",
    "remotes",
    "remove_remote",
    "reproduce",
    "stamp",
    "stat",
    "unmount",
    "verify_cache",
    "File",
    "JSON",
    "alter",
    "csv",
    "dataset",
    "delete",
    "derived",
    "dicom",
    "ingest",
    "jpg",
    "json",
    "mp3",
    "mp4",
    "nifti",
    "npy",
    "parquet",
    "pdf",
    "png",
    "tif",
    "txt",
    "was",
    "wav",
    "webp",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    found: object = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
