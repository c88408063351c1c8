"""Trees in which nearly all metadata is a document: built, updated and merged as the text of the format says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from trees.model import Folder, Loader, build, built, flatten
from trees.reference import Split, node_hash
from trees.strategies import Step, apply, as_edits, edits_for, folders, quick, steps

from penstock.manifest import build as building
from penstock.manifest import rules
from penstock.manifest.build import DiscardSink, MemorySink
from penstock.manifest.entry import DocumentRef, NodeRef
from penstock.manifest.tree import Tree
from penstock.manifest.update import update

INLINE = 12


@pytest.fixture(scope="module")
def small_documents(small_nodes: Split) -> Iterator[Split]:
    """Make a document of all metadata of more than a few bytes, so that ordinary trees are full of them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (building, rules):
            patch.setattr(module, "INLINE_METADATA", INLINE)
        yield Split(
            small_nodes.leaf_bits,
            small_nodes.index_bits,
            small_nodes.most_entries,
            small_nodes.most_items,
            small_nodes.most_weight,
            INLINE,
        )


def check_contents(folder: Folder, read: Loader, root: NodeRef) -> None:
    found = list(Tree(root, read).walk())
    wanted = list(flatten(folder))
    assert [path for path, _ in found] == [path for path, _ in wanted]
    for (_, made), (_, described) in zip(found, wanted, strict=True):
        assert read.metadata(made.metadata) == described[4]
        assert isinstance(made.metadata, DocumentRef) == (len(described[4]) > INLINE)  # type: ignore[arg-type]


@quick
@given(folders())
def test_a_tree_with_documents_has_the_hash_that_the_text_gives_it(small_documents: Split, tree: Folder) -> None:
    root, load = built(tree)
    assert (root.hash, root.entries, root.size) == node_hash(tree, small_documents)
    assert build(tree, DiscardSink()).hash == root.hash
    check_contents(tree, load, root)


@quick
@given(folders(), steps)
def test_an_update_gives_what_a_rebuild_gives(small_documents: Split, tree: Folder, changes: list[Step]) -> None:
    sink = MemorySink()
    root = build(tree, sink)
    load = Loader(sink)
    made = edits_for(tree, changes)
    found = update(root, as_edits(made, Tree(root, load), sink), load, sink)
    after = apply(tree, made)
    assert found.hash == build(after, DiscardSink()).hash
    check_contents(after, load, found)
