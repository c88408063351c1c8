"""Commit an overlay: what changed becomes the next version of a branch, and the overlay is clean at it.

Five steps, in two threads, so that a mount goes on meanwhile; their order stands in `steps.commit_steps`:

    begin    the overlay's thread   freeze: later writes go to other data files; tables are read in a snapshot
    build    any thread             data and nodes are sent, a manifest is made; the branch is as it was
    intend   the overlay's thread   note what is about to land, so that a crash cannot make it be forgotten
    land     the same as `build`    merge with what others did, and publish
    name     the same, instead      nothing was changed: the version that is there gets the tag and the branch
    settle   the overlay's thread   the overlay takes note, in steps of a millisecond (`settlement`)

and `close`, whatever happened. Up to `settle` the overlay's tree is what it was, whichever step fails.

**Invariant:** between `begin` and `close` no data file that the snapshot speaks of is changed or removed.

`recovery.Recovery` settles a commit that landed and whose process died before it took note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from penstock.errors import ConflictError, PenstockError, StoreUnreachableError, UsageError
from penstock.manifest import diff
from penstock.manifest.entry import display_path
from penstock.overlay.outcomes import CommitReport, PathConflict
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.intent import Intent, clear_intent, read_intent
from penstock.overlay.tree.editor import Editor
from penstock.progress import Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.history.branches import make_branch
from penstock.repo.history.side_choice import choice
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.refs.refs import write_id
from penstock.repo.refs.repository import VersionId
from penstock.repo.settings.settings import Settings
from penstock.repo.write.landing import Landed
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter

from .commit_options import CommitOptions
from .recovery import moved, others
from .settlement import Settlement, Settling
from .version_build import Frozen, build_version

__all__ = ["OverlayCommit"]


class OverlayCommit:
    """One commit of `overlay`, whose lower layer is `version`. See the module for what each call does.

    Any of `penstock.errors` may come up, and OSError from the overlay's disk; then nothing is lost, and it can be
    done again: what was sent is found again. UsageError: the options contradict each other.
    """

    def __init__(
        self,
        overlay: Overlay,
        editor: Editor,
        version: Snapshot,
        settings: Settings,
        options: CommitOptions,
    ) -> None:
        origin = overlay.origin
        assert origin is not None  # one that is of nothing is not opened for this
        self._overlay = overlay
        self._editor = editor
        self._version = version
        self._settings = settings
        self._origin = origin
        self._branch = options.branch or origin.ref
        self._tag = options.tag
        # To a merge the branch is ours, and what is committed theirs; to whoever commits it is the other way round.
        self._choose = choice(ours=options.theirs, theirs=options.ours)
        self._times = options.times
        self._dry_run = options.dry_run
        self._authorship = Authorship(options.author, options.message, "commit", mark=write_id())
        self._open = ExitStack()
        self._frozen: Frozen | None = None
        self._writer: VersionWriter | None = None
        self._settlement: Settlement | None = None
        self._manifest = origin.manifest
        self._landed: Landed | None = None
        self._moved = origin
        self._others: Sequence[diff.Change] = ()
        self._intended = False
        self._certain = True
        self._settling: Settling | None = None
        self.report = CommitReport(origin.handle, self._branch, origin.manifest.top_hash)

    def begin(self) -> None:
        """Freeze what is there now. ConflictError: an earlier commit has to be recovered first."""
        if read_intent(self._overlay.records) is not None:
            raise ConflictError(
                "an earlier commit of this overlay was interrupted",
                why="whether it has landed is not known",
                fix="Commit again: that is looked up first.",
            )
        self._settlement = self._open.enter_context(closing(Settlement(self._overlay.directory)))
        counters = self._editor.freeze()
        self._open.enter_context(self._overlay.content.keep(counters.generation))
        reader = self._open.enter_context(self._overlay.records.snapshot())
        self._frozen = Frozen(self._origin, counters, reader, self._overlay.content)

    def build(self, progress: Progress) -> bool:
        """Make the version; False when there is nothing to land: nothing changed, or it is a dry run."""
        assert self._frozen is not None  # begun
        assert self._settlement is not None
        self._writer = writer = self._open.enter_context(
            VersionWriter(
                self._version.session,
                self._version.repository,
                LeaseKind.COMMIT,
                self._authorship,
                branch=self._branch,
                tag=self._tag,
                progress=progress,
                dry_run=self._dry_run,
            )
        )
        writer.check_names()
        tries = writer.try_to_land(self._origin.commit)
        built = build_version(self._frozen, self._version, writer, self._settlement, progress, times=self._times)
        self.report.risk = writer.risk
        report = self.report
        report.times, report.times_dropped = (built.times, 0) if self._times else (0, built.times)
        self._manifest = built.manifest
        report.top_hash = built.manifest.top_hash
        report.changed = report.top_hash != self._origin.manifest.top_hash
        report.files, report.bytes, report.skipped = built.files, built.bytes, built.skipped
        report.bytes_uploaded, report.objects_uploaded = built.data.bytes, built.data.objects
        report.metadata_bytes_uploaded, report.metadata_objects_uploaded = built.nodes.bytes, built.nodes.objects
        if tries and report.changed:
            report.merged_with, merged = writer.tried_merge(self._origin.commit, built.manifest, self._choose)
            report.conflict_count = merged.conflict_count
            # To the merge the branch is ours.
            report.conflicts = [
                PathConflict(display_path(each.path), each.theirs.value, each.ours.value) for each in merged.conflicts
            ]
        if not report.changed or self._dry_run:
            return False
        writer.check_tag(built.manifest)
        return True

    def name(self) -> None:
        """Give the version that the overlay is clean at the tag and the new branch that were asked for, if any.

        After a `build` that found nothing to land. UsageError: it is known by its content alone, no commit of it.
        """
        writer = self._writer
        assert writer is not None  # built
        new_branch = self._branch != self._origin.ref and writer.head is None
        if self._dry_run or (self._tag is None and not new_branch):
            return
        if self._origin.commit is None:
            raise UsageError(
                f"{self._origin.handle!r} names a content, and no commit",
                why="tags and branches stand for commits",
                fix="Mount a branch, a tag or a commit: penstock log shows them.",
            )
        standing = self._origin.version
        writer.hold(standing)
        self.report.risk = writer.risk
        published = VersionId(standing.top_hash, self._origin.commit)
        if new_branch:
            make_branch(writer, published)
            self._moved = moved(
                self._origin, self._branch, published.known_commit, self._origin.manifest, self._version
            )
            self.report.handle, self.report.branched = self._moved.handle, True
        self.report.tagged = writer.tag_version(published)
        self.report.commit = published.commit

    def intend(self) -> None:
        """Note what is about to land. OSError: the overlay's disk is full."""
        assert self._frozen is not None
        counters = self._frozen.counters
        intent = Intent(
            self._authorship.mark,
            self._branch,
            self._origin.commit,
            self._manifest,
            counters.sequence,
            counters.generation,
        )
        self._overlay.records.change([intent.change()])
        self._intended = True
        self._overlay.records.checkpoint()

    def land(self) -> None:
        """Publish, merged with what others did. MergeConflictError names the paths that both changed."""
        writer = self._writer
        assert writer is not None  # built
        self._certain = False
        try:
            landed = writer.land(self._origin.commit, self._manifest, self._choose)
        except StoreUnreachableError:
            raise  # the last request may have been heard: the intent stays until that is known
        except PenstockError:
            self._certain = True
            raise
        self._others = others(self._origin, self._manifest, landed.manifest, self._version)
        self._moved = moved(self._origin, self._branch, landed.published.known_commit, landed.manifest, self._version)
        self._landed = landed
        report = self.report
        report.handle = self._moved.handle
        report.commit, report.merged_with = landed.published.known_commit, landed.merged_with
        report.top_hash = landed.manifest.top_hash
        writer.tag_version(landed.published)

    def settle(self, is_open: Callable[[int], bool]) -> Settling:
        """Return the steps by which the overlay takes note; after `land`, or `build` that found nothing to land."""
        assert self._frozen is not None
        self._settling = Settling(
            self._overlay,
            self._editor,
            self._moved,
            self._frozen.counters.sequence,
            self._others,
            self._frozen.reader,
            self._settlement,
            is_open,
        )
        return self._settling

    @property
    def leaves_layers(self) -> bool:
        """Whether it froze what it did not settle: after `close` that is for `layer_merge` to merge."""
        return self._frozen is not None and (self._settling is None or not self._settling.noted)

    def close(self) -> None:
        """Let go of the snapshot. A commit that surely did not land leaves no trace."""
        with self._open:
            if self._intended and self._certain and self._landed is None:
                self._overlay.records.change([clear_intent()])
