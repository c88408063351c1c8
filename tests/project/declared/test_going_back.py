"""Each command of git that moves HEAD brings folders, database and top hash to what that commit's were."""

from __future__ import annotations

import pytest
from views.datasets_in_git import new_repository
from views.declared import picture

TEXT = """from pathlib import Path
from penstock import dataset, File, ingest, png

def note(text):
    with open("calls", "a") as stream:
        stream.write(text + "\\n")

@dataset(remote="demo")
class Photos:
    image: File[png]
    label: str

    @ingest
    def load():
        note("load")
        names = {names!r}
        return [Path("../in") / f"{{name}}.png" for name in names], names
"""
SMALL = """
    def small(image: File[png]) -> File[png]:
        note("small")
        from PIL import Image
        return Image.open(image).resize((2, 2))
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Return a repository with three commits on main, one on side; and what each of them shows."""
    place = tmp_path_factory.mktemp("back")
    (place / "in").mkdir()
    for number, name in enumerate(["a", "b", "c", "d"]):
        (place / "in" / f"{name}.png").write_bytes(picture(number))
    repository = new_repository(place / "repository", place / "home")
    (repository.root / ".git" / "info" / "exclude").write_text("calls\n")
    repository.write(TEXT.format(names=["a", "b"]))
    repository.datasets("track", "index.py")
    shown = {}
    repository.git("commit", "-q", "index.py", "-m", "one")
    shown[repository.head()] = repository.shown()
    repository.git("tag", "one")
    repository.commit(TEXT.format(names=["a", "b"]) + SMALL)
    shown[repository.head()] = repository.shown()
    repository.git("tag", "two")
    (repository.root / "README").write_text("no data\n")
    repository.git("add", "README")
    repository.git("commit", "-q", "-m", "three")
    repository.commit(TEXT.format(names=["a", "b", "c"]) + SMALL)
    shown[repository.head()] = repository.shown()
    repository.git("tag", "four")
    repository.git("switch", "-q", "-c", "side", "one")
    repository.commit(TEXT.format(names=["a", "b", "d"]))
    shown[repository.head()] = repository.shown()
    repository.git("tag", "aside")
    repository.git("switch", "-q", "main")
    assert repository.calls() == ["load", "load", "load", "small", "small", "small"]
    assert len(set(shown.values())) == 4
    return repository, shown


def at(history, name):
    repository, shown = history
    assert repository.git("rev-parse", "HEAD") == repository.git("rev-parse", f"{name}^{{commit}}")
    assert repository.shown() == shown[repository.git("rev-parse", f"{name}^{{commit}}").strip()]
    assert repository.calls() == []


@pytest.mark.parametrize(
    ("commands", "name"),
    [
        (["reset --hard HEAD~2"], "two"),
        (["reset --hard one", "reset --hard ORIG_HEAD"], "four"),
        (["checkout -q one"], "one"),
        (["switch -q side"], "aside"),
        (["switch -q --detach two", "switch -q -"], "four"),
        (["bisect start -q four one", "bisect reset"], "four"),
        (["checkout -q -f -B tmp one", "merge -q --ff-only two"], "two"),
        (["checkout -q -f -B tmp one", "pull -q --ff-only . two"], "two"),
        (["checkout -q -f -B tmp one", "rebase -q two"], "two"),
        (["reset -q --soft two", "reset -q --hard"], "two"),
    ],
    ids=str,
)
def test_after(history, commands, name):
    repository, shown = history
    repository.git("checkout", "-q", "-f", "-B", "main", "four")
    for command in commands:
        repository.git(*command.split())
        if command.startswith("bisect start"):
            found = repository.git("describe", "--tags", "--abbrev=0").strip()
            assert repository.shown() == shown[repository.git("rev-parse", f"{found}^{{commit}}").strip()]
    at(history, name)


def test_a_stash_leaves_data_as_it_is_and_comes_back(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "main", "four")
    repository.write(TEXT.format(names=["d"]))
    repository.git("stash", "-q")
    at(history, "four")
    repository.git("stash", "pop", "-q")
    at(history, "four")
    assert "'d'" in (repository.root / "index.py").read_text()
    repository.git("checkout", "-q", "index.py")


def test_another_work_tree_shows_its_own_commit_from_the_same_bucket(history, tmp_path):
    repository, shown = history
    place = tmp_path / "other"
    repository.git("worktree", "add", "-q", str(place), "two")
    other = type(repository)(place, repository.env)
    assert other.shown() == shown[repository.git("rev-parse", "two^{commit}").strip()]
    assert not (place / ".penstock" / "bucket").exists()
    other.git("checkout", "-q", "one")
    assert other.shown() == shown[repository.git("rev-parse", "one^{commit}").strip()]
    repository.git("worktree", "remove", "--force", str(place))


def test_what_was_changed_in_a_folder_is_kept(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "main", "four")
    name = repository.names("small")[0]
    (repository.root / "small" / name).unlink()
    (repository.root / "small" / name).write_bytes(b"edited")
    (repository.root / "small" / "mine.txt").write_bytes(b"mine")
    said = repository.git("reset", "--hard", "one")
    assert not (repository.root / "small").exists()
    kept = [each for each in (repository.root / ".penstock" / "kept").rglob("*") if each.is_file()]
    assert sorted(each.read_bytes() for each in kept) == [b"edited", b"mine"]
    assert "kept aside" in said
    at(history, "one")
    repository.git("reset", "-q", "--hard", "four")
    at(history, "four")


def test_a_revert_makes_nothing_anew(history):
    repository, shown = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "two")
    repository.git("revert", "--no-edit", "HEAD")
    assert repository.names("small") == []
    assert repository.calls() == []
    one = shown[repository.git("rev-parse", "one^{commit}").strip()]
    assert repository.shown() == one
    repository.git("revert", "--no-edit", "HEAD")
    assert repository.calls() == []
    assert len(repository.names("small")) == 2


def test_a_picked_commit_brings_its_records(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "one")
    repository.git("cherry-pick", "aside")
    assert sorted(repository.rows("SELECT label FROM Photos")) == [("a",), ("b",), ("d",)]
    assert repository.calls() == []
    assert len(repository.names("image")) == 3


def test_an_amended_commit_stands_on_what_was_before_it(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "two")
    repository.commit(TEXT.format(names=["c"]) + SMALL)
    repository.write(TEXT.format(names=["d"]) + SMALL)
    repository.git("commit", "-q", "--amend", "--no-edit", "index.py")
    assert sorted(repository.rows("SELECT label FROM Photos")) == [("a",), ("b",), ("d",)]
    assert len(repository.names("small")) == 3
    repository.calls()


def test_a_merge_joins_records_of_both_sides(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "four")
    repository.git("merge", "-q", "side", fails=True)  # both changed one line of the file
    repository.write(TEXT.format(names=["a", "b", "c", "d"]) + SMALL)
    repository.git("commit", "-q", "-a", "-m", "joined")
    assert sorted(repository.rows("SELECT label FROM Photos")) == [("a",), ("b",), ("c",), ("d",)]
    calls = repository.calls()
    assert calls.count("load") == 1
    assert calls.count("small") <= 1  # of the one picture that it was not called for before
    assert len(repository.names("small")) == 4


def test_rebased_commits_have_what_theirs_brought(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "two")
    other = TEXT.format(names=["a", "b"]).replace("    label: str", "    label: str\n    score: float | None") + SMALL
    repository.commit(other)
    repository.git("checkout", "-q", "-B", "tmp2", "two")
    (repository.root / "other.txt").write_text("x")
    repository.git("add", "other.txt")
    repository.git("commit", "-q", "-m", "other")
    repository.git("rebase", "-q", "tmp")
    assert repository.rows("SELECT label, score FROM Photos ORDER BY label") == [("a", None), ("b", None)]
    repository.git("switch", "-q", "--detach", "four")
    at(history, "four")


def test_a_commit_without_hooks_is_told_and_made_good(history):
    repository, _ = history
    repository.git("checkout", "-q", "-f", "-B", "tmp", "one")
    repository.write(TEXT.format(names=["a", "b"]) + SMALL.replace("(2, 2)", "(3, 3)"))
    said = repository.git("commit", "-q", "--no-verify", "index.py", "-m", "quick")
    assert "git datasets run" in said
    assert "git datasets run" in repository.datasets("status", fails=True)
    assert repository.names("small") == []
    repository.datasets("run")
    assert len(repository.names("small")) == 2
    assert repository.calls() == ["small", "small"]
    assert "nothing to do" in repository.datasets("status")
