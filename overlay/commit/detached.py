"""Commit an overlay that nobody has mounted, or give up its changes: all in one thread, which may block."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.manifest.merge import Choose
from penstock.overlay.discard import Discard, Restore
from penstock.overlay.overlay import Overlay
from penstock.overlay.tree.editor import Editor
from penstock.progress import Progress
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

from .layer_merge import LayerMerge
from .overlay_commit import CommitReport, OverlayCommit
from .recovery import Recovery
from .settlement import Settling

__all__ = ["commit_detached", "discard_detached", "recover_detached"]


def commit_detached(
    overlay: Overlay,
    version: Snapshot,
    settings: Settings,
    authorship: Authorship,
    progress: Progress,
    *,
    branch: str | None = None,
    tag: str | None = None,
    choose: Choose | None = None,
    dry_run: bool = False,
) -> CommitReport:
    """Commit an overlay, whose lower layer is in the bucket of `version`; an interrupted commit is settled first.

    Errors as of `overlay_commit.OverlayCommit`.
    """
    editor = _editor(overlay)
    _recover(overlay, editor, version)
    commit = OverlayCommit(
        overlay, editor, version, settings, authorship, branch=branch, tag=tag, choose=choose, dry_run=dry_run
    )
    try:
        commit.begin()
        if commit.build(progress):
            commit.intend()
            commit.land()
        else:
            commit.name()
        if not dry_run:
            _take_steps(commit.settle(_is_open), overlay, version)
    finally:
        commit.close()
        if commit.leaves_layers:
            _take_steps(LayerMerge(overlay, editor), overlay, version)
    overlay.records.checkpoint()
    return commit.report


def discard_detached(overlay: Overlay, version: Snapshot, plan: Sequence[Restore]) -> None:
    """Put back what a plan says. ConflictError: a directory that something was in is not there."""
    _take_steps(Discard(overlay, _editor(overlay), plan, _is_open), overlay, version)
    overlay.records.checkpoint()


def recover_detached(overlay: Overlay, version: Snapshot) -> bool:
    """Settle a commit that landed though its process died; whether there was one such."""
    return _recover(overlay, _editor(overlay), version)


def _recover(overlay: Overlay, editor: Editor, version: Snapshot) -> bool:
    recovery = Recovery(overlay, editor, version)
    if not recovery.is_needed:
        return False
    landed = recovery.look()
    settling = recovery.settle(_is_open)
    if settling is not None:
        _take_steps(settling, overlay, version)
    overlay.records.checkpoint()
    return landed


def _take_steps(steps: Settling | Discard | LayerMerge, overlay: Overlay, version: Snapshot) -> None:
    view = overlay.view(version.load)
    while steps.step(view):
        pass


def _editor(overlay: Overlay) -> Editor:
    return overlay.editor(_is_open, umask=0o022, epoch_ns=0)


def _is_open(inode: int) -> bool:
    """Whether somebody has it open: nobody has, for there is no mount."""
    del inode
    return False
