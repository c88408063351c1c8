"""The content of a version in the making: new bytes and nodes on their way to the bucket, and where the old ones lie.

**Invariant:** nothing that anybody sees changes: what is sent is named by its hash, and the same content in the same
order makes the same objects, so that work that was cut off and is done again sends nothing twice.

One thread; what is sent is sent by threads of `upload`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from penstock.manifest.build import DiscardSink, keep_metadata
from penstock.manifest.entry import Extent, Metadata, NodeRef
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Stage
from penstock.repo.bucket import object_keys
from penstock.repo.session.bucket_session import BucketSession

from .data_pack import DataPack
from .known_places import KnownPlaces
from .node_pack import NodePackWriter
from .tried_nodes import TriedNodes
from .upload import Sent, Upload

__all__ = ["VersionContent", "open_content"]


class _Counted:
    """Counts what an `Upload` would send: for a dry run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._known: set[str] = set()
        self.sent = {False: Sent(), True: Sent()}

    def send(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Count an object, once."""
        if key not in self._known:
            self._known.add(key)
            self.sent[data].objects += 1
            self.sent[data].bytes += len(body)
            self._stage.advance(len(body))

    def finish(self) -> None:
        """Nothing is on its way."""


class VersionContent:
    """Takes contents and nodes; `finish` sees to it that all of it is in the bucket. Made by `open_content`.

    The `NodeSink` of what builds or edits the tree. `sent[True]` counts data objects, `sent[False]` packs of nodes.
    """

    def __init__(
        self, upload: Upload | _Counted, places: KnownPlaces, *, dry_run: bool, tried: TriedNodes | None = None
    ) -> None:
        self._upload = upload
        self._places = places
        self.data = DataPack(upload, None if dry_run else places)
        self._dry_run = dry_run
        self._nodes = NodePackWriter(self._send_nodes) if not dry_run else None
        if tried is not None:
            self._nodes = NodePackWriter(lambda _, body: tried.keep(body))
        sink = self._nodes or DiscardSink()
        self.foresee = places.foresee
        self.write, self.write_apart, self.resolve = sink.write, sink.write_apart, sink.resolve
        self.sent = upload.sent

    def _send_nodes(self, key: str, body: bytes) -> None:
        self._upload.send(key, body, data=False)

    def pack(self, data: bytes | bytearray, digest: bytes) -> Extent:
        """Return where a small content lies that the bucket has; else put it into the pack that is being filled.

        What lies in that pack goes through a `PackQueue` of `data`.
        """
        size = len(data)
        found = self.data.find(digest, size)
        if found is not None:
            return found
        place = self._places.find(digest, size)
        if place is not None:
            return Extent(*place, size)
        if not self.data.fits(size):
            self.data.seal()
        return self.data.add(data, digest)

    def send(self, data: bytes | bytearray, digest: bytes) -> Extent:
        """Send a content as an object of its own. Raises what an earlier one could not be sent for."""
        self._upload.send(object_keys.data_key(digest), data, data=True)
        return Extent(digest, 0, len(data))

    def send_object(self, key: str, body: bytes | bytearray, *, data: bool) -> None:
        """Send an object as another bucket has it, under the hash that it was held against."""
        self._upload.send(key, body, data=data)

    def finish_data(self) -> None:
        """Wait until all data is in the bucket that was taken so far, the last pack being sealed."""
        self._upload.finish()

    def finish(self, root: NodeRef, metadata: Metadata = b"") -> Manifest:
        """Return what the version contains, once all of it is in the bucket; the last queue has come to its rest."""
        metadata = keep_metadata(metadata, self)
        if self._nodes is None:
            return Manifest(root, metadata)
        self._nodes.flush()
        self._upload.finish()
        manifest = Manifest(self._nodes.located(root), self._nodes.located_metadata(metadata))
        if self._dry_run:
            return manifest
        self._places.published(manifest.top_hash)
        return manifest


@contextmanager
def open_content(
    session: BucketSession,
    base: Manifest | None,
    stage: Stage,
    *,
    enter: bool = True,
    dry_run: bool = False,
    like: Sequence[str] = (),
    tried: TriedNodes | None = None,
) -> Iterator[VersionContent]:
    """Open the content of a version to come, made from `base`. With `dry_run` nothing is sent, and hashes alone count.

    `tried` keeps the nodes of a dry run. `enter`, `like`: see `KnownPlaces`. `stage` is told bytes that were sent.
    """
    tree = Tree(base.root, session.load) if base is not None else None
    with ExitStack() as stack:
        index = stack.enter_context(session.locations())
        top_hash = base.top_hash if base is not None else None
        places = KnownPlaces(session.store, index, tree, top_hash, enter=enter, like=like)
        upload = _Counted(stage) if dry_run else stack.enter_context(closing(Upload(session.store, stage)))
        yield VersionContent(upload, places, dry_run=dry_run, tried=tried)
