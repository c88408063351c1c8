"""A version that has some of the files of another one in the same bucket: nodes are written, data stays where it is.

Entries are taken as they are, in tree order, and with them the directories that they lie in. Memory does not grow with
their number. Blocking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import structs

from penstock.manifest.entry import TreeEntry
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.write.version_writer import VersionWriter

from .edits import EditsReport

__all__ = ["publish_subset"]

_Names = tuple[bytes, ...]


def publish_subset(
    writer: VersionWriter,
    source: Snapshot,
    chosen: Iterable[tuple[_Names, TreeEntry]],
    metadata: bytes,
    progress: Progress = SILENT,
) -> EditsReport:
    """Make of some files of `source`, in tree order, the next version of the writer's branch, and nothing else.

    `metadata` is to be the version's. IntegrityError: the source is gone by now. ConflictError: the branch has moved.
    """
    writer.check_names()
    writer.hold()
    # What the entries lead to was found before the lease was held: what names it has to be there still.
    if source.commit_id is not None:
        source.repository.commit(source.commit_id)
    source.repository.manifest(source.top_hash)
    stage = progress.stage("writing", unit="items")

    def edits() -> Iterator[Edit]:
        above: _Names = ()
        for names, entry in chosen:
            parent = names[:-1]
            if parent != above:
                same = 0
                while same < min(len(above), len(parent)) and above[same] == parent[same]:
                    same += 1
                for depth in range(same + 1, len(parent) + 1):
                    folder = source.tree.resolve(parent[:depth])[1]
                    yield Edit(parent[:depth], structs.replace(folder, directory=EMPTY_DIRECTORY))
                above = parent
            yield Edit(names, entry)
            stage.advance(1)

    with writer.content(writer.base(), enter=False) as content:
        manifest = content.finish(update(EMPTY_DIRECTORY, edits(), source.load, content), metadata)
    landed = writer.publish(manifest)
    writer.tag_version(landed.published)
    return EditsReport(landed, content.sent[True], content.sent[False])
