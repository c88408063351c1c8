"""A cache in a directory that holds something else, or that another user has chosen: nothing of the user's goes."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from penstock.cache import BlockCache, LocationIndex
from penstock.cache.cache_directory import CacheDirectory, prepare_directory
from penstock.errors import AccessError
from penstock.manifest.hashing import content_hash


@pytest.mark.regress
@pytest.mark.parametrize("index", ["index", "index-2", "locations/index"])
def test_a_folder_that_was_there_for_something_else_keeps_what_is_in_it(tmp_path: Path, index: str) -> None:
    mine = tmp_path / "mine"
    for folder in (mine, mine / "locations"):
        folder.mkdir(mode=0o700)
    (mine / index).mkdir()
    (mine / index / "thesis.txt").write_text("years of work")
    (mine / "state").write_text("of mind")
    with closing(BlockCache(mine, 64 << 20)) as cache:
        cache.put(content_hash(b"block"), b"block")
    with closing(LocationIndex(mine, 64 << 20)) as locations:
        locations.put_many(b"bucket", [(content_hash(b"block"), b"place")])
    if hasattr(CacheDirectory, "empty"):  # which older versions have not
        CacheDirectory(str(mine)).empty()
    assert (mine / index / "thesis.txt").read_text() == "years of work"
    assert (mine / "state").read_text() == "of mind"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link away")
def test_anothers_link_does_not_choose_the_directory(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("private")
    assert not prepare_directory(str(tmp_path / "link"))
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    with pytest.raises(AccessError, match="symbolic link of another"):
        prepare_directory(str(tmp_path / "link"))
