"""No test sees the settings, credentials or proxies of whoever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "theirs",
    "PENSTOCK_CACHE_SIZE": "1TB",
    "PENSTOCK_CACHE_DIR": "/theirs",
    "HTTPS_PROXY": "http://theirs:1",
    "XDG_CACHE_HOME": "/theirs",
}


def test_what_is_set_outside_is_not_set_inside(isolated_home):
    assert {name for name in FOREIGN if name in os.environ} == {"PENSTOCK_CACHE_DIR", "XDG_CACHE_HOME"}
    for name in ("HOME", "PENSTOCK_CACHE_DIR", "PENSTOCK_CONFIG", "XDG_CACHE_HOME", "AWS_CONFIG_FILE"):
        assert Path(os.environ[name]).is_relative_to(isolated_home)
    assert Path(os.environ["XDG_RUNTIME_DIR"]).stat().st_mode & 0o777 == 0o700


def test_it_holds_for_someone_with_all_of_that_set():
    inner = f"{__file__}::test_what_is_set_outside_is_not_set_inside"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pytest")), "-q", "-p", "no:cacheprovider", inner],
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | FOREIGN,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.s3
def test_the_environment_of_a_user_leads_to_the_gateway(gateway, aws_environment):
    assert os.environ["AWS_ENDPOINT_URL"] == gateway.endpoint
    assert {name for name in os.environ if name.startswith("AWS_")} == {
        *aws_environment,
        "AWS_CONFIG_FILE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
