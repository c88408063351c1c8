"""The JSON objects around a tree: manifest, commit, reference, dataset. Strict both ways, small, readable by eye.

Each carries ``"penstock": 1``, or a manifest whose metadata is a document 2; a higher number is refused before
anything else is looked at.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeVar

import msgspec

from penstock.errors import FormatTooNewError, IntegrityError, UsageError

from .entry import BLOCK_SIZE, INLINE_METADATA, MAX_METADATA, MAX_SIZE, DocumentRef, Location, Metadata, NodeRef
from .frame import MAX_FRAME
from .hashing import HASH_SIZE, commit_id, documented_top_hash, top_hash
from .metadata import canonical_json, parse_metadata
from .rules import COUNT_LIMIT

__all__ = [
    "FORMAT",
    "MAX_RECORD",
    "BranchRules",
    "CheckRule",
    "Commit",
    "DatasetInfo",
    "HeldRules",
    "Manifest",
    "PolicyRecord",
    "ProtectionRecord",
    "RefRecord",
    "format_time",
    "parse_time",
]

FORMAT = 1
_DOCUMENTED = 2
"""The format of a manifest whose metadata is a document: what reads format 1 alone must not take it for empty."""
MAX_RECORD = 1 << 20
"""Bytes of the largest record that is read."""

_T = TypeVar("_T")


class _Version(msgspec.Struct):
    penstock: int


class _Root(msgspec.Struct, frozen=True):
    hash: str
    entries: int
    size: int
    pack: str
    offset: int
    length: int
    digest: str


class _Document(msgspec.Struct, frozen=True):
    hash: str
    size: int
    pack: str
    offset: int
    length: int
    digest: str


class _ManifestJson(msgspec.Struct, frozen=True):
    top_hash: str
    block_size: int
    root: _Root
    metadata: dict[str, Any] = {}
    document: _Document | msgspec.UnsetType = msgspec.UNSET


def _decode(body: bytes, kind: type[_T], what: str, newest: int = FORMAT) -> tuple[_T, int]:
    if len(body) > MAX_RECORD:
        raise IntegrityError(f"a {what} of {len(body)} bytes", why=f"the most is {MAX_RECORD}")
    try:
        version = msgspec.json.decode(body, type=_Version).penstock
        if version > newest:
            raise FormatTooNewError(
                f"a {what} of format {version}",
                why=f"this Penstock reads up to format {newest}",
                fix="Upgrade Penstock.",
            )
        if version < 1:
            raise IntegrityError(f"a {what} of format {version}", why="there is no such format")
        return msgspec.json.decode(body, type=kind), version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"a {what} is malformed", why=str(error)) from error


def _encode(record: msgspec.Struct, version: int = FORMAT) -> bytes:
    """Write a record as JSON; what of it is bytes are digests, in hex there."""
    fields = {name: _hex(found) for name, found in msgspec.structs.asdict(record).items() if found is not msgspec.UNSET}
    return msgspec.json.format(msgspec.json.encode({"penstock": version, **fields}), indent=1)


def _hex(found: Any) -> Any:
    if isinstance(found, tuple):
        return [_hex(each) for each in found]
    return found.hex() if isinstance(found, bytes) else found


def _place(place: _Root | _Document, what: str) -> Location:
    where = Location(_hash(place.pack, what), place.offset, place.length, _hash(place.digest, what))
    if not (0 <= where.offset <= MAX_SIZE - MAX_FRAME and 0 < where.length <= MAX_FRAME):
        raise IntegrityError(f"a {what} is malformed", why="what it refers to cannot be where it says")
    return where


def _hash(text: str, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != HASH_SIZE or found.hex() != text:
        raise IntegrityError(f"a {what} is malformed", why=f"{text[:80]!r} is not 64 lower-case hex digits")
    return found


def _check_counts(entries: int, size: int, what: str) -> None:
    if not (0 <= entries < COUNT_LIMIT and 0 <= size <= MAX_SIZE):
        raise IntegrityError(f"a {what} is malformed", why="its counts are out of bounds")


def format_time(when: dt.datetime) -> str:
    """Write a moment as ISO 8601 in UTC with microseconds: ``2026-11-21T08:40:00.000000Z``."""
    return when.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str, what: str = "time") -> dt.datetime:
    """Read what `format_time` wrote; IntegrityError otherwise."""
    why = f"{text[:80]!r} is no time in UTC with microseconds"
    try:
        found = dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise IntegrityError(f"a {what} is malformed", why=why) from error
    if format_time(found) != text:
        raise IntegrityError(f"a {what} is malformed", why=why)
    return found


class Manifest(msgspec.Struct, frozen=True):
    """A version's content: the root of its tree, and metadata of the whole."""

    root: NodeRef
    metadata: Metadata = b""

    def __post_init__(self) -> None:
        # What builds a tree makes a document of it (`build.keep_metadata`): a record has no room for so much.
        assert isinstance(self.metadata, DocumentRef) or len(self.metadata) <= INLINE_METADATA

    @property
    def logical(self) -> bytes:
        """What the top hash is the hash of."""
        root = self.root
        common = (BLOCK_SIZE, root.hash, root.entries, root.size)
        if isinstance(self.metadata, DocumentRef):
            return msgspec.msgpack.encode((_DOCUMENTED, *common, (self.metadata.size, self.metadata.hash)))
        return msgspec.msgpack.encode((FORMAT, *common, self.metadata))

    @property
    def top_hash(self) -> bytes:
        """The hash of all that the version contains: names, kinds, bytes and metadata; not times, not places."""
        return (documented_top_hash if isinstance(self.metadata, DocumentRef) else top_hash)(self.logical)

    def encode(self) -> bytes:
        """Write the record."""
        root, metadata = self.root, self.metadata
        common = self.top_hash.hex(), BLOCK_SIZE, _Root(root.hash.hex(), root.entries, root.size, *_text(root.location))
        if isinstance(metadata, DocumentRef):
            document = _Document(metadata.hash.hex(), metadata.size, *_text(metadata.location))
            return _encode(_ManifestJson(*common, {}, document), _DOCUMENTED)
        return _encode(_ManifestJson(*common, parse_metadata(metadata)))

    @classmethod
    def decode(cls, body: bytes, expected: bytes) -> Manifest:
        """Read the record of the version whose top hash is `expected`, and hold it against that hash."""
        found, version = _decode(body, _ManifestJson, "manifest", _DOCUMENTED)
        if found.block_size != BLOCK_SIZE:
            raise IntegrityError("a manifest is malformed", why=f"its block size is {found.block_size}")
        root = found.root
        where = _place(root, "manifest")
        _check_counts(root.entries, root.size, "manifest")
        metadata = _document(found) if version == _DOCUMENTED else _inline(found)
        manifest = cls(NodeRef(_hash(root.hash, "manifest"), root.entries, root.size, where), metadata)
        if manifest.top_hash != expected or found.top_hash != expected.hex():
            raise IntegrityError(
                "a manifest is not the one that was asked for",
                why=f"its content hashes to {manifest.top_hash.hex()}, not to {expected.hex()}",
            )
        return manifest


def _text(where: Location) -> tuple[str, int, int, str]:
    return where.pack.hex(), where.offset, where.length, where.digest.hex()


def _inline(found: _ManifestJson) -> bytes:
    try:
        metadata = canonical_json(found.metadata)
    except UsageError as error:
        raise IntegrityError("a manifest is malformed", why=str(error)) from error
    if len(metadata) > INLINE_METADATA:
        raise IntegrityError("a manifest is malformed", why=f"its metadata takes {len(metadata)} bytes")
    return metadata


def _document(found: _ManifestJson) -> DocumentRef:
    document = found.document
    if not isinstance(document, _Document) or found.metadata:
        raise IntegrityError("a manifest is malformed", why="it has no document, or metadata besides")
    if not INLINE_METADATA < document.size <= MAX_METADATA:
        raise IntegrityError("a manifest is malformed", why=f"its document has {document.size} bytes")
    return DocumentRef(_hash(document.hash, "manifest"), document.size, _place(document, "manifest"))


class _CommitJson(msgspec.Struct, frozen=True):
    top_hash: str
    entries: int
    size: int
    parents: tuple[str, ...]
    author: str
    time: str
    message: str
    environment: dict[str, str] = {}
    attachments: _Root | msgspec.UnsetType = msgspec.UNSET


class Commit(msgspec.Struct, frozen=True):
    """A version in its history; `time` is as `format_time` writes it.

    `environment` says how the version came to be: text by name. `attachments`: a directory of files that were made of
    the version, and are no part of what its top hash stands for; None: there are none.
    """

    top_hash: bytes
    entries: int
    size: int
    parents: tuple[bytes, ...]
    author: str
    time: str
    message: str
    environment: dict[str, str] = {}
    attachments: NodeRef | None = None

    def encode(self) -> bytes:
        """Write the record; its id is `hashing.commit_id` of these bytes."""
        found = self.attachments
        fields = {name: _hex(value) for name, value in msgspec.structs.asdict(self).items() if name != "attachments"}
        root = _Root(found.hash.hex(), found.entries, found.size, *_text(found.location)) if found else msgspec.UNSET
        return _encode(_CommitJson(**fields, attachments=root))

    @classmethod
    def decode(cls, body: bytes, expected: bytes) -> Commit:
        """Read the record whose id is `expected`."""
        found, _ = _decode(body, _CommitJson, "commit")
        if commit_id(body) != expected:
            raise IntegrityError("a commit is not the one that was asked for", why=f"expected {expected.hex()}")
        parse_time(found.time, "commit")
        _check_counts(found.entries, found.size, "commit")
        return cls(
            _hash(found.top_hash, "commit"),
            found.entries,
            found.size,
            tuple(_hash(text, "commit") for text in found.parents),
            found.author,
            found.time,
            found.message,
            found.environment,
            _attachments(found),
        )


def _attachments(found: _CommitJson) -> NodeRef | None:
    root = found.attachments
    if not isinstance(root, _Root):
        return None
    _check_counts(root.entries, root.size, "commit")
    return NodeRef(_hash(root.hash, "commit"), root.entries, root.size, _place(root, "commit"))


class HeldRules(msgspec.Struct, frozen=True):
    """What a move of a protected branch was held against: the number of the record of rules, and versions of others.

    `against`: by what the rules call them, the top hashes that other data sets had.
    """

    rules: int
    against: dict[str, str] = {}


class _RefJson(msgspec.Struct, frozen=True):
    commit: str | None
    top_hash: str | None
    author: str
    time: str
    operation: str
    write_id: str
    protection: HeldRules | msgspec.UnsetType = msgspec.UNSET


class RefRecord(msgspec.Struct, frozen=True):
    """One move of a branch, or a tag. `commit` is None where the branch was deleted.

    `write_id` is random: it tells whose record it is when an answer was lost. `protection` says which rules the move
    was held against; None: none.
    """

    commit: bytes | None
    top_hash: bytes | None
    author: str
    time: str
    operation: str
    write_id: str
    protection: HeldRules | None = None

    def encode(self) -> bytes:
        """Write the record."""
        held = msgspec.UNSET if self.protection is None else self.protection
        fields = {name: _hex(value) for name, value in msgspec.structs.asdict(self).items()}
        return _encode(_RefJson(**{**fields, "protection": held}))

    @classmethod
    def decode(cls, body: bytes) -> RefRecord:
        """Read the record."""
        found, _ = _decode(body, _RefJson, "ref")
        commit, top_hash = (None if text is None else _hash(text, "ref") for text in (found.commit, found.top_hash))
        if (commit is None) != (top_hash is None):
            raise IntegrityError("a ref is malformed", why="it names a commit or a top hash but not both")
        parse_time(found.time, "ref")
        held = found.protection if isinstance(found.protection, HeldRules) else None
        return cls(commit, top_hash, found.author, found.time, found.operation, found.write_id, held)


class DatasetInfo(msgspec.Struct, frozen=True):
    """What a catalogue says of a dataset; not part of any version."""

    title: str
    description: str
    author: str
    created: str
    write_id: str

    def encode(self) -> bytes:
        """Write the record."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> DatasetInfo:
        """Read the record."""
        found, _ = _decode(body, cls, "dataset record")
        parse_time(found.created, "dataset record")
        return found


class CheckRule(msgspec.Struct, frozen=True):
    """One thing that is to hold: which kind of check, and what it is told. The kinds are `repo/protection`'s."""

    check: str
    settings: dict[str, Any] = {}


class BranchRules(msgspec.Struct, frozen=True):
    """What is to hold on a branch, since the record of this number.

    `passed` is the commit that was found to fit when this was said, and `against` what it was compared with.
    """

    checks: tuple[CheckRule, ...]
    since: int = 0
    passed: str | None = None
    against: dict[str, str] = {}


class ProtectionRecord(msgspec.Struct, frozen=True):
    """The rules of a data set, by branch: all of them, in each record."""

    branches: dict[str, BranchRules]
    author: str
    time: str
    write_id: str

    def encode(self) -> bytes:
        """Write the record."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> ProtectionRecord:
        """Read the record."""
        found, _ = _decode(body, cls, "record of rules")
        parse_time(found.time, "record of rules")
        return found


class PolicyRecord(msgspec.Struct, frozen=True):
    """How long versions of a data set are kept, in words."""

    policy: str
    author: str
    time: str
    write_id: str

    def encode(self) -> bytes:
        """Write the record."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> PolicyRecord:
        """Read the record."""
        found, _ = _decode(body, cls, "policy")
        parse_time(found.time, "policy")
        return found
