"""What a node may hold: bounded before it is decoded, kept by its weight; extents are made when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trees.forge import forge, parts_of
from trees.hostile import extents, publish_tree
from trees.specimens import LEAF, METADATA, OBJECTS, PACKS, PIECES, SIZES, F

from penstock.errors import IntegrityError
from penstock.manifest.build import MemorySink, TreeBuilder
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import BLOCK_SIZE, Extent, Kind, TreeEntry
from penstock.manifest.extents import cut_extents
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.node import Leaf

_READER = """
import sys
from pathlib import Path
from penstock.repo.settings.settings import Settings
from penstock.repo.read.snapshot import open_snapshot
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
folder = Path(sys.argv[1])
settings = Settings(folder / "config.toml", folder / "cache", 256 << 20, {})
snapshot = open_snapshot(f"file://{folder}/store/evil:main", settings)
before = peak()
for number in range(4):
    for _ in range(2):
        assert len(snapshot.find(f"{number:02}/f").extents) == 1 << 19
snapshot.close()
print(peak() - before >> 10)
"""


@pytest.mark.regress
def test_nodes_that_unpack_to_much_take_little_memory(tmp_path: Path) -> None:
    """A pack of some kilobytes, with half a million extents in each of four nodes."""
    (tmp_path / "store").mkdir()
    publish_tree(f"file://{tmp_path}/store", extents(4, 1 << 19))
    done = subprocess.run([sys.executable, "-c", _READER, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 120  # MiB


@pytest.mark.regress
def test_a_file_has_no_more_extents_than_blocks_but_for_some_thousands() -> None:
    kind, logical, physical = parts_of(LEAF)
    logical[SIZES][F] = 4097
    physical[PIECES] = [[F, [[0, 0, 1]] * 4097]]
    with pytest.raises(IntegrityError):
        decode_node(*forge(kind, logical, physical))
    logical[SIZES][F] = 4096
    physical[PIECES] = [[F, [[0, 0, 1]] * 4096]]
    leaf = decode_node(*forge(kind, logical, physical))
    assert isinstance(leaf, Leaf)
    assert len(leaf.entry(F).extents) == 4096


@pytest.mark.parametrize(
    ("part", "column", "content"),
    [
        (1, PIECES, [[F, [[0, 0, 1]] * ((1 << 21) + 1)]]),
        (1, OBJECTS, [b"x"] * ((1 << 19) + 1)),
        (1, PACKS, [b"x"] * ((1 << 19) + 1)),
        (0, METADATA, [[at, b'{"a":"%s"}' % (b"x" * 65_000)] for at in range(40)]),
    ],
    ids=["extents", "objects", "packs", "metadata"],
)
def test_more_than_a_writer_ever_puts_into_a_node_is_refused(part: int, column: int, content: object) -> None:
    kind, logical, physical = parts_of(LEAF)
    (logical, physical)[part][column] = content
    with pytest.raises(IntegrityError):
        decode_node(*forge(kind, logical, physical, (7, 7)))


def _scattered(count: int) -> tuple[Leaf, TreeEntry]:
    """Return a leaf with a file of `count` blocks in as many extents, and the entry that it was made from."""
    objects = [content_hash(b"%d" % number) for number in range(7)]
    places = tuple(Extent(objects[number % 7], number * 3 * BLOCK_SIZE, BLOCK_SIZE) for number in range(count))
    blocks = bytes(32 * count)
    entry = TreeEntry(b"f", Kind.FILE, count * BLOCK_SIZE, hash_of_blocks(count * BLOCK_SIZE, blocks), extents=places)
    sink = MemorySink()
    builder = TreeBuilder(sink)
    builder.add_file(entry, blocks)
    ref = builder.finish()
    leaf = decode_node(sink.frames[ref.location.digest], ref)
    assert isinstance(leaf, Leaf)
    return leaf, entry


@pytest.mark.parametrize("count", [2, 31, 1023, 1024, 1025, 5000])
def test_extents_are_those_that_were_written(count: int) -> None:
    leaf, entry = _scattered(count)
    found = leaf.entry(0).extents
    assert found == entry.extents
    assert (len(found), tuple(found), found[-1], found[1:3]) == (
        count,
        entry.extents,
        entry.extents[-1],
        entry.extents[1:3],
    )
    assert hash(found) == hash(entry.extents)
    size = entry.size
    for start, length in ((0, 1), (0, size), (BLOCK_SIZE - 1, 2), (size - 1, 1), (size - 1, 9), (size, 1), (5, size)):
        assert cut_extents(found, start, length) == cut_extents(entry.extents, start, length)
    assert leaf.weight > 20 * count


def test_pages_are_those_that_were_written() -> None:
    count = 3000
    leaf, _ = _scattered(count)
    pages = leaf.entry(0).pages
    assert len(pages) == 3
    assert [page.location.length for page in pages] == [1024 * 32 + 20, 1024 * 32 + 20, 952 * 32 + 20]
    assert pages == tuple(pages)
    assert leaf.entry(0) == leaf.entry(0)
