"""Outputs in the local bucket of a project: added and checked out as tracked paths are, without pointer files.

The index of tracked paths knows outputs beside them, so that an output that nobody touched costs a look at its names.
The bucket is opened when something has to be written or brought; remotes when something is not here. A remote that does
not answer is asked once.

One thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from typing import TYPE_CHECKING

from penstock.errors import AccessError, IntegrityError, NotFoundError, StoreUnreachableError
from penstock.manifest.entry import Kind
from penstock.progress import SILENT
from penstock.project.project import Project
from penstock.project.stages.definition.lock_file import Kind as OutputKind
from penstock.project.stages.definition.lock_file import MadeOutput
from penstock.repo.bucket.object_keys import manifest_key
from penstock.repo.tracked.survey import Suspect, survey, survey_file
from penstock.repo.tracked.tracked_index import TrackedIndex, TrackedState

from .outputs import MadeFile
from .shelf import move, remove

if TYPE_CHECKING:
    from penstock.manifest.records import Manifest
    from penstock.repo.session.bucket_session import BucketSession
    from penstock.repo.settings.settings import Settings
    from penstock.store.base import Store

__all__ = ["BucketOutputs"]

_UNKNOWN = "0" * 64
_FEW = 200
"""Files of a version that are brought by name; of more, all of it is."""


class BucketOutputs:
    """Outputs of a project. `warn` is told once of a remote that cannot be asked. Closed by `close`.

    Unless it `keeps` what it looks at, nothing is written but what is known of files.
    """

    def __init__(
        self,
        project: Project,
        settings: Callable[[], Settings],
        index: TrackedIndex,
        warn: Callable[[str], None],
        *,
        keeps: bool = True,
    ) -> None:
        self._project = project
        self._settings = settings
        self._index = index
        self._warn = warn
        self._keeps = keeps
        self._stack = ExitStack()
        self._manifests: dict[str, Manifest] = {}
        self._had: dict[str, bool] = {}
        self._no_remote = False

    def close(self) -> None:
        """Close what was opened."""
        self._stack.close()

    @cached_property
    def _dataset(self) -> str:
        return self._project.file.dataset

    @cached_property
    def _local(self) -> BucketSession:
        from penstock.project.local_bucket import open_local

        return self._stack.enter_context(closing(open_local(self._project, self._settings())))

    @cached_property
    def _layered(self) -> BucketSession:
        from penstock.project.local_bucket import open_layered

        return self._stack.enter_context(closing(open_layered(self._project, self._settings())))

    @property
    def here(self) -> Store:
        """The store of the local bucket."""
        return self._local.store

    def elsewhere(self) -> Sequence[Store]:
        """Return the stores of the project's remotes that may be used, opened now if they are not."""
        if self._no_remote:
            return ()
        from penstock.repo.bucket.layered_store import LayeredStore

        store = self._layered.store
        assert isinstance(store, LayeredStore)
        try:
            return list(store.lower)
        except (AccessError, StoreUnreachableError, NotFoundError) as error:
            self.give_up(error)
            return ()

    def give_up(self, error: Exception) -> None:
        """Ask no remote any more."""
        if not self._no_remote:
            self._no_remote = True
            self._warn(f"remotes are not asked what others have run: {error}")

    # ------------------------------------------------------------------ what is there

    def look(self, path: str, expected: MadeOutput | None = None) -> MadeOutput | None:
        """Return what lies at a path; it is added to the local bucket where it is not as it was known.

        Where it is the `expected` version, as it was known, the bucket is not even opened.
        """
        kind = self._kind(path)
        if kind is None:
            return None
        state = self._index.state(path)
        if state is not None and state.top and next(self._survey(path, kind), None) is None:
            if expected is not None and (kind, state.top.hex()) == (expected.kind, expected.hash):
                return expected
            if (known := self._known(state.top.hex())) is not None:
                return MadeOutput(kind, state.top.hex(), known.root.entries, known.root.size)
        return self.keep(path) if self._keeps else self._held_against(path, kind, state, expected)

    def _held_against(
        self, path: str, kind: OutputKind, state: TrackedState | None, expected: MadeOutput | None
    ) -> MadeOutput:
        """Return the expected version where what was touched is as it was; else one that nobody expects."""
        from penstock.project.project_status import changes_of

        place = os.path.join(self._project.root, path)
        if state is not None and expected is not None and (kind, state.top.hex()) == (expected.kind, expected.hash):
            changed = changes_of(self._index, path, place, state, is_file=kind == "file")
            if next(changed, None) is None:
                return expected
        return MadeOutput(kind, _UNKNOWN, 0, 0)

    def _survey(self, path: str, kind: OutputKind) -> Iterator[Suspect]:
        state = self._index.state(path)
        rows = self._index.rows(state.number) if state is not None else iter(())
        place = os.fsencode(os.path.join(self._project.root, path))
        return (survey_file if kind == "file" else survey)(place, rows)

    def _kind(self, path: str) -> OutputKind | None:
        try:
            mode = os.lstat(os.path.join(self._project.root, path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return "directory" if stat.S_ISDIR(mode) else "file"

    def keep(self, path: str) -> MadeOutput:
        """Have what lies at a path in the local bucket; only what changed since it was known is read."""
        from penstock.project.local_bucket import bucket_lock
        from penstock.project.pointer_files import check_path
        from penstock.project.work_index import look_anew
        from penstock.repo.tracked.addition import add_version

        check_path(self._project, path)
        look_anew(self._project)
        kind = self._kind(path)
        if kind is None:
            raise NotFoundError(f"there is nothing at {path!r}")
        state = self._index.state(path)
        base = self._known(state.top.hex()) if state is not None and state.top else None
        with bucket_lock(self._project), self._index.writing(path) as writer:
            if base is None:
                writer.clear()
                writer.flush()
            findings = self._survey(path, kind)
            stages = SILENT.stage("reading"), SILENT.stage("storing")
            made = add_version(self._local, self._dataset, base, findings, writer, *stages, [])
        manifest = made.manifest
        self._manifests[manifest.top_hash.hex()] = manifest
        self._had[manifest.top_hash.hex()] = True
        return MadeOutput(kind, manifest.top_hash.hex(), manifest.root.entries, manifest.root.size)

    def files(self, path: str) -> Iterator[MadeFile]:
        """Yield the files of what lies at a path, as of the last look."""
        state = self._index.state(path)
        for row in self._index.rows(state.number) if state is not None else ():
            if row[1] in (Kind.FILE, Kind.EXECUTABLE):
                yield MadeFile(os.fsdecode(row[0].replace(b"\0", b"/")), row[6], row[1] == Kind.EXECUTABLE)

    def _known(self, top: str) -> Manifest | None:
        """Return a version of the local bucket; None: it is not there, or damaged."""
        if top not in self._manifests:
            if self._local.store.head(manifest_key(self._dataset, top)) is None:
                return None
            self._manifests[top] = self._local.repository(self._dataset).manifest(bytes.fromhex(top))
        return self._manifests[top]

    # ------------------------------------------------------------------ what is kept

    def has(self, output: MadeOutput) -> bool:
        """Whether a version is here, or in a remote that may be used."""
        return self.has_version(output.hash)

    def has_version(self, top: str) -> bool:
        """Whether a version is here, or in a remote that may be used: asked once."""
        if top not in self._had:
            self._had[top] = self._known(top) is not None or self._is_elsewhere(top)
        return self._had[top]

    def _is_elsewhere(self, top: str) -> bool:
        key = manifest_key(self._dataset, top)
        try:
            return any(store.head(key) is not None for store in self.elsewhere())
        except (AccessError, StoreUnreachableError) as error:
            self.give_up(error)
            return False

    def file_hash(self, top: str, path: str) -> bytes | None:
        """Return the hash of a file of a version; None: there is none."""
        from penstock.manifest.tree import Tree

        try:
            manifest = self._known(top) or self._layered.repository(self._dataset).manifest(bytes.fromhex(top))
            _, entry = Tree(manifest.root, self._layered.load).resolve(tuple(os.fsencode(path).split(b"/")))
        except (NotFoundError, AccessError, StoreUnreachableError):
            return None
        return entry.hash if entry.is_file else None

    def place(self, path: str, output: MadeOutput) -> None:
        """Put a version at a path where nothing is; it is made aside, and comes there by one rename(2)."""
        from penstock.project.pointer_files import check_path
        from penstock.project.stored_version import open_version
        from penstock.project.work_index import look_anew
        from penstock.repo.local_copy.local_directory import LocalDirectory
        from penstock.repo.tracked.checkout import check_out, check_out_file

        check_path(self._project, path)
        look_anew(self._project)
        place = os.path.join(self._project.root, path)
        work = os.path.join(self._project.state, "stages", "place", os.urandom(8).hex())
        os.makedirs(work, mode=0o700)
        snapshot = open_version(self._layered, self._dataset, bytes.fromhex(output.hash))
        target = os.path.join(work, os.path.basename(path))
        try:
            with self._index.writing(path) as writer:
                writer.clear()
                writer.flush()
                stage = SILENT.stage("checking out")
                if output.kind == "file":
                    with closing(LocalDirectory(work)) as directory:
                        name = os.fsencode(os.path.basename(path))
                        done = check_out_file(snapshot, None, directory, name, writer, stage)
                else:
                    with closing(LocalDirectory(target, make=True)) as directory:
                        done = check_out(snapshot, None, directory, writer, stage)
                if done.lost:
                    raise IntegrityError(f"{path!r} cannot be put back", why="; ".join(done.reasons[:3]))
                move(target, place)
        finally:
            remove(work)

    def extract(self, top: str, paths: frozenset[str], directory: str) -> None:
        """Write some files of a version into an empty directory. NotFoundError: there is no such version any more."""
        from penstock.project.stored_version import open_version
        from penstock.repo.local_copy.choice import choose
        from penstock.repo.local_copy.copy_task import CopyTask
        from penstock.repo.local_copy.local_directory import LocalDirectory

        snapshot = open_version(self._layered, self._dataset, bytes.fromhex(top))
        choice = choose(sorted(paths) if len(paths) <= _FEW else (), ())
        with closing(LocalDirectory(directory)) as local:
            report = CopyTask(snapshot, local, choice, SILENT.stage("checking out")).run()
        if report.lost:
            raise IntegrityError("files of earlier runs cannot be had", why="; ".join(report.reasons[:3]))
