"""Fixtures of the whole suite: the real S3 server, the proxy that breaks it, and a world without the user's settings.

No test ever sees this machine's credentials, configuration, cache or proxies: every one runs in `isolated_home`.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from servers.faultproxy import FaultProxy
from servers.rgw import RadosGateway
from servers.sshd import SshServer

_FOREIGN = ("AWS_", "PENSTOCK_", "XDG_", "BOTO_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"}
_bucket_numbers = itertools.count(1)

# How long an example took says something about the machine, not about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def isolated_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test an empty home, and every variable that steers Penstock or boto3 a value inside it or none.

    Not below `tmp_path`: a socket's path must fit in 107 bytes, and the runtime folder holds sockets.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        home = Path(folder)
        runtime = home / "run"
        runtime.mkdir(mode=0o700)
        places = {
            "HOME": home,
            "PENSTOCK_CONFIG": home / "penstock.toml",
            "PENSTOCK_CACHE_DIR": home / "blocks",
            "XDG_CONFIG_HOME": home / "config",
            "XDG_CACHE_HOME": home / "cache",
            "XDG_DATA_HOME": home / "data",
            "XDG_STATE_HOME": home / "state",
            "XDG_RUNTIME_DIR": runtime,
            "AWS_CONFIG_FILE": home / "aws-config",
            "AWS_SHARED_CREDENTIALS_FILE": home / "aws-credentials",
        }
        for name, place in places.items():
            monkeypatch.setenv(name, str(place))
        # Else a search for credentials asks an address outside of this machine, and waits.
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield home


@pytest.fixture
def deep_trees(tmp_path: Path) -> Iterator[None]:
    """Remove what a test makes by rm(1): pytest, which would remove it some runs later, fails over trees too deep."""
    yield
    subprocess.run(["rm", "-rf", "--", *tmp_path.iterdir()], check=True)


@pytest.fixture(scope="session")
def gateway() -> Iterator[RadosGateway]:
    """The S3 server, started with the first test that asks for it; one a worker under pytest-xdist."""
    with RadosGateway() as running:
        yield running


@pytest.fixture
def bucket(gateway: RadosGateway) -> str:
    """Return the name of a new, empty bucket on the gateway."""
    name = f"bucket-{next(_bucket_numbers)}"
    gateway.make_bucket(name)
    return name


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """The SSH server, started with the first test that asks for it."""
    with SshServer(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def fault_proxy(gateway: RadosGateway) -> Iterator[FaultProxy]:
    """Put a proxy in front of the gateway that misbehaves on demand."""
    with FaultProxy(f"127.0.0.1:{gateway.port}") as proxy:
        yield proxy


@pytest.fixture
def aws_environment(gateway: RadosGateway, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set what a user would: the variables that lead any S3 client to the gateway as the owner. Returns them."""
    variables = {
        "AWS_ENDPOINT_URL": gateway.endpoint,
        "AWS_ACCESS_KEY_ID": gateway.access_key,
        "AWS_SECRET_ACCESS_KEY": gateway.secret_key,
        "AWS_DEFAULT_REGION": gateway.region,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
