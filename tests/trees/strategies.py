"""Hypothesis strategies: names, entries of every kind, whole trees, and edits of a tree."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from blake3 import blake3
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from penstock.errors import ConflictError, NotFoundError
from penstock.manifest.build import MemorySink, with_blocks
from penstock.manifest.entry import BLOCK_SIZE, MAX_SIZE, Extent, External, Kind, TreeEntry, block_count
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.metadata import canonical_json
from penstock.manifest.tree import Tree
from penstock.manifest.update import Edit

from .model import File, Folder, Path, find

__all__ = [
    "Made",
    "Step",
    "apply",
    "as_edits",
    "edits_for",
    "file_of",
    "files",
    "folders",
    "json_objects",
    "names",
    "quick",
    "steps",
]

quick = settings(
    deadline=None,
    max_examples=80,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
"""For tests that build trees: few examples, the same ones each time."""

_FORBIDDEN = (b".", b"..")

names = (
    st.one_of(
        st.binary(min_size=1, max_size=6).filter(lambda name: not {0, 47} & set(name)),
        st.integers(0, 999).map(lambda number: b"%03d" % number),
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=8).map(
            lambda text: text.encode()
        ),
        st.sampled_from([b"x" * 255, b"...", b" ", b"\n", b"\xff\xfe", b"-", b"a b", "é".encode(), b"\x01"]),
    )
    .filter(lambda name: name not in _FORBIDDEN)
    .filter(lambda name: len(name) <= 255)
)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_values: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=8,
)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(_keys, _values, max_size=4)

_hashes = st.binary(min_size=1, max_size=2).map(content_hash)
_externals = st.builds(
    External,
    st.sampled_from(["s3://bucket/key", "s3://b/ä/ö?x=1", "file:///srv/data/file"]),
    st.none() | st.just("v1"),
    st.none() | st.just("0123abcd"),
)
_mtimes = st.integers(-(1 << 62), 1 << 62) | st.sampled_from([None, 0, 1 << 63, (1 << 64) - 1])
_metadata = st.just(b"") | json_objects.map(canonical_json)


@st.composite
def files(draw: st.DrawFn, name: st.SearchStrategy[bytes] = names) -> File:
    """A file, executable or not, or a symlink, with whatever goes with its size."""
    own = draw(name)
    mtime, metadata = draw(_mtimes), draw(_metadata)
    kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.EXECUTABLE, Kind.SYMLINK]))
    if kind is Kind.SYMLINK:
        target = draw(st.binary(min_size=1, max_size=12).filter(lambda target: 0 not in target) | st.just(b"t" * 4095))
        return File(TreeEntry(own, kind, len(target), content_hash(target), mtime, metadata, target))
    blocks_wanted = draw(st.sampled_from([0, 1, 1, 1, 2, 3, 32, 33, 1024, 1025]))
    size = max(0, blocks_wanted * BLOCK_SIZE - draw(st.integers(0, BLOCK_SIZE - 1)))
    blocks = b""
    if size == 0:
        digest = content_hash(b"")
    elif block_count(size) == 1:
        digest = draw(_hashes)
    else:
        blocks = blake3(draw(st.binary(max_size=2))).digest(32 * block_count(size))
        digest = hash_of_blocks(size, blocks)
    extents = _extents(draw, size) if size else ()
    return File(TreeEntry(own, kind, size, digest, mtime, metadata, extents=extents), blocks)


def _extents(draw: st.DrawFn, size: int) -> tuple[Extent, ...]:
    cuts = draw(st.sets(st.integers(1, size - 1), max_size=3)) if size > 1 else set()
    edges = [0, *sorted(cuts), size]
    extents = []
    for start, end in pairwise(edges):
        offset = draw(st.integers(0, 1 << 40) | st.just(MAX_SIZE - (end - start)))
        extents.append(Extent(draw(_hashes | _externals), offset, end - start))
    return tuple(extents)


def file_of(name: bytes, flavour: int) -> File:
    """Return a file or symlink that depends on a number only: cheap to draw when hundreds are needed."""
    seed = blake3(flavour.to_bytes(8, "little")).digest()
    kind = Kind.EXECUTABLE if flavour % 5 == 0 else Kind.FILE
    metadata = canonical_json({"n": flavour}) if flavour % 3 == 0 else b""
    if flavour % 11 == 10:
        target = b"../%d" % flavour
        return File(TreeEntry(name, Kind.SYMLINK, len(target), content_hash(target), flavour, metadata, target))
    if flavour % 11 == 9:
        return File(TreeEntry(name, kind, 0, content_hash(b""), flavour, metadata))
    if flavour % 11 < 7:
        extents = (Extent(seed, flavour, 1 + flavour),)
        return File(TreeEntry(name, kind, 1 + flavour, blake3(seed).digest(), flavour, metadata, extents=extents))
    count = (34 if flavour % 11 == 8 else 2) + flavour % 3
    size = (count - 1) * BLOCK_SIZE + 1 + flavour
    blocks = blake3(seed).digest(32 * count)
    half = size // 2
    halves = (Extent(seed, 0, half), Extent(External("s3://elsewhere/object", "v"), 7, size - half))
    return File(TreeEntry(name, kind, size, hash_of_blocks(size, blocks), flavour, metadata, extents=halves), blocks)


_flavours = st.integers(0, 199)
_small_names = st.one_of(st.integers(0, 40).map(lambda number: b"%02d" % number), names)


@st.composite
def folders(draw: st.DrawFn, most: int = 60, item: st.SearchStrategy[File] | None = None) -> Folder:
    """A tree of up to `most` files, up to four levels deep, with empty directories among them."""
    root = Folder()
    paths = st.lists(_small_names, min_size=1, max_size=4) | st.lists(_small_names, min_size=1, max_size=1)
    for path, flavour, empty in draw(st.lists(st.tuples(paths, _flavours, st.integers(0, 9)), max_size=most)):
        here = root
        for name in path[:-1]:
            below = here.children.setdefault(name, Folder(mtime_ns=flavour, metadata=b'{"d":1}' if empty == 1 else b""))
            if not isinstance(below, Folder):
                break
            here = below
        else:
            file = file_of(path[-1], flavour) if item is None else draw(item)
            if item is not None:
                path[-1] = file.entry.name
            here.children.setdefault(path[-1], Folder(mtime_ns=flavour) if empty == 0 else file)
    return root


Step = tuple[str, int, int, bytes, int]
"""One edit to be: what to do, two numbers that choose paths of the tree, a name, a flavour."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "change", "remove", "remove", "folder", "touch", "move", "copy", "below"]),
        st.integers(0, 1 << 16),
        st.integers(0, 1 << 16),
        _small_names,
        _flavours,
    ),
    max_size=25,
)

Made = tuple[Path, File | Folder | None, Path | None]
"""An edit: where; what (None: nothing); for a directory that takes its content from elsewhere, from where."""


def edits_for(root: Folder, wanted: list[Step]) -> list[Made]:
    """Make steps into edits of this tree: in order, each path once, none that must be refused."""
    folders = [(), *(path for path in _paths(root) if isinstance(find(root, path), Folder))]
    anything = _paths(root)
    made: dict[Path, tuple[File | Folder | None, Path | None]] = {}
    for action, first, second, name, flavour in wanted:
        parent = folders[first % len(folders)]
        some = anything[second % len(anything)] if anything else (name,)
        source = folders[second % len(folders)]
        if action == "put":
            made[(*parent, name)] = file_of(name, flavour), None
        elif action == "change":
            made[some] = file_of(some[-1], flavour), None
        elif action == "remove":
            made[some] = None, None
        elif action == "folder":
            made[(*parent, name)] = Folder(mtime_ns=flavour), None
        elif action == "touch" and parent:
            made[parent] = Folder(mtime_ns=flavour, metadata=canonical_json({"t": flavour})), None
        elif action in ("move", "copy") and source:
            made[(*parent, name)] = Folder(mtime_ns=flavour), source
            if action == "move" and (*parent, name) != source:
                made[source] = None, None
        elif action == "below":
            made[(*parent, name, name)] = file_of(name, flavour), None
    kept: list[Made] = []
    for path, (item, origin) in sorted(made.items()):
        try:
            apply(root, [*kept, (path, item, origin)])
        except (ConflictError, NotFoundError):
            continue
        kept.append((path, item, origin))
    return kept


def _paths(folder: Folder, path: Path = ()) -> list[Path]:
    found: list[Path] = []
    for name, item in sorted(folder.children.items()):
        found.append((*path, name))
        if isinstance(item, Folder):
            found += _paths(item, (*path, name))
    return found


def apply(root: Folder, edits: list[Made]) -> Folder:
    """Do the edits to a copy, one after the other."""
    result = root.copy()
    put: set[Path] = set()
    for path, item, origin in edits:
        here = result
        for depth, name in enumerate(path[:-1], 1):
            below = here.children.setdefault(name, Folder())
            if not isinstance(below, Folder) or path[:depth] in put:
                raise ConflictError("below a file")
            here = below
        old = here.children.get(path[-1])
        if item is None:
            if old is None:
                raise NotFoundError("not there")
            del here.children[path[-1]]
        elif isinstance(item, File):
            here.children[path[-1]] = item
            put.add(path)
        else:
            content = find(root, origin) if origin is not None else old
            kept = content.copy().children if isinstance(content, Folder) else {}
            here.children[path[-1]] = Folder(kept, item.mtime_ns, item.metadata)
    return result


def as_edits(made: list[Made], tree: Tree, sink: MemorySink) -> list[Edit]:
    """Return edits for `update`; what moves is looked up in the tree as it was."""
    edits = []
    for path, item, origin in made:
        if item is None:
            edits.append(Edit(path, None))
        elif isinstance(item, File):
            entry = with_blocks(item.entry, item.blocks, sink.write) if item.blocks else item.entry
            edits.append(Edit(path, entry))
        else:
            below = tree.resolve(origin)[1].directory if origin is not None else None
            edits.append(
                Edit(
                    path,
                    TreeEntry(path[-1], Kind.DIRECTORY, 0, b"", item.mtime_ns, item.metadata, b"", (), b"", (), below),
                )
            )
    return edits
