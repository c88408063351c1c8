"""The configuration file: read strictly, edited without loss, whole under races and failures."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.errors import AccessError, ConflictError, NotFoundError, UsageError
from penstock.repo.settings import config_edit
from penstock.repo.settings.config_edit import add_remote, remove_remote
from penstock.repo.settings.config_file import ConfigFile, read_config
from penstock.repo.settings.remote import Remote

WRITTEN_BY_HAND = """\
# my settings

[cache]
size = "10GB"  # a small disk

[remotes.demo]  # the demonstration
url = "file:///srv/store"

[remotes.lab]
url = "s3://lab/data"
anonymous = true
deadline = 30
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "config.toml"


@pytest.fixture
def written(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text(WRITTEN_BY_HAND)
    return path


def test_no_file_says_nothing(path: Path) -> None:
    assert read_config(path) == ConfigFile()
    assert not path.parent.exists()


def test_reads_everything(written: Path) -> None:
    written.write_text(WRITTEN_BY_HAND.replace("[cache]", '[cache]\ndirectory = "~/cache"'))
    config = read_config(written)
    assert config.cache_directory == Path.home() / "cache"
    assert config.cache_size == 10_000_000_000
    assert dict(config.remotes) == {
        "demo": Remote(name="demo", url="file:///srv/store"),
        "lab": Remote(name="lab", url="s3://lab/data", anonymous=True, deadline=30),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cache\n", ["not TOML", "line 1"]),
        ("a = 1\na = 2\n", ["not TOML", "line 2"]),
        ("[cahce]\nsize = 1", ["no setting cahce", "Did you mean cache?"]),
        ("size = 1", ["no setting size"]),
        ("[cache]\nsise = 1", ["no setting cache.sise", "Did you mean size?"]),
        ("[cache]\nsize = true", ["cache.size is True"]),
        ("[cache]\nsize = 0", ["cache.size is 0"]),
        ('[cache]\nsize = "-5GB"', ["cache.size", "'-5GB'"]),
        ('[cache]\ndirectory = "here"', ["cache.directory is 'here'", "absolute"]),
        ("[cache]\ndirectory = 3", ["cache.directory is 3"]),
        ("cache = 3", ["cache is 3", "section"]),
        ("remotes = 3", ["remotes is 3", "section"]),
        ("[remotes]\ndemo = 'file:///x'", ["remotes.demo is", "section"]),
        ("[remotes.demo]\n", ["remotes.demo has no url"]),
        ("[remotes.demo]\nurl = 3", ["remotes.demo.url is 3", "a string"]),
        ("[remotes.demo]\nurl = 's3://b'\nanonymous = 1", ["remotes.demo.anonymous is 1", "true or false"]),
        ("[remotes.demo]\nurl = 's3://b'\ndeadline = true", ["remotes.demo.deadline is True", "a number"]),
        ("[remotes.demo]\nurl = 's3://b'\nendpoint = 'x'", ["remotes.demo.endpoint", "Did you mean endpoint_url?"]),
        ("[remotes.demo]\nurl = 'b'", ["demo", "url = 'b'"]),
        ("[remotes.'a/b']\nurl = 's3://b'", ["'a/b'"]),
    ],
)
def test_what_is_wrong_is_named_with_the_file(written: Path, text: str, words: list[str]) -> None:
    written.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(written)
    for word in [str(written), *words]:
        assert word in str(caught.value)


def test_bytes_that_are_no_text(written: Path) -> None:
    written.write_bytes(b"# \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_config(written)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot be read"):
        read_config(tmp_path)


def test_the_first_remote_makes_a_private_file(path: Path) -> None:
    demo = Remote(name="demo", url="s3://b", region="x", anonymous=True, deadline=2.5)
    add_remote(path, demo)
    assert read_config(path).remotes == {"demo": demo}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text().startswith("[remotes.demo]\n")


def test_an_edit_keeps_what_people_wrote(written: Path) -> None:
    new = Remote(name="new", url="file:///new")
    add_remote(written, new)
    assert written.read_text().startswith(WRITTEN_BY_HAND)
    removed = remove_remote(written, "new")
    assert removed == new
    assert written.read_text().rstrip() == WRITTEN_BY_HAND.rstrip()
    remove_remote(written, "demo")
    assert 'size = "10GB"  # a small disk' in written.read_text()
    assert set(read_config(written).remotes) == {"lab"}


def test_a_name_that_is_taken(written: Path) -> None:
    before = written.read_text()
    other = Remote(name="demo", url="s3://other")
    with pytest.raises(ConflictError, match=r"file:///srv/store.*--force"):
        add_remote(written, other)
    assert written.read_text() == before
    add_remote(written, other, replace=True)
    assert read_config(written).remotes["demo"] == other
    assert "# my settings" in written.read_text()


def test_to_add_the_same_again_changes_nothing(written: Path) -> None:
    before = written.stat()
    add_remote(written, Remote(name="demo", url="file:///srv/store"))
    assert written.stat().st_mtime_ns == before.st_mtime_ns
    assert written.stat().st_ino == before.st_ino


def test_a_name_that_is_not_there(written: Path) -> None:
    with pytest.raises(NotFoundError, match="Did you mean demo") as caught:
        remove_remote(written, "dmeo")
    assert "demo, lab" in caught.value.why


def test_nothing_is_edited_in_a_file_that_is_wrong(written: Path) -> None:
    written.write_text(WRITTEN_BY_HAND + "[oops]\n")
    with pytest.raises(UsageError, match="oops"):
        add_remote(written, Remote(name="new", url="file:///new"))
    assert written.read_text() == WRITTEN_BY_HAND + "[oops]\n"


@pytest.mark.parametrize(
    "text",
    [
        "remotes = { demo = { url = 'file:///srv/store' } }\n",
        "remotes.demo.url = 'file:///srv/store'\n",
        "[remotes]\ndemo.url = 'file:///srv/store'\n",
        "[remotes]\n[remotes.demo]\nurl = 'file:///srv/store'\n[cache]\nsize = 5\n[remotes.lab]\nurl = 's3://lab'\n",
        "[remotes.demo]\r\nurl = 'file:///srv/store'\r\n",
        "[remotes.demo]\nurl = 'file:///srv/store'",
    ],
)
def test_other_forms_of_toml_are_edited_right_or_refused(written: Path, text: str) -> None:
    written.write_bytes(text.encode())
    before = dict(read_config(written).remotes)
    new = Remote(name="new", url="s3://new", deadline=1.0)
    for change, expected in (
        (lambda: add_remote(written, new), {**before, "new": new}),
        (lambda: remove_remote(written, "demo"), {k: v for k, v in {**before, "new": new}.items() if k != "demo"}),
    ):
        was = written.read_bytes()
        try:
            change()
        except UsageError as error:
            assert "edited safely" in str(error)
            assert written.read_bytes() == was
            return
        assert read_config(written).remotes == expected


def test_a_link_stays_a_link(written: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(written)
    add_remote(link, Remote(name="new", url="file:///new"))
    assert link.is_symlink()
    assert "new" in read_config(written).remotes


def test_no_edit_is_lost_when_many_edit_at_once(written: Path) -> None:
    names = [f"r{i}" for i in range(12)]
    failures: list[BaseException] = []

    def add(name: str) -> None:
        try:
            add_remote(written, Remote(name=name, url=f"file:///{name}"))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(read_config(written).remotes) == {"demo", "lab", *names}


def test_a_lock_that_is_never_let_go(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_edit, "_LOCK_SECONDS", 0.1)
    with open(f"{written}.lock", "w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="another process"):
            remove_remote(written, "demo")
    assert remove_remote(written, "demo").name == "demo"


def test_a_write_that_fails_leaves_the_old_file(written: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from penstock.errors import AccessError\n"
        "from penstock.repo.settings.config_edit import add_remote\n"
        "from penstock.repo.settings.remote import Remote\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "try:\n"
        "    add_remote(Path(sys.argv[1]), Remote(name='new', url='file:///new'))\n"
        "except AccessError as error:\n"
        "    assert 'cannot be written' in error.what, error\n"
        "    sys.exit(66)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(written)], capture_output=True, text=True, check=False)
    assert done.returncode == 66, done.stderr
    assert written.read_text() == WRITTEN_BY_HAND
    assert sorted(os.listdir(written.parent)) == ["config.toml", "config.toml.lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError, match="cannot be written"):
        add_remote(tmp_path / "file" / "config.toml", Remote(name="new", url="file:///new"))


@pytest.mark.parametrize("path", ["/dev/zero", "large"])
def test_a_file_without_an_end_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "large").write_text("#" * (2 << 20))
    with pytest.raises(UsageError, match="no settings file"):
        read_config(tmp_path / path)
    assert read_config(Path("/dev/null")) == ConfigFile()
