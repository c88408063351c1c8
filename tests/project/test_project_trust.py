"""What a cloned project may reach before its user has said so."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import AccessError, NotFoundError, UsageError
from penstock.project.project import find_project, init_project
from penstock.project.project_trust import (
    check_reachable,
    forget_trust,
    project_settings,
    read_trust,
    require_trust,
    trust_project,
)
from penstock.repo.settings.remote import Remote

REMOTES = """
[remotes.lab]
url = "s3://lab"
endpoint_url = "http://127.0.0.1:9"
profile = "work"

[remotes.disk]
url = "file:///srv/secrets"

[remotes.mine]
url = "s3://theirs"
"""


@pytest.fixture
def hostile(project):
    with open(os.path.join(project.root, "penstock.toml"), "a") as stream:
        stream.write(REMOTES)
    return find_project(project.root)


def test_until_it_is_trusted_remotes_get_no_credentials_no_directory_and_no_name_of_the_users(hostile, settings):
    own = replace(settings, remotes={"mine": Remote(name="mine", url="s3://mine")})
    usable = project_settings(hostile, own)
    assert usable.remotes.keys() == {"lab", "mine"}
    assert usable.remotes["lab"].anonymous
    assert usable.remotes["lab"].profile is None
    assert usable.remotes["mine"].url == "s3://mine"
    with pytest.raises(AccessError, match="penstock trust"):
        check_reachable(hostile, usable, "disk")
    with pytest.raises(AccessError, match="penstock trust"):
        require_trust(hostile, "stage train")


def test_trust_is_for_remotes_as_they_stand_and_is_asked_anew_when_one_changes(hostile, settings):
    trust_project(hostile)
    require_trust(hostile, "stage train")
    usable = project_settings(hostile, settings)
    assert usable.remotes.keys() == {"lab", "mine", "disk"}
    assert usable.remotes["lab"].profile == "work"
    path = os.path.join(hostile.root, "penstock.toml")
    text = Path(path).read_text().replace("/srv/secrets", "/srv/other").replace("s3://lab", "s3://bal")
    with open(path, "w") as stream:
        stream.write(text)
    usable = project_settings(find_project(hostile.root), settings)
    assert usable.remotes.keys() == {"lab", "mine"}
    assert usable.remotes["lab"].anonymous
    forget_trust(hostile)
    assert not read_trust(hostile).runs


def test_trust_does_not_come_along_with_a_copy(hostile, tmp_path):
    trust_project(hostile)
    copy = tmp_path / "copy"
    shutil.copytree(hostile.root, copy, symlinks=True)
    copied = find_project(str(copy))
    assert not read_trust(copied).runs
    with pytest.raises(AccessError, match="penstock trust"):
        assert copied.state
    trust_project(copied)
    assert find_project(str(copy)).state


def test_a_state_folder_that_came_with_a_repository_is_not_believed(repository, tmp_path):
    (repository / ".penstock").mkdir()
    (repository / ".penstock/index.sqlite").write_bytes(b"lies")
    with pytest.raises(AccessError, match="came with the repository"):
        init_project(str(repository))
    shutil.rmtree(repository / ".penstock")
    os.symlink(tmp_path, repository / ".penstock")
    with pytest.raises(AccessError, match="no directory of yours"):
        init_project(str(repository))


@pytest.mark.parametrize(
    "left", [(), (".git/objects/",), (".git/refs/", ".git/HEAD"), (".git/HEAD.7.tmp",), ("mark.7.tmp",)]
)
def test_a_state_folder_whose_maker_was_killed_is_made_to_its_end(repository, left):
    for name in ("", *left):
        path = repository / ".penstock" / name
        if name.endswith("/") or not name:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    project = init_project(str(repository))[0]
    assert project.state == str(repository / ".penstock")
    assert find_project(str(repository)).state == project.state


def test_a_project_is_found_from_within_and_named_when_there_is_none(project, tmp_path):
    deep = os.path.join(project.root, "a/b")
    os.makedirs(deep)
    assert find_project(deep).root == project.root
    with pytest.raises(NotFoundError, match="penstock init"):
        find_project(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "format = 1\n",
        'format = 1\ndataset = "x"\nrun = 1\n',
        'format = 1\ndataset = "../x"\n',
        "format = 1\nremotes = 1\n",
        'format = 1\ndataset = "x"\nremotes = 1\n',
        'format = 1\ndataset = "x"\n[remotes.a]\nurl = "ftp://x"\n',
        "\x00",
    ],
)
def test_a_project_file_that_is_not_as_it_should_be_is_refused(project, text):
    with open(os.path.join(project.root, "penstock.toml"), "w") as stream:
        stream.write(text)
    with pytest.raises(UsageError):
        assert find_project(project.root).file
