"""The flow of a data registry, as it is typed: one directory of raw data, a second batch on a branch, imports."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from views.directories import tree_of, write_tree

from .conftest import run_in

FIRST = {"a/1.png": b"one", "a/2.png": b"two", "labels.csv": b"1,2\n", "b/3.png": b"three" * 1000}
RAW = "raw/01_data_collection_16_oct_2021"


def commit(path: Path, message: str) -> None:
    run_in(path, "git", "add", "-A")
    run_in(path, "git", "commit", "-q", "-m", message)


def add(path: Path, tracked: str, files: dict[str, bytes]) -> None:
    write_tree(path / tracked, files)
    run_in(path, "penstock", "add", tracked)
    commit(path, f"add {tracked}")


def test_the_flow_from_raw_data_to_a_clone(registry, tmp_path):
    write_tree(registry / RAW, FIRST)
    os.chmod(registry / RAW / "labels.csv", 0o755)
    os.symlink("a/1.png", registry / RAW / "first")
    told = run_in(registry, "penstock", "add", RAW)
    assert f"git add {RAW}.penstock raw/.gitignore" in told
    run_in(registry, "git", "add", f"{RAW}.penstock", "raw/.gitignore", "penstock.toml")
    run_in(registry, "git", "commit", "-q", "-m", "first")
    assert run_in(registry, "git", "status", "--short") == ""
    assert "sent" in run_in(registry, "penstock", "push")
    assert "has everything" in run_in(registry, "penstock", "push")
    assert "nothing changed" in run_in(registry, "penstock", "status")

    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "-q", str(registry), str(clone))
    refused = run_in(clone, "penstock", "pull", code=6)
    assert "penstock trust" in refused
    assert not (clone / RAW).exists()
    run_in(clone, "penstock", "trust")
    part = run_in(clone, "penstock", "pull", RAW, "--path", "a")
    assert "2 written" in part
    assert set(tree_of(clone / RAW)) == {"a", "a/1.png", "a/2.png"}
    run_in(clone, "penstock", "pull")
    assert tree_of(clone / RAW) == tree_of(registry / RAW)
    assert os.access(clone / RAW / "labels.csv", os.X_OK)
    assert "nothing changed" in run_in(clone, "penstock", "status")
    (found,) = [json.loads(line) for line in run_in(clone, "penstock", "status", "--json").splitlines()]
    assert (found["state"], found["pushed"]) == ("clean", ["storage"])


def test_data_follows_checkout_reset_merge_and_stash(registry):
    add(registry, "raw", FIRST)
    run_in(registry, "git", "checkout", "-q", "-b", "more")
    add(registry, "second", {"x": b"x"})
    add(registry, "raw", {"a/1.png": b"changed", "new": b"n"})
    here = tree_of(registry / "raw")
    run_in(registry, "git", "checkout", "-q", "main")
    assert {name: body for name, body in tree_of(registry / "raw").items() if body != "/"} == FIRST
    assert not (registry / "second").exists()
    assert run_in(registry, "git", "status", "--short") == ""
    run_in(registry, "git", "switch", "-q", "more")
    assert tree_of(registry / "raw") == here
    run_in(registry, "git", "reset", "-q", "--hard", "HEAD~1")
    assert (registry / "raw/a/1.png").read_bytes() == b"one"
    run_in(registry, "git", "reset", "-q", "--hard", "ORIG_HEAD")
    assert tree_of(registry / "raw") == here
    (registry / "raw/new").write_bytes(b"stashed")
    run_in(registry, "penstock", "add", "raw")
    run_in(registry, "git", "stash", "-q")
    assert (registry / "raw/new").read_bytes() == b"n"
    run_in(registry, "git", "stash", "pop", "-q")
    assert (registry / "raw/new").read_bytes() == b"stashed"
    run_in(registry, "git", "checkout", "-q", "--", ".")
    run_in(registry, "git", "checkout", "-q", "main")
    run_in(registry, "git", "merge", "-q", "more")
    assert tree_of(registry / "raw") == here


def test_an_edit_survives_a_checkout_and_blocks_nothing_else(registry):
    add(registry, "raw", FIRST)
    run_in(registry, "git", "checkout", "-q", "-b", "more")
    add(registry, "raw", {"a/1.png": b"changed", "a/2.png": b"changed too"})
    (registry / "raw/a/1.png").write_bytes(b"mine")
    told = run_in(registry, "git", "checkout", "main")
    assert "raw/a/1.png was edited here, and stays" in told
    assert (registry / "raw/a/1.png").read_bytes() == b"mine"
    assert (registry / "raw/a/2.png").read_bytes() == b"two"
    assert "M a/1.png" in run_in(registry, "penstock", "status", code=1)
    told = run_in(registry, "penstock", "checkout", "--force", "raw")
    (kept,) = (registry / ".penstock/kept").rglob("1.png")
    assert kept.read_bytes() == b"mine"
    assert (registry / "raw/a/1.png").read_bytes() == b"one"


def test_two_branches_that_each_add_a_file_to_one_directory_merge(registry):
    add(registry, "raw", FIRST)
    for name in ("one", "other"):
        run_in(registry, "git", "checkout", "-q", "-b", name, "main")
        add(registry, "raw", {f"{name}.png": name.encode()})
    run_in(registry, "git", "merge", "-q", "-m", "both", "one")
    assert {"one.png", "other.png"} <= set(tree_of(registry / "raw"))
    assert "nothing changed" in run_in(registry, "penstock", "status")
    assert "A raw/one.png" in run_in(registry, "penstock", "diff", "main...HEAD", code=1)


def test_one_file_that_both_sides_changed_is_named_and_settled(registry):
    add(registry, "raw", FIRST)
    for name in ("one", "other"):
        run_in(registry, "git", "checkout", "-q", "-b", name, "main")
        add(registry, "raw", {"labels.csv": name.encode(), name: b""})
    told = run_in(registry, "git", "merge", "-q", "one", code=1)
    assert "labels.csv" in told
    assert "1 path of" in run_in(registry, "penstock", "merge-pointer", "raw", code=4)
    run_in(registry, "penstock", "merge-pointer", "raw", "--theirs", "labels.csv")
    commit(registry, "settled")
    run_in(registry, "penstock", "checkout", "raw")
    assert (registry / "raw/labels.csv").read_bytes() == b"one"
    assert {"one", "other"} <= set(tree_of(registry / "raw"))


def test_an_import_makes_the_folder_it_names_and_follows_its_branch(registry, tmp_path):
    add(registry, RAW, FIRST)
    run_in(registry, "penstock", "push")
    other = tmp_path / "other"
    other.mkdir()
    run_in(other, "git", "init", "-q")
    run_in(other, "penstock", "init")
    listed = run_in(other, "penstock", "list", str(registry))
    assert RAW in listed
    refused = run_in(other, "penstock", "import", str(registry), RAW, "-o", "data/inputs", code=6)
    assert "penstock trust" in refused
    assert not (other / "data/inputs" / os.path.basename(RAW)).exists()
    run_in(other, "penstock", "trust", str(registry))
    place = f"data/inputs/{os.path.basename(RAW)}"
    run_in(other, "penstock", "import", str(registry), RAW, "-o", "data/inputs")
    assert {name: body for name, body in tree_of(other / place).items() if body != "/"} == FIRST
    commit(other, "import")
    assert "newest already" in run_in(other, "penstock", "update")
    # A commit of the registry that has nothing to do with the data makes nothing stale.
    (registry / "README").write_text("more")
    commit(registry, "words")
    assert "newest already" in run_in(other, "penstock", "update")
    assert "nothing changed" in run_in(other, "penstock", "status")
    add(registry, RAW, {"late.png": b"late"})
    run_in(registry, "penstock", "push")
    run_in(other, "penstock", "update")
    assert (other / place / "late.png").read_bytes() == b"late"
    refused = run_in(other, "penstock", "add", place, code=2)
    assert "imported" in refused
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "-q", str(other), str(clone))
    commit(other, "update")
    run_in(clone, "penstock", "pull")
    assert {name: body for name, body in tree_of(clone / place).items() if body != "/"} == FIRST
    assert "not pushed" not in run_in(clone, "penstock", "status")  # an import stays where it came from
    run_in(clone, "penstock", "get", str(registry), f"{RAW}/a", "-o", "copied")
    assert tree_of(clone / "copied") == {"1.png": b"one", "2.png": b"two"}


def test_a_version_of_a_registry_opens_from_python(registry, tmp_path):
    import penstock
    from penstock.errors import AccessError, NotFoundError, UsageError

    add(registry, "raw/01", FIRST)
    run_in(registry, "git", "tag", "v1")
    run_in(registry, "penstock", "push")
    add(registry, "raw/01", {"late.png": b"late"})
    run_in(registry, "penstock", "push")
    address = f"git+file://{registry}"
    with pytest.raises(AccessError, match="penstock trust"):
        penstock.open(f"{address}#raw/01@v1")
    run_in(tmp_path, "penstock", "trust", str(registry))
    with penstock.open(f"{address}#raw/01@v1") as package:
        assert package.read("a/1.png") == b"one"
        assert "late.png" not in package
    with penstock.open(f"{address}#raw/01/a") as package:
        assert [entry.key for entry in package.ls()] == ["1.png", "2.png"]
    for name in (
        "git+#x",
        address,
        f"{address}#",
        f"{address}#raw/01@",
        "git+ext::sh -c id#x",
        "git+--upload-pack=id#x",
    ):
        with pytest.raises(UsageError):
            penstock.open(name)
    with pytest.raises(NotFoundError):
        penstock.open(f"{address}#raw/02")
    with pytest.raises(NotFoundError):
        penstock.open(f"{address}#raw/01@v9")


def test_what_was_pushed_goes_from_the_local_bucket_and_what_was_not_stays(registry):
    add(registry, "raw", FIRST)
    run_in(registry, "penstock", "push")
    add(registry, "raw", {"late.png": b"late"})
    report = json.loads(run_in(registry, "penstock", "gc", "--json"))
    assert (report["kept"], report["objects"], report["deleted"]) == (1, 0, False)
    run_in(registry, "penstock", "push")
    report = json.loads(run_in(registry, "penstock", "gc", "--delete", "--json"))
    assert report["objects"] >= 2
    assert list((registry / ".penstock/bucket/.penstock").glob("data/*/*")) == []
    assert "nothing changed" in run_in(registry, "penstock", "status")
    run_in(registry, "git", "checkout", "-q", "HEAD~1")
    assert not (registry / "raw/late.png").exists()
    shutil.rmtree(registry / "raw")
    run_in(registry, "penstock", "checkout")
    assert {name: body for name, body in tree_of(registry / "raw").items() if body != "/"} == FIRST
    add(registry, "raw", {"again": b"again"})
    assert "1 added" in run_in(registry, "penstock", "diff", "HEAD~1", "HEAD", "--stat", code=1)


def test_links_keep_one_copy_on_disk_and_switch_as_copies_do(registry):
    write_tree(registry / "raw", FIRST)
    write_tree(registry / "raw", {"twin.png": b"one"})
    run_in(registry, "penstock", "add", "raw", "--link")
    commit(registry, "first")
    one = os.stat(registry / "raw/a/1.png")
    assert (one.st_nlink, one.st_mode & 0o222) == (3, 0)
    assert os.stat(registry / "raw/twin.png").st_ino == one.st_ino
    objects = [os.stat(path) for path in (registry / ".penstock/bucket/.penstock/data").rglob("*") if path.is_file()]
    assert all(found.st_nlink > 1 for found in objects)
    assert "nothing changed" in run_in(registry, "penstock", "status")
    run_in(registry, "git", "checkout", "-q", "-b", "more")
    os.unlink(registry / "raw/a/2.png")
    (registry / "raw/a/2.png").write_bytes(b"another")
    run_in(registry, "penstock", "add", "raw")
    assert os.stat(registry / "raw/a/2.png").st_nlink == 2
    commit(registry, "second")
    run_in(registry, "git", "checkout", "-q", "main")
    assert (registry / "raw/a/2.png").read_bytes() == b"two"
    assert os.stat(registry / "raw/a/2.png").st_nlink == 2
    assert "sent" in run_in(registry, "penstock", "push")
    run_in(registry, "penstock", "checkout", "--copy", "raw")
    assert os.stat(registry / "raw/a/1.png").st_nlink == 1
    assert {name: b for name, b in tree_of(registry / "raw").items() if b != "/"} == {**FIRST, "twin.png": b"one"}


def test_what_is_wrong_is_told_and_nothing_changes(registry, tmp_path):
    add(registry, "raw", FIRST)
    before = tree_of(registry / "raw"), (registry / "raw.penstock").read_bytes()
    for command, code, said in (
        (("penstock", "add", "nothing"), 3, "no 'nothing' to add"),
        (("penstock", "add", "raw/a"), 2, "overlap"),
        (("penstock", "add", "penstock.toml"), 2, "tracked by git itself"),
        (("penstock", "add", ".."), 2, "outside of the project"),
        (("penstock", "push", "--remote", "none"), 3, "no remote 'none'"),
        (("penstock", "status", "elsewhere"), 3, ""),
        (("penstock", "checkout", "elsewhere"), 2, "nothing is tracked"),
        (("penstock", "import", str(tmp_path), "raw", "-o", "new"), 3, "cannot be fetched"),
        (("penstock", "import", str(registry), "raw", "-o", "new", "--rev", "no-such"), 3, "cannot be fetched"),
        (("penstock", "diff", "no-such"), 3, "no commit"),
        (("penstock", "init", "demo/photos"), 2, "penstock create demo/photos"),
        (("penstock", "update", "raw"), 2, "no import"),
        (("penstock", "remote", "add", "-d", "storage", "/elsewhere"), 4, "already"),
    ):
        assert said in run_in(registry, *command, code=code)
    (registry / "raw.penstock").write_bytes(b"<<<<<<< a\n" + before[1])
    assert "merge conflict" in run_in(registry, "penstock", "status", code=1)
    assert "merge-pointer" in run_in(registry, "penstock", "add", "raw", code=4)
    (registry / "raw.penstock").write_bytes(before[1])
    assert (tree_of(registry / "raw"), (registry / "raw.penstock").read_bytes()) == before
    assert not (registry / "new/raw.penstock").exists()
    outside = tmp_path / "outside"
    outside.mkdir()
    assert "penstock init" in run_in(outside, "penstock", "add", "x", code=3)
    assert "penstock init" in run_in(outside, "penstock", "push", code=3)


def test_branches_that_each_ran_a_stage_merge_and_nothing_runs_twice(registry):
    write_tree(registry, {"in/1": b"a", "in/2": b"b"})
    (registry / ".gitignore").write_text("log\n")
    commit(registry, "inputs")
    command = "tr a-z A-Z < {input} > {output}; echo {path} >> log"
    run_in(registry, "penstock", "run", "-n", "up", "--each", "in", "-o", "out", command)
    commit(registry, "first")
    run_in(registry, "git", "checkout", "-q", "-b", "second")
    for branch, name in (("second", "3"), ("main", "4")):
        run_in(registry, "git", "checkout", "-q", branch)
        assert sorted(os.listdir(registry / "out")) == ["1", "2"]  # what was made on the other branch is not here
        write_tree(registry, {f"in/{name}": name.encode()})
        run_in(registry, "penstock", "repro")
        commit(registry, branch)
    told = run_in(registry, "git", "merge", "-q", "--no-edit", "second")
    assert "both sides have run up: penstock repro brings it up to date" in told
    assert "taken from an earlier run" in run_in(registry, "penstock", "repro")
    assert sorted(os.listdir(registry / "out")) == ["1", "2", "3", "4"]
    assert sorted((registry / "log").read_text().split()) == ["1", "2", "3", "4"]
    assert not (registry / ".penstock/kept").exists()


def test_what_git_is_to_be_given_after_a_run_is_all_that_is_new(registry):
    write_tree(registry, {"work/in": b"a"})
    commit(registry, "input")
    told = run_in(registry / "work", "penstock", "run", "-n", "up", "-d", "in", "-o", "data/out", "cp in data/out")
    words = told.partition("for git: ")[2].splitlines()[0].split()
    assert words[:2] == ["git", "add"]
    run_in(registry / "work", *words)
    assert "??" not in run_in(registry, "git", "status", "--short", "-uall")
