"""What is said over a mount's control socket: one question, one answer, a line each (`penstock.wire`).

A question is a request in an envelope that says which protocol it is of. The answer is what the request's own class
names, or an error. What takes its time is a job: it is begun by one request, and asked after by others.

**Invariant:** a daemon and a client of different protocols tell each other so in words: both envelopes begin with
`protocol` and `version`, and a refusal has the error under ``error``, as protocol 1 had it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from penstock import __version__
from penstock.error_form import ErrorForm
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import StageState

__all__ = [
    "PROTOCOL",
    "AccessLogAnswer",
    "AccessLogRequest",
    "AnnounceAnswer",
    "AnnounceRequest",
    "Answer",
    "CancelRequest",
    "ChangesRequest",
    "CheckRequest",
    "CommitRequest",
    "DiscardRequest",
    "Envelope",
    "JobStarted",
    "JobState",
    "JobStateRequest",
    "Question",
    "ReadersAnswer",
    "ReadersRequest",
    "RefreshRequest",
    "Request",
    "RequestRefusal",
    "StatusRequest",
]

PROTOCOL = 3
"""Raised when a message of one version would be misunderstood by another. 1 were untagged dictionaries;
2 called the top hash a version."""


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class StatusRequest(_Request, frozen=True, tag="status"):
    """Answered by `mount_status.MountStatus`."""


class AccessLogRequest(_Request, frozen=True, tag="access-log"):
    """Begin or end to write down every open and read. Answered by `AccessLogAnswer`."""

    on: bool


class AccessLogAnswer(msgspec.Struct, frozen=True):
    """Where accesses are written now, if they are."""

    access_log: str | None


class AnnounceRequest(_Request, frozen=True, tag="announce"):
    """A part of an announcement: `paths` in their order, from the one numbered `at` on; `last`: none follow.

    `client` names who announces, `token` this announcement. Answered by `AnnounceAnswer`.
    """

    client: Annotated[str, msgspec.Meta(max_length=300)]
    token: Annotated[str, msgspec.Meta(max_length=64)]
    at: Annotated[int, msgspec.Meta(ge=0)]
    paths: list[str]
    last: bool


class AnnounceAnswer(msgspec.Struct, frozen=True):
    """So many of the paths were found in time; the others are to be sent again."""

    taken: int


class ReadersRequest(_Request, frozen=True, tag="readers"):
    """Which versions has a process opened files of, itself or by those that it has started? By `ReadersAnswer`."""

    process: int
    started: int


class ReadersAnswer(msgspec.Struct, frozen=True):
    """Top hashes and commits, in hex. `changed`: there are changes that are in no version."""

    versions: list[tuple[str, str | None]]
    changed: bool


class CommitRequest(_Request, frozen=True, tag="commit"):
    """A job; its result is `overlay_commit.CommitReport`."""

    options: CommitOptions


class ChangesRequest(_Request, frozen=True, tag="changes"):
    """A job; its lines are `changes.ChangeLine`, and every one of them with `every`."""

    every: bool = False


class RefreshRequest(_Request, frozen=True, tag="refresh"):
    """A job; its result is `steps.RefreshReport`."""

    rebase: bool = False


class DiscardRequest(_Request, frozen=True, tag="discard"):
    """A job; its lines are `changes.DiscardLine`."""

    paths: list[str] = []
    dry_run: bool = False


class CheckRequest(_Request, frozen=True, tag="check"):
    """A job; its lines are `inspection.Finding`, its result is `overlay_check.CheckReport`."""


class JobStarted(msgspec.Struct, frozen=True):
    """The answer to what begins a job."""

    job: int


class JobStateRequest(_Request, frozen=True, tag="job"):
    """Ask how far a job is, and take its lines. Answered by `JobState`, or by the error that it ended with."""

    job: int


class JobState(msgspec.Struct, frozen=True):
    """How far a job is. `lines` are given out once; `result` is there when it is done."""

    done: bool
    progress: list[StageState]
    lines: list[Any]
    result: Any = None


class CancelRequest(_Request, frozen=True, tag="cancel"):
    """Have a job end where nothing is half-done. Answered by `JobState`, without lines."""

    job: int


Request: TypeAlias = (
    StatusRequest
    | AccessLogRequest
    | AnnounceRequest
    | ReadersRequest
    | CommitRequest
    | ChangesRequest
    | RefreshRequest
    | DiscardRequest
    | CheckRequest
    | JobStateRequest
    | CancelRequest
)


class Envelope(msgspec.Struct, frozen=True):
    """What every message of every protocol from 2 on begins with; of 1, what it lacks."""

    protocol: int = 1
    version: Annotated[str, msgspec.Meta(max_length=100)] = ""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends."""

    request: Request
    protocol: int = PROTOCOL
    version: str = __version__


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What a request was answered with, in the form of its answer."""

    answer: Any
    protocol: int = PROTOCOL
    version: str = __version__


class RequestRefusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Why it was not."""

    error: ErrorForm
    protocol: int = PROTOCOL
    version: str = __version__
