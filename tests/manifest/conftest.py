"""What the tests of the manifest share: nodes so small that a handful of entries makes a tall tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trees.reference import Split

from penstock.manifest import build, split

SMALL = Split(leaf_bits=2, index_bits=1, most_entries=8, most_items=4, most_weight=600)


@pytest.fixture(scope="module")
def small_nodes() -> Iterator[Split]:
    """Cut directories into leaves of about four entries and index nodes of about two children.

    The constants are part of the format, so nothing in the code takes them as a parameter.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "_LEAF_BITS", SMALL.leaf_bits)
        patch.setattr(split, "_LEAF_MASK", (1 << SMALL.leaf_bits) - 1)
        patch.setattr(split, "_INDEX_BITS", SMALL.index_bits)
        patch.setattr(split, "_INDEX_MASK", (1 << SMALL.index_bits) - 1)
        patch.setattr(build, "MAX_LEAF_ENTRIES", SMALL.most_entries)
        patch.setattr(build, "MAX_INDEX_ITEMS", SMALL.most_items)
        patch.setattr(build, "MAX_LEAF_WEIGHT", SMALL.most_weight)
        yield SMALL
