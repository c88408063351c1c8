"""What `doctor` says of this machine, and of others that are shown to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.mountpoint.machine_checks import (
    check_background,
    check_cache,
    check_helper,
    check_kernel,
    check_machine,
    check_mounts,
    check_other_users,
    check_read_ahead,
)
from penstock.repo.settings.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "config.toml", tmp_path / "blocks", 64 << 20, {})


def test_every_check_says_what_it_costs_and_how_to_mend_it(settings: Settings) -> None:
    found = list(check_machine(settings))
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    assert {"fuse", "fusermount3", "read-ahead", "max_background", "kernel", "cache", "mounts"} <= set(names)
    for check in found:
        assert bool(check.costs) == bool(check.fix) == (check.state == "warning"), check
    states = {check.name: check.state for check in found}
    assert states["fuse"] == "ok"  # or the tests beside this one could not run
    assert states["cache"] == "ok"


def test_kernels() -> None:
    for release in ("6.9.0", "6.18.44-x", "7.0", "10.1"):
        assert check_kernel(release).state == "ok"
    for release in ("6.8.12-generic", "5.15", "4.19.0", "strange"):
        assert check_kernel(release).state == "warning"


def test_mounting_by_users(tmp_path: Path) -> None:
    empty = str(tmp_path)
    assert check_helper(root=True, search=empty).state == "ok"
    assert check_helper(root=False, search=empty).fix == "As root: apt install fuse3"
    (tmp_path / "fusermount3").write_text("")
    (tmp_path / "fusermount3").chmod(0o755)
    assert check_helper(root=False, search=empty).state == "ok"


def test_letting_other_users_in(tmp_path: Path) -> None:
    configuration = tmp_path / "fuse.conf"
    assert check_other_users(root=True, configuration=str(configuration)).state == "ok"
    assert check_other_users(root=False, configuration=str(configuration)).state == "warning"
    configuration.write_text("#user_allow_other\n")
    told = check_other_users(root=False, configuration=str(configuration))
    assert (told.state, str(configuration) in told.fix) == ("warning", True)
    configuration.write_text("user_allow_other\n")
    assert check_other_users(root=False, configuration=str(configuration)).state == "ok"


def test_read_ahead(tmp_path: Path) -> None:
    assert check_read_ahead(str(tmp_path / "absent")).state == "warning"
    assert check_read_ahead(str(tmp_path)).state == "warning"
    (tmp_path / "8:0").mkdir()
    (tmp_path / "8:0" / "read_ahead_kb").write_text("128")
    assert check_read_ahead(str(tmp_path)).state == "ok"


def test_requests_in_the_background(tmp_path: Path) -> None:
    limit = tmp_path / "max_user_bgreq"
    assert check_background(root=False, limit=str(limit)).state == "ok"
    limit.write_text("12\n")
    told = check_background(root=False, limit=str(limit))
    assert (told.state, told.fix) == ("warning", f"As root: echo 256 > {limit}")
    assert check_background(root=True, limit=str(limit)).state == "ok"
    limit.write_text("256\n")
    assert check_background(root=False, limit=str(limit)).state == "ok"


def test_caches(settings: Settings, tmp_path: Path) -> None:
    (fine,) = check_cache(settings)
    assert (fine.state, str(settings.cache_directory) in fine.found) == ("ok", True)
    (large,) = check_cache(replace(settings, cache_size=1 << 60))
    assert "PENSTOCK_CACHE_SIZE=" in large.fix
    (small,) = check_cache(replace(settings, cache_size=1 << 20))
    assert "below the 32 MiB" in small.found
    assert "PENSTOCK_CACHE_SIZE" in small.fix
    foreign = tmp_path / "open"
    foreign.mkdir()
    foreign.chmod(0o777)
    (open_to_all,) = check_cache(replace(settings, cache_directory=foreign))
    assert "chmod 700" in open_to_all.found
    broken = tmp_path / "broken"
    broken.mkdir(mode=0o700)
    (broken / "segments").write_text("in the way")
    (degraded,) = check_cache(replace(settings, cache_directory=broken))
    assert "degraded" in degraded.found
    assert os.listdir(broken)


def test_no_mounts() -> None:
    assert check_mounts().name == "mounts"
