"""Where a user's own folders are, with a home, without one, and in another user's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import AccessError
from penstock.repo.settings.user_folders import check_owner, has_home, make_user_folder, own_cache_folder, user_folder

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def as_user(code: str, user: int, **environment: str) -> str:
    """Run a piece of Python as a user that has no name, with all modules loaded before the rights go."""
    prelude = (
        "import os\n"
        "from penstock.errors import AccessError\n"
        "from penstock.mountpoint.working_copy.overlay_directory import open_overlay\n"
        "from penstock.mountpoint.overlay_notes import overlay_directory\n"
        "from penstock.repo.settings import user_folders\n"
        f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
        "try:\n"
    )
    body = f"    {code}\nexcept AccessError as error:\n    print(error.what, error.why, error.fix, sep='|')\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + body], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def test_folders_are_where_the_base_directories_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert user_folder("state") == str(tmp_path / "penstock")
    assert has_home()
    assert make_user_folder("state", "mounts") == str(tmp_path / "penstock" / "mounts")
    assert stat.S_IMODE((tmp_path / "penstock" / "mounts").stat().st_mode) == 0o700


@AS_ROOT
@pytest.mark.parametrize("home", [{}, {"HOME": "/"}])
def test_who_has_no_home_has_folders_among_temporary_files_and_no_overlay_there(
    tmp_path: Path, home: dict[str, str]
) -> None:
    os.chmod(tmp_path, 0o1777)
    for each in tmp_path.parents:
        if each.stat().st_mode & 0o001 == 0:
            os.chmod(each, each.stat().st_mode | 0o011)
    environment = {**home, "TMPDIR": str(tmp_path)}
    made = as_user(
        "print(user_folders.make_user_folder('log', 'mounts'), user_folders.has_home())", 54321, **environment
    )
    assert made == f"{tmp_path}/penstock-54321/log/mounts False"
    assert "--overlay-dir" in as_user("open_overlay(overlay_directory('/mnt'))", 54321, **environment)
    # What another user put there in time is not used.
    (tmp_path / "penstock-54322").mkdir()
    told = as_user("user_folders.user_folder('state')", 54322, **environment)
    assert "XDG_STATE_HOME" in told
    assert "not a directory of yours" in told
    (tmp_path / "penstock-54323").symlink_to(tmp_path / "penstock-54321")
    assert "not a directory of yours" in as_user("user_folders.user_folder('state')", 54323, **environment)


@AS_ROOT
def test_root_makes_nothing_in_another_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 54321, 54321)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AccessError, match="sudo -H"):
        make_user_folder("log", "mounts")
    assert not Path(own_cache_folder()).is_relative_to(home)
    assert list(home.iterdir()) == []


@AS_ROOT
def test_what_root_has_left_is_named_with_the_command_that_gives_it_back(tmp_path: Path) -> None:
    for each in tmp_path.parents:
        if each.stat().st_mode & 0o001 == 0:
            os.chmod(each, each.stat().st_mode | 0o011)
    os.chmod(tmp_path, 0o755)
    home = tmp_path / "home"
    (home / ".local/state/penstock/log/mounts").mkdir(parents=True)
    for folder in (home, home / ".local", home / ".local/state", home / ".local/state/penstock"):
        os.chown(folder, 54321, 54321)
    told = as_user("user_folders.make_user_folder('log', 'mounts')", 54321, HOME=str(home))
    assert f"sudo chown -R 54321:54321 {home}/.local/state/penstock/log/mounts" in told


def test_a_folder_of_our_own_is_ours(tmp_path: Path) -> None:
    check_owner(str(tmp_path / "not" / "there" / "yet"))
