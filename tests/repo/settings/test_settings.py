"""Settings: which source wins, what the defaults are, and which store a bucket's name opens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.errors import NotFoundError, UsageError
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings, default_cache_size, find_config
from penstock.store.options import StoreOptions


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        '[cache]\ndirectory = "/from/file"\nsize = "3GB"\n'
        f'[remotes.demo]\nurl = "file://{tmp_path}/store"\n'
        '[remotes.lab]\nurl = "s3://real-name/prefix"\nendpoint_url = "http://127.0.0.1:1"\ndeadline = 3\n'
    )
    return path


def test_the_order_of_sources(config: Path) -> None:
    environ = {"PENSTOCK_CONFIG": str(config)}
    settings = Settings.load(environ=environ)
    assert (settings.cache_directory, settings.cache_size) == (Path("/from/file"), 3_000_000_000)
    environ |= {"PENSTOCK_CACHE_DIR": "/from/environment", "PENSTOCK_CACHE_SIZE": "4GB"}
    settings = Settings.load(environ=environ)
    assert (settings.cache_directory, settings.cache_size) == (Path("/from/environment"), 4_000_000_000)
    settings = Settings.load(cache_directory=Path("/from/line"), cache_size=5, environ=environ)
    assert (settings.cache_directory, settings.cache_size) == (Path("/from/line"), 5)
    assert settings.config_path == config
    assert set(settings.remotes) == {"demo", "lab"}


def test_an_empty_variable_is_not_set(config: Path) -> None:
    environ = {"PENSTOCK_CONFIG": str(config), "PENSTOCK_CACHE_DIR": "", "PENSTOCK_CACHE_SIZE": ""}
    assert Settings.load(environ=environ).cache_directory == Path("/from/file")
    assert find_config(environ={"PENSTOCK_CONFIG": ""}) == find_config(environ={})


def test_the_defaults_are_the_users_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = Settings.load(environ={})
    assert settings.config_path == tmp_path / "config/penstock/config.toml"
    assert settings.cache_directory == tmp_path / "cache/penstock"
    assert settings.cache_size == default_cache_size(tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_command_line_names_another_file(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[cache]\nsize = 7\n")
    assert Settings.load(config=other, environ={"PENSTOCK_CONFIG": str(config)}).cache_size == 7


def test_a_file_that_the_command_line_names_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--config"):
        Settings.load(config=tmp_path / "typo.toml", environ={})
    assert Settings.load(environ={"PENSTOCK_CONFIG": str(tmp_path / "later.toml")}).remotes == {}


@pytest.mark.parametrize("text", ["fifty", "0", "-1GB"])
def test_a_bad_size_in_the_environment(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PENSTOCK_CACHE_SIZE"):
        Settings.load(environ={"PENSTOCK_CACHE_SIZE": text, "PENSTOCK_CONFIG": str(tmp_path / "none")})


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(environ={"PENSTOCK_CONFIG": "c.toml", "PENSTOCK_CACHE_DIR": "cache"})
    assert settings.config_path == tmp_path / "c.toml"
    assert settings.cache_directory == tmp_path / "cache"


def test_the_default_size_is_bounded_by_the_disk(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    expected = min(50_000_000_000, facts.f_blocks * facts.f_frsize // 4)
    assert default_cache_size(tmp_path) == expected
    assert default_cache_size(tmp_path / "not" / "there") == expected


def test_where_a_bucket_is(config: Path, tmp_path: Path) -> None:
    settings = Settings.load(config=config, environ={})
    assert settings.locate_bucket("demo") == (f"file://{tmp_path}/store", StoreOptions())
    assert settings.locate_bucket("lab") == (
        "s3://real-name/prefix",
        StoreOptions(endpoint_url="http://127.0.0.1:1", deadline=3),
    )
    assert settings.locate_bucket("elsewhere") == ("s3://elsewhere", StoreOptions())
    assert settings.locate_bucket("s3://demo") == ("s3://demo", StoreOptions())
    assert settings.locate_bucket("file:///srv") == ("file:///srv", StoreOptions())
    with pytest.raises(UsageError):
        settings.locate_bucket("no bucket")


def test_a_remote_opens_the_store_it_names(config: Path, tmp_path: Path) -> None:
    store = Settings.load(config=config, environ={}).open_bucket("demo")
    store.put("a/key", b"body")
    assert (tmp_path / "store" / "a" / "key").read_bytes() == b"body"
    store.close()


def test_settings_are_a_value() -> None:
    remotes = {"demo": Remote(name="demo", url="file:///srv")}
    assert Settings(Path("/c"), Path("/d"), 5, remotes) == Settings(Path("/c"), Path("/d"), 5, dict(remotes))


def test_a_mistyped_remote_is_named_when_the_bucket_of_that_name_cannot_be_read(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "config.toml", tmp_path, 1 << 20, {"demo": Remote(name="demo", url="s3://other")})
    url, options = settings.locate_bucket("dmo")
    assert url == "s3://dmo"
    assert options.hint.startswith("Did you mean demo?")
    assert options == settings.locate_bucket("something-else")[1]
    assert settings.locate_bucket("something-else")[1].hint == ""
