"""Killed at any step, run again, moved, without room, another user's: nothing is lost, and what to do is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from views.datasets_in_git import DatasetRepository, new_repository

HEAD = "from pathlib import Path\nfrom penstock import dataset, File, ingest\n"
TEXT = (
    HEAD + "@dataset(remote='demo')\nclass Letters:\n    letter: str\n    text: File['txt']\n"
    "    @ingest\n    def load(done=0):\n"
    "        for number, each in enumerate(Path('letters').read_text()):\n"
    "            if number >= done:\n                stop('ingest', number)\n"
    "                yield {'letter': each, 'text': each.encode()}\n"
)
DERIVED = (
    "    def twice(text: File['txt']) -> File['txt']:\n"
    "        stop('derive', 0)\n        return text.read_bytes() * 2\n"
)
STOP = (
    "\ndef stop(what, number):\n    place = Path('stop')\n"
    "    if place.exists() and place.read_text() == f'{what}{number}':\n"
    "        import time\n        place.with_name('stopped').touch()\n        time.sleep(600)\n"
)
DIE = """
import os, signal, sys
from importlib import import_module
module, name, method = {where}.split(':')
owner = getattr(import_module(module), name)
before = getattr(owner, method)
def die(*arguments, **more):
    if {after}:
        before(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, method, die)
from penstock.cli.declared.hook import main
main([{hook!r}])
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    place = tmp_path_factory.mktemp("accidents")
    found = new_repository(place / "repository", place / "home")
    (found.root / "letters").write_text("abcd")
    (found.root / ".git" / "info" / "exclude").write_text("letters\nstop*\n")
    found.write(HEAD + "@dataset(remote='demo')\nclass Letters:\n    letter: str\n")
    found.datasets("track", "index.py")
    found.git("commit", "-q", "index.py", "-m", "one")
    return found


@pytest.fixture
def repository(begun, request):
    begun.git("checkout", "-q", "-f", "-B", request.node.name[:40].rstrip("[/-").replace("[", "-"), "main")
    return begun


def letters(repository, column="letter"):
    return [row[0] for row in repository.rows(f"SELECT {column} FROM Letters ORDER BY letter")]


def killed(repository, what):
    """Commit, and kill git and all below it where the code says that it is at a step."""
    (repository.root / "stop").write_text(what)
    committing = subprocess.Popen(
        ["git", "commit", "-q", "index.py", "-m", "next"],
        cwd=repository.root,
        env=repository.env,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 100
    while not (repository.root / "stopped").exists():
        assert time.monotonic() < deadline
        assert committing.poll() is None
        time.sleep(0.02)
    os.killpg(committing.pid, signal.SIGKILL)
    committing.wait(60)
    (repository.root / "stopped").unlink()
    (repository.root / "stop").unlink()
    (repository.root / ".git" / "index.lock").unlink(missing_ok=True)
    (repository.root / ".git" / f"next-index-{committing.pid}.lock").unlink(missing_ok=True)


@pytest.mark.timeout(400)
def test_a_kill_while_code_runs_leaves_all_as_it_was_and_the_next_commit_goes_on(repository):
    before, head = repository.shown(), repository.head()
    repository.write(TEXT + DERIVED + STOP)
    for step in ("ingest2", "derive0"):
        killed(repository, step)
        assert (repository.shown(), repository.head()) == (before, head)
    repository.commit(TEXT + DERIVED + STOP)
    assert letters(repository) == ["a", "b", "c", "d"]
    assert len(repository.names("text")) == len(repository.names("twice")) == 4


@pytest.mark.timeout(400)
def test_a_kill_at_each_step_of_ours_is_made_good_by_the_next_command(repository):
    def die(where, hook, after=False):
        code = DIE.format(where=repr(where), hook=hook, after=after)
        done = subprocess.run([sys.executable, "-c", code], cwd=repository.root, env=repository.env, check=False)
        assert done.returncode == -signal.SIGKILL

    text = TEXT.replace("each.encode()", "each.encode() * 2") + STOP
    repository.write(text)
    repository.git("add", "index.py")
    before = repository.shown()
    records = "penstock.project.records"
    die(f"{records}.kept_work:KeptWork:finish", "before")
    die(f"{records}.file_store:FileStore:make_durable", "before")
    die("penstock.repo.refs.refs:Refs:move", "before")
    die("penstock.repo.refs.refs:Refs:move", "before", after=True)
    assert repository.shown() == before
    repository.commit(text)
    assert letters(repository) == ["a", "b", "c", "d"]
    assert os.listdir(repository.root / ".penstock" / "declared") == ["kept.sqlite"]
    shown = repository.shown()
    repository.git("-c", "core.hooksPath=/dev/null", "reset", "-q", "--hard", "HEAD~1")
    die("penstock.project.commits.folders:Folders:_remove", "after")
    die("penstock.project.commits.work_state:WorkState:watch", "after", after=True)
    repository.datasets("checkout")
    assert repository.shown() == before
    repository.git("-c", "core.hooksPath=/dev/null", "reset", "-q", "--hard", "ORIG_HEAD")
    die("penstock.project.commits.folders:Folders:_link", "after", after=True)
    repository.datasets("checkout")
    assert repository.shown() == shown
    assert "nothing to do" in repository.datasets("status")


def test_an_ingest_is_run_again_when_that_is_asked_for(repository):
    repository.commit(TEXT + STOP)
    head = repository.head()
    (repository.root / "letters").write_text("abcdxy")
    assert "nothing to do" in repository.datasets("status")
    assert "2 new" in repository.datasets("run", "--again")
    (repository.root / "letters").write_text("abcd")
    assert letters(repository) == ["a", "b", "c", "d", "x", "y"]
    assert repository.head() == head
    repository.git("checkout", "-q", "HEAD~1")
    repository.git("checkout", "-q", "-")
    assert letters(repository) == ["a", "b", "c", "d", "x", "y"]


def test_several_classes_in_a_file_and_several_files(repository):
    (repository.root / "more").mkdir(exist_ok=True)
    text = TEXT.replace("each.encode()", "each.encode() * 3")
    both = text + "@dataset(remote='demo')\nclass Numbers:\n    number: int\n    @ingest\n    def load():\n"
    both += "        return ([1, 2],)\n" + STOP
    repository.write(both)
    repository.write(text.replace("Letters", "Others").replace("'letters'", "'../letters'") + STOP, "more/other.py")
    repository.datasets("track", "more/other.py")
    try:
        repository.git("commit", "-q", "index.py", "more/other.py", "-m", "all")
        assert letters(repository) == ["a", "b", "c", "d"]
        assert repository.rows("SELECT number FROM Numbers ORDER BY number") == [(1,), (2,)]
        other = DatasetRepository(repository.root / "more", repository.env)
        assert other.rows("SELECT count(*) FROM Others") == [(4,)]
        assert len(other.names("text")) == 4
        assert repository.git("status", "--short") == ""
        repository.git("checkout", "-q", "HEAD~1")
        assert repository.names("more") == []
    finally:
        repository.git("checkout", "-q", "-f", "main")
        repository.datasets("untrack", "more/other.py")


def test_a_repository_that_was_moved_goes_on_when_it_is_trusted_there(repository, tmp_path):
    text = TEXT.replace("each.encode()", "each.encode() * 4")
    repository.commit(text + STOP)
    shown = repository.shown()
    moved = DatasetRepository(tmp_path / "elsewhere", repository.env)
    repository.root.rename(moved.root)
    try:
        assert moved.shown() == shown
        said = moved.commit(text + DERIVED + STOP, fails=True)
        assert "is not run" in said
        assert "git datasets trust" in said
        assert moved.shown() == shown
        moved.datasets("trust")
        moved.commit(text + DERIVED + STOP)
        assert len(moved.names("twice")) == 4
    finally:
        moved.root.rename(repository.root)


def test_a_full_disk_refuses_the_commit_and_leaves_all_as_it_was(repository):
    before, head = repository.shown(), repository.head()
    (repository.root / "letters").write_text("ab")
    big = TEXT.replace("each.encode()", "each.encode() * 300_000")
    full = DatasetRepository(repository.root, repository.env)
    repository.write(big + STOP)
    done = subprocess.run(
        ["sh", "-c", "ulimit -f 200; exec git commit -q index.py -m full"],
        cwd=full.root,
        env=full.env,
        capture_output=True,
        text=True,
        check=False,
    )
    (repository.root / "letters").write_text("abcd")
    assert done.returncode
    assert "Make room" in done.stderr
    assert (repository.shown(), repository.head()) == (before, head)
    left = os.listdir(repository.root / ".penstock" / "declared")
    assert [name for name in left if not name.startswith("kept.sqlite")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_is_told_and_nothing_of_his_is_run(repository, tmp_path):
    repository.commit(TEXT + STOP)
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    code = (
        "import os, sys; os.setgid(65534); os.setuid(65534); os.environ['HOME'] = sys.argv[1];"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    for folder in (repository.root, *repository.root.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    git = [shutil.which("git"), "-c", f"safe.directory={repository.root}"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), *git, "commit", "-q", "--allow-empty", "-m", "theirs"],
        cwd=repository.root,
        env={**repository.env, "HOME": str(home), "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "ermission denied" in done.stderr


def test_a_library_that_this_python_has_not_is_named_and_nothing_changes(repository):
    before, head = repository.shown(), repository.head()
    said = repository.commit(
        "import no_such_library\n" + TEXT.replace("def load(done=0):", "def load():").replace(">= done", ">= 0") + STOP,
        fails=True,
    )
    assert "imports no_such_library, which is not installed" in said
    assert sys.executable in said
    assert (repository.shown(), repository.head()) == (before, head)


def test_duckdb_opens_the_database(repository):
    duckdb = pytest.importorskip("duckdb")
    repository.commit(TEXT + STOP)
    with duckdb.connect() as connection:
        try:
            connection.execute("LOAD sqlite")
        except duckdb.Error:  # DuckDB fetches it from the network; as a package, it is of one version of DuckDB
            folders = pytest.importorskip("duckdb_ext").__path__
            name = f"extensions/v{duckdb.__version__}/*/sqlite_scanner.duckdb_extension"
            found = [path for folder in folders for path in Path(folder).glob(name)]
            if not found:
                pytest.skip("there is no SQLite extension for this DuckDB")
            connection.execute(f"LOAD '{found[0]}'")
        connection.execute(f"ATTACH '{repository.root}/dataset.sqlite' AS made (TYPE sqlite)")
        rows = connection.execute("SELECT letter FROM made.Letters ORDER BY letter").fetchall()
    assert [row for row in rows if row[0] in "abcd"] == [("a",), ("b",), ("c",), ("d",)]
