"""What mount(8) says, and what `penstock mount` is called with."""

from __future__ import annotations

import pytest

from penstock.cli.operation.mount_helper import HelperCall, parse_call


def test_options_become_those_of_penstock_mount() -> None:
    words = ["lab/photos:v1", "/mnt/photos", "-n", "-o", "rw,allow_other,cache_size=50G,noexec", "-o", "config=/etc/c"]
    wanted = (
        "--config",
        "/etc/c",
        "mount",
        "--allow-other",
        "--cache-size",
        "50G",
        "--",
        "lab/photos:v1",
        "/mnt/photos",
    )
    assert parse_call(words) == HelperCall(wanted, "/mnt/photos", ("noexec",), is_fake=False)


@pytest.mark.parametrize(
    "option",
    [
        "ro",
        "defaults",
        "_netdev",
        "nofail",
        "noauto",
        "nosuid",
        "nodev",
        "relatime",
        "user",
        "x-systemd.automount",
        "comment=x",
    ],
)
def test_what_every_file_system_takes_is_left_alone(option: str) -> None:
    assert parse_call(["a/b", "/m", "-o", option]).arguments == ("mount", "--", "a/b", "/m")


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    with pytest.raises(ValueError, match="--help"):
        parse_call(["--help", "/m"])
    assert parse_call(["a/b", "/m", "-o", "uid=--help"]).arguments[1:3] == ("--uid", "--help")


@pytest.mark.parametrize(
    "words", [["a/b"], ["a/b", "/m", "/n"], ["a/b", "/m", "-o"], ["a/b", "/m", "-o", "cach_size=1"]]
)
def test_what_is_not_understood_is_refused_with_what_there_is(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"usage: mount\.penstock|wants a value|there are allow_other, cache_dir="):
        parse_call(words)
    if words[3:] == ["cach_size=1"]:
        assert parse_call([*words, "-s"]).arguments == ("mount", "--", "a/b", "/m")  # mount(8) was told to be lax


def test_a_fake_mount_is_known() -> None:
    assert parse_call(["a/b", "/m", "-fv"]) == HelperCall(("-v", "mount", "--", "a/b", "/m"), "/m", (), is_fake=True)
