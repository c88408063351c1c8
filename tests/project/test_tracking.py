"""Adding a directory, and checking versions of it out: what is read, what is kept, what is refused."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from views.directories import tree_of, write_tree

from penstock.api.datasets.push import hash_directory
from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.project.exchange import push_versions
from penstock.project.local_bucket import bucket_directory
from penstock.project.pointer import read_pointer
from penstock.project.project import find_project
from penstock.project.project_remotes import add_project_remote
from penstock.project.tracking import add_path, check_out_path
from penstock.store import open_store

FILES = {"a/x": b"x" * 100, "a.b": b"1", "a/b/y": b"y", "z": b"", "big": b"0123456789" * 300_000}


@pytest.fixture
def raw(project):
    path = os.path.join(project.root, "raw")
    os.makedirs(os.path.join(path, "empty"))
    return Path(path)


def settle(top):
    """Let files be of yesterday: what was written a moment ago is read once more."""
    for folder, _, names in os.walk(top):
        for name in names:
            os.utime(os.path.join(folder, name), (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def test_what_is_added_is_checked_out_again_bit_for_bit(project, raw, settings):
    write_tree(raw, FILES)
    os.symlink("a/x", raw / "link")
    os.chmod(raw / "z", 0o755)
    before = tree_of(raw)
    added = add_path(project, "raw", settings)
    assert added.pointer.top.hex() == hash_directory(str(raw)).top_hash
    assert (added.addition.added, added.addition.modified, added.addition.removed) == (6, 0, 0)
    assert added.files == ("raw.penstock", ".gitignore")
    shutil.rmtree(raw)
    done = check_out_path(project, "raw", added.pointer, settings)
    assert done.fetched == 6
    assert tree_of(raw) == before
    assert stat.S_IMODE(os.stat(raw / "z").st_mode) & 0o100
    assert not check_out_path(project, "raw", added.pointer, settings)


def test_what_has_not_changed_is_not_read_again(project, raw, settings):
    write_tree(raw, FILES)
    first = add_path(project, "raw", settings)
    assert add_path(project, "raw", settings).pointer == first.pointer
    check_out_path(project, "raw", first.pointer, settings)  # takes note of what was written a moment before
    (raw / "a/x").write_bytes(b"other")
    (raw / "new").write_bytes(b"n")
    os.unlink(raw / "z")
    shutil.rmtree(raw / "a/b")
    second = add_path(project, "raw", settings).addition
    assert (second.added, second.modified, second.removed) == (1, 1, 2)
    assert second.manifest.top_hash.hex() == hash_directory(str(raw)).top_hash


def test_a_switch_between_versions_touches_what_differs_alone(project, raw, settings):
    write_tree(raw, FILES)
    first = add_path(project, "raw", settings).pointer
    (raw / "a.b").write_bytes(b"2")
    shutil.rmtree(raw / "a/b")
    (raw / "a/b").write_bytes(b"a file now")
    second = add_path(project, "raw", settings).pointer
    kept = os.stat(raw / "big")
    check_out_path(project, "raw", first, settings, restore=False)
    assert {name: body for name, body in tree_of(raw).items() if body != "/"} == FILES
    check_out_path(project, "raw", second, settings, restore=False)
    assert (raw / "a/b").read_bytes() == b"a file now"
    assert os.stat(raw / "big").st_ctime_ns == kept.st_ctime_ns
    assert add_path(project, "raw", settings).addition.changed == 0


def test_an_edited_file_blocks_nothing_but_itself_and_is_kept_when_it_gives_way(project, raw, settings):
    write_tree(raw, FILES)
    first = add_path(project, "raw", settings).pointer
    (raw / "a.b").write_bytes(b"2")
    (raw / "a/x").write_bytes(b"3")
    second = add_path(project, "raw", settings).pointer
    (raw / "a.b").write_bytes(b"mine")
    (raw / "untracked").write_bytes(b"mine too")
    done = check_out_path(project, "raw", first, settings)
    assert done.edited == ["a.b"]
    assert (raw / "a.b").read_bytes() == b"mine"
    assert (raw / "a/x").read_bytes() == FILES["a/x"]
    done = check_out_path(project, "raw", second, settings, force=True)
    assert (raw / "a.b").read_bytes() == b"2"
    assert [Path(path).read_bytes() for path in done.kept] == [b"mine"]
    assert (raw / "untracked").read_bytes() == b"mine too"


def test_a_file_that_is_gone_here_and_edited_where_it_was_removed_stays(project, raw, settings):
    write_tree(raw, FILES)
    first = add_path(project, "raw", settings).pointer
    os.unlink(raw / "a.b")
    second = add_path(project, "raw", settings).pointer
    check_out_path(project, "raw", first, settings, restore=False)
    (raw / "a.b").write_bytes(b"mine")
    assert check_out_path(project, "raw", second, settings, restore=False).edited == ["a.b"]
    assert (raw / "a.b").read_bytes() == b"mine"


def test_one_file_is_tracked_as_well_as_a_directory(project, settings):
    path = os.path.join(project.root, "model.bin")
    for body in (b"one", b"two"):
        with open(path, "wb") as stream:
            stream.write(body)
        pointer = add_path(project, "model.bin", settings).pointer
        assert (pointer.kind, pointer.entries, pointer.bytes) == ("file", 1, 3)
    os.unlink(path)
    check_out_path(project, "model.bin", pointer, settings)
    assert Path(path).read_bytes() == b"two"


def test_a_pointer_that_moved_on_is_not_overwritten_by_what_is_here(project, raw, settings):
    write_tree(raw, FILES)
    add_path(project, "raw", settings)
    for body in (b"2", b"3"):
        (raw / "a.b").write_bytes(body)
        add_path(project, "raw", settings)
    pointer = raw.parent / "raw.penstock"
    moved = pointer.read_text().replace(read_pointer(str(pointer)).top.hex(), "ab" * 32)
    pointer.write_text(moved)
    with pytest.raises(ConflictError, match="checkout raw"):
        add_path(project, "raw", settings)
    assert pointer.read_text() == moved
    add_path(project, "raw", settings, force=True)


def test_what_cannot_be_tracked_is_refused_and_nothing_changes(project, raw, settings, git, tmp_path):
    write_tree(raw, FILES)
    (raw.parent / "in-git").mkdir()
    (raw.parent / "in-git/file").write_bytes(b"1")
    git(project.root, "add", "in-git")
    os.symlink(tmp_path, raw.parent / "link")
    before = tree_of(raw.parent)
    os.mkfifo(raw.parent / "pipe")
    for path in ("in-git", "link", "link/x", "pipe", ".git/hooks", ".penstock/bucket", "x.penstock", "a/../b", "."):
        with pytest.raises(UsageError) as caught:
            add_path(project, path, settings)
        assert caught.value.what
    with pytest.raises(NotFoundError):
        add_path(project, "nothing", settings)
    with pytest.raises(UsageError, match="overlap"):
        add_path(project, "raw/a", settings, others=["raw"])
    os.unlink(raw.parent / "pipe")
    assert tree_of(raw.parent) == before


def test_a_pointer_behind_a_link_has_nothing_written_there(project, raw, settings, tmp_path):
    write_tree(raw, FILES)
    pointer = add_path(project, "raw", settings).pointer
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", raw.parent / "deep")
    with pytest.raises(UsageError, match="symbolic link"):
        check_out_path(project, "deep/raw", pointer, settings)
    with pytest.raises(UsageError):
        check_out_path(project, ".git/hooks", pointer, settings)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_names_with_spaces_stars_and_bytes_that_are_no_text_are_names(project, settings, git):
    name = "da ta [1]*\udcff "
    path = os.path.join(project.root, name)
    os.mkdir(path)
    with open(os.path.join(path, "ö\udcfe"), "wb") as stream:
        stream.write(b"1")
    pointer = add_path(project, name, settings).pointer
    assert not git(project.root, "ls-files", "-o", "--exclude-standard", "--", "*\udcfe")
    shutil.rmtree(path)
    check_out_path(project, name, pointer, settings)
    assert os.listdir(os.fsencode(path)) == [b"\xc3\xb6\xfe"]


def test_work_trees_share_the_local_bucket(project, raw, settings, git):
    from penstock.project.project import find_project

    write_tree(raw, FILES)
    pointer = add_path(project, "raw", settings).pointer
    git(project.root, "add", ".")
    git(project.root, "commit", "-qm", "data")
    git(project.root, "worktree", "add", "-q", "../second", "-b", "second")
    second = find_project(os.path.join(os.path.dirname(project.root), "second"))
    assert second.shared == project.shared
    assert second.state != project.state
    check_out_path(second, "raw", pointer, settings)
    assert tree_of(raw) == tree_of(Path(second.root, "raw"))
    assert git(second.root, "status", "--short") == ""


def test_git_clean_takes_no_data_that_is_nowhere_else(project, raw, settings, git):
    write_tree(raw, FILES)
    pointer = add_path(project, "raw", settings).pointer
    git(project.root, "add", ".")
    git(project.root, "clean", "-fdxq")
    assert not raw.exists()
    check_out_path(project, "raw", pointer, settings)
    assert (raw / "a/x").read_bytes() == FILES["a/x"]


def with_remote(project, place, settings):
    add_project_remote(project, "far", str(place), settings, default=True)
    return find_project(project.root)


def data_objects(directory):
    with open_store(Path(directory).as_uri()) as store:
        return [info.key for info in store.list(".penstock/data/")]


def test_a_first_push_sends_objects_as_they_lie_and_a_moved_file_is_not_sent_again(project, raw, settings, tmp_path):
    project = with_remote(project, tmp_path / "far", settings)
    write_tree(raw, {f"a/{number}": b"%d" % number for number in range(20)})
    pointer = add_path(project, "raw", settings).pointer
    first = push_versions(project, {"raw": pointer}, settings)
    assert data_objects(tmp_path / "far") == data_objects(bucket_directory(project))
    assert first.objects == 1
    os.rename(raw / "a", raw / "moved")
    moved = add_path(project, "raw", settings).pointer
    second = push_versions(project, {"raw": moved}, settings)
    assert (second.changed, second.objects, second.bytes) == (True, 0, 0)
    shutil.rmtree(bucket_directory(project))
    shutil.rmtree(raw)
    check_out_path(project, "raw", pointer, settings)
    assert tree_of(raw / "a") == {f"{number}": b"%d" % number for number in range(20)}
    check_out_path(project, "raw", moved, settings)
    assert hash_directory(str(raw)).top_hash == moved.top.hex()


def test_packs_in_which_most_is_of_other_versions_are_not_sent(project, raw, settings, tmp_path):
    project = with_remote(project, tmp_path / "far", settings)
    many = {f"gone/{number}": bytes([number]) * 250_000 for number in range(12)}
    write_tree(raw, {**FILES, **many})
    add_path(project, "raw", settings)
    shutil.rmtree(raw / "gone")
    pointer = add_path(project, "raw", settings).pointer
    assert 0 < push_versions(project, {"raw": pointer}, settings).bytes < 2 * pointer.bytes
    assert data_objects(tmp_path / "far") != data_objects(bucket_directory(project))


def test_a_damaged_object_here_is_not_sent(project, raw, settings, tmp_path):
    project = with_remote(project, tmp_path / "far", settings)
    write_tree(raw, {"a": b"content"})
    pointer = add_path(project, "raw", settings).pointer
    (key,) = data_objects(bucket_directory(project))
    (Path(bucket_directory(project)) / key).write_bytes(b"CONTENT")
    with pytest.raises(IntegrityError, match="damaged"):
        push_versions(project, {"raw": pointer}, settings)
    assert data_objects(tmp_path / "far") == []


def test_files_that_come_are_on_disk_before_they_have_their_names(project, raw, settings, monkeypatch):
    write_tree(raw, FILES)
    pointer = add_path(project, "raw", settings).pointer
    os.unlink(raw / "a/x")
    os.unlink(raw / "big")
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor):
        events.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(source, target, **folders):
        events.append(("name", os.path.basename(source)))
        rename(source, target, **folders)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "rename", renamed)
        assert check_out_path(project, "raw", pointer, settings).fetched == 2
    made = [name for what, name in events if what == "name" and name.startswith(("file-", "part-"))]
    assert len(made) == 2
    assert all(events.index(("sync", name)) < events.index(("name", name)) for name in made)
