"""Targets that read bytes: nodes, records of a bucket, handles, settings, traces, ignore files, journals."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from trees.forge import exercise, forge, parts_of
from trees.specimens import IDENTIFIED, INDEX, LEAF
from views.bucket import LocalBucket

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.codec import decode_node, decode_page, encode_page
from penstock.manifest.entry import Location, NodeRef
from penstock.manifest.hashing import commit_id, content_hash, page_hash
from penstock.manifest.records import Commit, DatasetInfo, Manifest, RefRecord, format_time
from penstock.overlay.tables.journal import Journal, journal_path
from penstock.overlay.tables.schema import NAMES, TableChange
from penstock.repo.bucket.leases import leases
from penstock.repo.settings.config_edit import add_remote, remove_remote
from penstock.repo.settings.config_file import read_config
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.warm.trace import Access, Trace, encode_access, encode_header
from penstock.store.opening import open_store

from .campaign import Attempt, Target
from .home import at_home

__all__ = ["TARGETS"]

Opened = Iterator[tuple[Sequence[bytes], Attempt]]

_TIME = format_time(dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC))
_DIGEST = content_hash(b"something")


@contextlib.contextmanager
def _nodes(folder: Path) -> Opened:
    """Nodes as an enemy writes them: any content, all hashes right."""

    def attempt(body: bytes) -> None:
        try:
            kind, logical, physical = msgspec.msgpack.decode(body)
            frame, ref = forge(kind, logical, physical)
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, IndexError, RecursionError):
            return  # no frame says that
        except Exception as error:
            if type(error).__name__ in ("error", "AttributeError"):  # struct's: a type of 300
                return
            raise
        exercise(decode_node(frame, ref))

    samples = []
    for frame in (LEAF, INDEX, IDENTIFIED):
        kind, logical, physical = parts_of(frame)
        samples.append(msgspec.msgpack.encode([kind, logical, physical]))
    yield samples, attempt


@contextlib.contextmanager
def _frames(folder: Path) -> Opened:
    """Frames with anything in them, referred to as they are."""
    hashes = {frame: forge(*parts_of(frame))[1] for frame in (LEAF, INDEX, IDENTIFIED)}
    hashed, page = encode_page(bytes(range(64)))

    def attempt(body: bytes) -> None:
        failures = []
        for ref in hashes.values():
            where = Location(bytes(32), 0, len(body), content_hash(body))
            try:
                exercise(decode_node(body, NodeRef(ref.hash, ref.entries, ref.size, where)))
            except IntegrityError as error:
                failures.append(error)
            else:
                return
        with contextlib.suppress(IntegrityError):
            decode_page(body, hashed)
            return
        with contextlib.suppress(IntegrityError):
            decode_page(body, page_hash(body[16:-4]))
            return
        raise failures[0]

    yield [LEAF, INDEX, IDENTIFIED, page], attempt


@contextlib.contextmanager
def _records(folder: Path) -> Opened:
    """The JSON records of a bucket."""
    root = NodeRef(content_hash(b"root"), 3, 99, Location(content_hash(b"pack"), 7, 100, content_hash(b"frame")))
    manifest = Manifest(root, b'{"a":[1,2.5,"x",{"b":null}]}')
    samples = [
        manifest.encode(),
        Commit(_DIGEST, 3, 99, (_DIGEST,), "me", _TIME, "why\nand how", {"host": "here"}).encode(),
        RefRecord(_DIGEST, _DIGEST, "me", _TIME, "push", "0" * 32).encode(),
        RefRecord(None, None, "me", _TIME, "delete", "0" * 32).encode(),
        DatasetInfo("title", "words", "me", _TIME, "0" * 32).encode(),
    ]
    hashed = re.compile("hashes to ([0-9a-f]{64})")

    def attempt(body: bytes) -> None:
        refused: IntegrityError | None = None
        readers: tuple[Callable[[], Commit | RefRecord | DatasetInfo | Manifest], ...] = (
            lambda: Commit.decode(body, commit_id(body)),
            lambda: RefRecord.decode(body),
            lambda: DatasetInfo.decode(body),
            lambda: Manifest.decode(body, manifest.top_hash),
        )
        for read in readers:
            try:
                read().encode()
            except IntegrityError as error:
                refused = error
            else:
                return
        assert refused is not None
        if match := hashed.search(str(refused)):  # as if its name were right
            wanted = match[1]
            renamed = re.sub(rb'("top_hash": ?")[^"]*', rb"\g<1>" + wanted.encode(), body, count=1)
            Manifest.decode(renamed, bytes.fromhex(wanted)).encode()
            return
        raise refused

    yield samples, attempt


@contextlib.contextmanager
def _handles(folder: Path) -> Opened:
    def attempt(body: bytes) -> None:
        handle = parse_handle(body.decode("utf-8", "surrogateescape"))
        assert parse_handle(str(handle)) == handle

    names = (
        "bucket",
        "bucket/data",
        "bucket/data:main",
        "bucket/data:v1/sub/dir",
        "s3://bucket/data:v1.2/x",
        "file:///srv/store/",
        "file:///srv/a%3Ab/data:main/sub",
        "file:///srv/data",
    )
    yield [name.encode() for name in names], attempt


@contextlib.contextmanager
def _configs(folder: Path) -> Opened:
    path = folder / "config.toml"
    samples = [
        b'[cache]\ndirectory = "/var/cache"\nsize = "50GB"\n\n[remotes.demo]\nurl = "file:///srv/store"\n',
        b"""# mine
[remotes.lab]
url = "s3://lab/data"
endpoint_url = "https://s3.lab.example"
profile = "lab"
region = "eu"
addressing_style = "path"
request_payer = true
sse = "aws:kms"
deadline = 5
[remotes."open"]
url = "s3://open"
anonymous = true
""",
        b'remotes = { a = { url = "file:///a" } }\n',
        b'remotes.a.url = "file:///a"\r\nremotes.b.url = "file:///b"\r\n[cache]\nsize = 33554432\n',
    ]

    def attempt(body: bytes) -> None:
        path.write_bytes(body)
        config = read_config(path)
        for name in ("demo", "a", "new"):
            try:
                add_remote(path, Remote(name=name, url="file:///elsewhere"), replace=True)
            except UsageError:  # written in a way that cannot be edited
                assert path.read_bytes() == body
            else:
                assert read_config(path).remotes[name].url == "file:///elsewhere"
                assert read_config(path).cache_size == config.cache_size
                remove_remote(path, name)
                assert name not in read_config(path).remotes
                path.write_bytes(body)

    yield samples, attempt


@contextlib.contextmanager
def _traces(folder: Path) -> Opened:
    path = folder / "trace"
    lines = [encode_header("demo/photos:main", content_hash(b"top"))]
    lines += [encode_access(Access(f"train/{n}\udcff.png", n, 1 + n % 3, 4711)) for n in range(5)]

    def attempt(body: bytes) -> None:
        path.write_bytes(body)
        trace = Trace(str(path))
        accesses = list(trace)
        assert (len(accesses), sum(access.size for access in accesses)) == (trace.accesses, trace.size)

    yield [b"".join(lines), b"".join(lines[:2])], attempt


@contextlib.contextmanager
def _ignore_files(folder: Path) -> Opened:
    samples = [
        b"*.pyc\n__pycache__/\n!keep.pyc\n/build\ndoc/**/*.tmp\n",
        b"# comment\n\\#file\nfoo[0-9a-f]?*\n**/logs\na/**/b\ntrailing\\ \n",
        b"\xef\xbb\xbf*.o\r\n[!a-c]x\r\n",
        "ä*ö\n[[:alpha:]]\n*a*a*a*a*b\n".encode(),
    ]
    tree = folder / "tree"
    names = ("a" * 60, "build/x.pyc", "/".join("a" * 30) + "/b", "doc/\udcff\udcfe/deep/x.tmp", "äxö/logs", "foo1x")
    for name in names:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with at_home(folder / "home", LocalBucket(folder / "demo").settings) as command:

        def attempt(body: bytes) -> None:
            (tree / ".penstockignore").write_bytes(body)
            command("hash", str(tree))

        yield samples, attempt


@contextlib.contextmanager
def _journals(folder: Path) -> Opened:
    """What a journal yields is a beginning of what was written, or none at all."""
    journal = Journal(str(folder), 1, boot="boot-of-now")
    written = []
    for number in range(6):
        changes = [TableChange(NAMES, b"key %d" % number, b"value" * number or None)]
        journal.append(changes, b"note %d" % number)
        written.append((changes, b"note %d" % number))
        if number == 3:
            journal.mark(journal.changes_end)
    length = journal.length
    journal.close()
    path = Path(journal_path(str(folder), 1))
    sample = path.read_bytes()[: length + 100]

    def attempt(body: bytes) -> None:
        for everything in (True, False):
            path.write_bytes(body)
            opened = Journal(str(folder), 1)
            try:
                found = list(opened.replay(everything=everything))
                assert found == written[: len(found)]
                opened.append([TableChange(NAMES, b"more", b"more")], b"")
                opened.sync()
            finally:
                opened.close()

    yield [sample], attempt


@contextlib.contextmanager
def _leases(folder: Path) -> Opened:
    """Leases that somebody else put into the bucket: whatever they say, what is read of them is bounded and sound."""
    store = open_store(f"file://{folder}/bucket")
    key = f".penstock/leases/gc/{'0' * 32}"
    record = {"penstock": 1, "dataset": "data", "seconds": 600.0, "host": "there", "holds": [_DIGEST.hex()]}

    def attempt(body: bytes) -> None:
        store.put(key, body)
        for lease in leases(store):
            assert lease.modified is not None
            assert lease.ended(lease.modified + 367 * 86400), "it stands for years"
            assert all(len(held) == 32 for held in lease.holds)

    yield [json.dumps(record).encode()], attempt


TARGETS = (
    Target("nodes", _nodes, "msgpack", inputs=4000),
    Target("frames", _frames, inputs=4000),
    Target("records", _records, "json", inputs=4000),
    Target("handles", _handles, inputs=2000),
    Target("config", _configs, inputs=120),
    Target("traces", _traces, inputs=500),
    Target("ignore", _ignore_files, inputs=80),
    Target("journals", _journals),
    Target("leases", _leases, "json"),
)
