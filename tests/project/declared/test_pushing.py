"""Pushes of several versions, of branches with other names, by force; what is cleared here once it is there."""

from __future__ import annotations

import json

import pytest
from views.datasets_in_git import DatasetRepository, new_repository

TEXT = """
from penstock import dataset, File, ingest

@dataset(remote="store")
class Numbers:
    number: int
    text: File["txt"]

    @ingest
    def load():
        return [(each, str(each).encode() * 3) for each in {numbers}]
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A repository whose first commit was pushed, to a bucket and to a bare repository."""
    place = tmp_path_factory.mktemp("pushing")
    (place / "store").mkdir()
    found = new_repository(place / "repository", place / "home")
    found.run("python", "-m", "penstock", "remote", "add", "store", f"file://{place}/store")
    found.write(TEXT.format(numbers=[1]))
    found.datasets("track", "index.py")
    found.git("commit", "-q", "index.py", "-m", "one")
    found.git("init", "-q", "--bare", "-b", "main", str(place / "origin.git"))
    found.git("remote", "add", "origin", str(place / "origin.git"))
    found.git("push", "-q", "-u", "origin", "main")
    found.git("tag", "one")
    return found


@pytest.fixture
def repository(pushed, request):
    """The repository on a branch of its own at that commit."""
    pushed.git("checkout", "-q", "-f", "-B", request.node.name[5:25].strip("_"), "one")
    return pushed


def top_hash(repository):
    return repository.shown().top_hashes


def there(repository, branch):
    """Return the top hashes of the versions that a branch of the bucket has, newest first."""
    told = repository.run("python", "-m", "penstock", "log", f"store/Numbers:{branch}", "--json")
    return [json.loads(line)["top_hash"] for line in told.splitlines()]


def numbers(repository):
    return [row[0] for row in repository.rows("SELECT number FROM Numbers ORDER BY number")]


def test_all_versions_that_led_to_a_commit_are_pushed_with_it(repository, tmp_path):
    tops = [top_hash(repository)]
    for last in (2, 3, 4):
        repository.commit(TEXT.format(numbers=list(range(1, last + 1))))
        tops.append(top_hash(repository))
    branch = repository.git("branch", "--show-current").strip()
    assert "3 versions sent" in repository.git("push", "-u", "origin", branch)
    assert there(repository, branch) == tops[::-1]
    origin = repository.git("remote", "get-url", "origin").strip()
    repository.git("clone", "-q", "-b", branch, origin, str(tmp_path / "clone"))
    clone = DatasetRepository(tmp_path / "clone", repository.env)
    clone.git("config", "penstock.folders", "links")
    clone.datasets("trust")
    for back, most in ((0, 4), (1, 3), (2, 2)):
        clone.git("checkout", "-q", f"origin/{branch}~{back}")
        clone.datasets("pull")
        assert numbers(clone) == list(range(1, most + 1))
        assert top_hash(clone) == tops[most - 1]


def test_a_remote_that_nobody_has_named_is_told(repository):
    repository.commit(TEXT.replace("store", "nowhere").format(numbers=[1, 4]))
    branch = repository.git("branch", "--show-current").strip()
    said = repository.git("push", "-u", "origin", branch, fails=True)
    assert "cannot be sent to 'nowhere'" in said
    assert "penstock remote add nowhere ADDRESS" in said
    assert branch not in repository.git("ls-remote", "origin")


def test_each_branch_is_pushed_with_its_data_whatever_is_in_its_name(repository):
    branch = repository.git("branch", "--show-current").strip()
    repository.commit(TEXT.format(numbers=[1, 6]))
    first = top_hash(repository)
    repository.git("switch", "-q", "-C", "feature/more-of_it", "one")
    repository.commit(TEXT.format(numbers=[1, 7]))
    repository.git("push", "-q", "-u", "origin", branch)
    repository.git("push", "-q", "-u", "origin", "feature/more-of_it")
    assert there(repository, branch)[0] == first
    assert there(repository, "feature-more-of_it")[0] == top_hash(repository) != first
    assert there(repository, "main") == there(repository, "feature-more-of_it")[1:]


def test_a_push_by_force_puts_aside_no_version_until_git_has_what_is_here(repository):
    branch = repository.git("branch", "--show-current").strip()
    repository.commit(TEXT.format(numbers=[1, 2]))
    repository.git("push", "-q", "-u", "origin", branch)
    first = top_hash(repository)
    repository.write(TEXT.format(numbers=[1, 3]))
    repository.git("commit", "-q", "--amend", "--no-edit", "index.py")
    assert numbers(repository) == [1, 3]
    repository.git("push", "origin", branch, fails=True)
    assert there(repository, branch)[0] == first
    said = repository.git("push", "--force", "origin", branch)
    assert "stays where it is" in said
    assert there(repository, branch)[0] == first
    repository.datasets("push")
    assert there(repository, branch)[0] == top_hash(repository) != first


def test_gc_clears_what_a_remote_has_and_nothing_else(repository):
    branch = repository.git("branch", "--show-current").strip()
    repository.commit(TEXT.format(numbers=[21, 22]))
    repository.git("push", "-q", "-u", "origin", branch)
    repository.git("tag", "-f", "sent")
    sent = repository.shown()
    repository.commit(TEXT.format(numbers=[31, 32]))
    kept = repository.shown()
    told = json.loads(repository.run("python", "-m", "penstock", "gc", "--delete", "--json"))
    assert told["objects"] > 0
    assert repository.shown() == kept
    assert "nothing to do" in repository.datasets("status")
    repository.git("checkout", "-q", "sent")
    repository.datasets("pull")
    assert repository.shown() == sent
    repository.git("checkout", "-q", branch)
    assert repository.shown() == kept


def test_a_file_that_is_tracked_later_is_made_by_a_commit_of_it_alone(repository):
    other = TEXT.replace("Numbers", "Others").replace("text:", "body:").format(numbers=[5])
    (repository.root / "sub").mkdir(exist_ok=True)
    repository.write(other, "sub/other.py")
    repository.datasets("track", "sub/other.py")
    try:
        repository.git("commit", "-q", "sub/other.py", "-m", "other")
        assert DatasetRepository(repository.root / "sub", repository.env).rows("SELECT number FROM Others") == [(5,)]
        assert "nothing to do" in repository.datasets("status")
    finally:
        repository.git("checkout", "-q", "-f", "one")
        repository.datasets("untrack", "sub/other.py")
