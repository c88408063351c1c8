"""Data sets from an enemy: what they may have read on their reader's machine, and that reading changes nothing there.

What a user types is run as it is typed, so that these tests can be run against any version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import AccessError, IntegrityError, UsageError
from penstock.store.base import ByteRange
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

DAYS = 3 * 86_400


def penstock(*arguments: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a folder with old files in it, some with names as temporary files have."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("letter.txt", f"12-{'0a' * 16}"):
        (folder / name).write_text("dear")
        os.utime(folder / name, (time.time() - DAYS,) * 2)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "ok").write_text("content")
    (folder / "deep" / "x").write_text("deep")
    return folder


def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Return the variables of somebody else, who is trusted by nobody here."""
    return {"XDG_STATE_HOME": str(tmp_path / "enemy")}


def bucket_of(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.mark.regress
def test_opening_a_bucket_deletes_nothing(victim: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / ".penstock-tmp").symlink_to(victim)
    before = sorted(os.listdir(victim))
    assert penstock("ls", f"file://{evil}/a:main", check=False).returncode == 3
    assert sorted(os.listdir(victim)) == before


@pytest.mark.regress
def test_reading_a_file_where_it_lies_deletes_nothing_beside_it(victim: Path, source: Path, tmp_path: Path) -> None:
    penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data")
    (source / ".penstock-tmp").symlink_to(victim)
    before = sorted(os.listdir(victim))
    assert penstock("cat", f"{bucket_of(tmp_path)}/data:main/ok").stdout == "content"
    assert sorted(os.listdir(victim)) == before


def test_writing_through_a_link_is_refused_and_deletes_nothing(victim: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".penstock-tmp").symlink_to(victim)
    before = sorted(os.listdir(victim))
    done = penstock("push", source, f"{bucket_of(tmp_path)}/data", check=False)
    assert done.returncode == 6
    assert "symbolic link" in done.stderr
    assert sorted(os.listdir(victim)) == before


@pytest.mark.regress
def test_a_file_that_nobody_allowed_is_not_read(source: Path, tmp_path: Path) -> None:
    handle = f"{bucket_of(tmp_path)}/data:main"
    penstock("push", "--in-place", source, handle, **elsewhere(tmp_path))
    done = penstock("cat", f"{handle}/ok", check=False)
    assert done.returncode == 6, done
    assert done.stdout == ""
    assert f"file://{source}/ok" in done.stderr
    assert "[trust] local" in done.stderr


def test_the_settings_allow_a_folder(source: Path, tmp_path: Path) -> None:
    handle = f"{bucket_of(tmp_path)}/data:main"
    penstock("push", "--in-place", source, handle, **elsewhere(tmp_path))
    allowed = Path(os.environ["PENSTOCK_CONFIG"])
    allowed.write_text(f'[trust]\nlocal = ["{source}/deep"]\n')
    assert penstock("cat", f"{handle}/deep/x").stdout == "deep"
    assert penstock("cat", f"{handle}/ok", check=False).returncode == 6
    allowed.write_text('[trust]\nlocal = ["relative"]\n')
    assert penstock("cat", f"{handle}/deep/x", check=False).returncode == 2


def test_registering_allows_the_folder_on_this_machine_and_says_so(source: Path, tmp_path: Path) -> None:
    done = penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data")
    assert f"below {source} on this machine" in done.stderr
    again = penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data", "--json")
    assert again.stderr == ""
    assert json.loads(again.stdout)["allowed_folder"] is None
    assert penstock("cat", f"{bucket_of(tmp_path)}/data:main/deep/x").stdout == "deep"


def test_a_list_of_folders_that_others_can_change_is_not_believed(source: Path, tmp_path: Path) -> None:
    penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data")
    record = Path(os.environ["XDG_STATE_HOME"]) / "penstock" / "local-folders"
    record.chmod(0o666)
    done = penstock("cat", f"{bucket_of(tmp_path)}/data:main/ok", check=False)
    assert done.returncode == 6
    assert str(record) in done.stderr


@pytest.mark.regress
def test_links_below_an_allowed_folder_lead_nowhere(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("x", "ok"):
        (secret / name).write_text("deep" if name == "x" else "content")  # the very bytes: only the way is wrong
    handle = f"{bucket_of(tmp_path)}/data:main"
    penstock("push", "--in-place", source, handle)
    (source / "deep" / "x").unlink()
    (source / "deep").rmdir()
    (source / "deep").symlink_to(secret)
    (source / "ok").unlink()
    (source / "ok").symlink_to(secret / "ok")
    for path in ("deep/x", "ok"):
        done = penstock("cat", f"{handle}/{path}", check=False)
        assert done.returncode == 6, done
        assert "symbolic link" in done.stderr


def test_the_allowed_folder_itself_may_be_a_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    penstock("push", "--in-place", tmp_path / "link", f"{bucket_of(tmp_path)}/data")
    assert penstock("cat", f"{bucket_of(tmp_path)}/data:main/ok").stdout == "content"


def test_a_pipe_in_place_of_a_file_holds_nobody_up(source: Path, tmp_path: Path) -> None:
    penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data")
    (source / "ok").unlink()
    os.mkfifo(source / "ok")
    assert penstock("cat", f"{bucket_of(tmp_path)}/data:main/ok", check=False).returncode == 5


@pytest.mark.s3
@pytest.mark.regress
def test_a_bucket_elsewhere_leads_to_no_file_here(
    source: Path, tmp_path: Path, bucket: str, aws_environment: dict[str, str]
) -> None:
    penstock("push", "--in-place", source, f"{bucket_of(tmp_path)}/data")
    with open_store(bucket_of(tmp_path)) as local, open_store(f"s3://{bucket}") as remote:
        for info in local.list():
            remote.put(info.key, local.get(info.key))
    done = penstock("cat", f"{bucket}/data:main/ok", check=False)
    assert done.returncode == 6
    assert done.stdout == ""
    refused = penstock("push", "--in-place", source, f"{bucket}/other", check=False)
    assert refused.returncode == 2
    assert "without --in-place" in refused.stderr


Make = Callable[..., object]


@pytest.fixture
def make() -> Make:
    # Here, so that the tests above can be run against versions that have none of it.
    from penstock.repo.fetch.externals import Externals
    from penstock.repo.settings.trust import Trust

    def make(url: str, remotes: dict[str, StoreOptions] | None = None, *, buckets: tuple[str, ...] | None = None):
        own = StoreOptions(endpoint_url="http://own.example", request_payer=True, anonymous=True)
        return Externals(url, own, remotes or {}, Trust((), buckets))

    return make


def options(externals, url: str) -> StoreOptions:
    with externals.open(url) as store:
        return store.__reduce__()[1][2]


def test_other_buckets_are_read_as_the_own_one_but_never_by_who_pays(make: Make) -> None:
    found = options(make("s3://own"), "s3://other/x")
    assert (found.endpoint_url, found.anonymous, found.request_payer) == ("http://own.example", True, False)


def test_a_remote_says_how_what_lies_at_and_below_its_address_is_read(make: Make) -> None:
    payer = StoreOptions(endpoint_url="http://theirs.example", request_payer=True)
    externals = make("s3://own", {"s3://other/in": payer, "s3://other": StoreOptions(region="eu")})
    assert options(externals, "s3://other/in/x") == payer
    assert options(externals, "s3://other/inside").region == "eu"


def test_the_settings_narrow_the_buckets(make: Make) -> None:
    from penstock.manifest.entry import External

    externals = make("s3://own/prefix", buckets=("open",))
    with pytest.raises(AccessError, match="s3://other is not read"):
        externals.get(External("s3://other/x"), ByteRange(0, 1))
    for allowed in ("own", "open"):
        assert externals._allowed_bucket(allowed, "x")


@pytest.mark.parametrize(
    "uri",
    [
        "file:///a/../b",
        "file:///a//b",
        "file:///a/%2e%2e/b",
        "file:///a%00b",
        "file:///a?b",
        "file:///",
        "s3://bucket/a#b",
        "s3://user@bucket/a",
        "s3:///a",
        "file://host/a",
        "http://host/a",
        "/a",
        "s3://[/a",
    ],
)
def test_addresses_that_are_none(make: Make, uri: str) -> None:
    from penstock.manifest.entry import External

    externals = make(f"file://{os.getcwd()}")
    with pytest.raises((IntegrityError, AccessError, UsageError)):
        externals.get(External(uri), ByteRange(0, 1))
