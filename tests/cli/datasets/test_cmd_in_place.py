"""``penstock push --in-place`` of a bucket that everybody may read, by somebody who has no credentials at all."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from servers.rgw import RadosGateway

pytestmark = pytest.mark.s3
Run = Callable[..., Result]


@pytest.fixture
def public(gateway: RadosGateway, bucket: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket that everybody may list and read, and a local one; return its name."""
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert gateway.request("PUT", f"/{bucket}?policy", policy.encode()).status in (200, 204)
    assert gateway.request("PUT", f"/{bucket}/images/a.png", body=b"picture").status == 200
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    return bucket


@pytest.mark.parametrize("by_identity", [False, True])
def test_a_public_bucket_is_registered_by_its_remotes_name(
    run: Run, gateway: RadosGateway, public: str, by_identity: bool
) -> None:
    added = run(
        *("remote", "add", "pub", f"s3://{public}", "--anonymous"),
        *("--endpoint-url", gateway.endpoint, "--region", gateway.region, "--addressing-style", "path"),
    )
    assert added.exit_code == 0, added.stderr
    options = ["--identity"] if by_identity else []
    for source in (f"s3://{public}/images", "pub/images"):
        done = run("push", "--in-place", source, "demo/x", "--json", *options)
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["files"] == 1
    assert run("cat", "demo/x/a.png").stdout == "picture"


def test_without_credentials_a_remote_is_named(
    run: Run, gateway: RadosGateway, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.endpoint)
    told = run("push", "--in-place", f"s3://{public}/images", "demo/x")
    assert told.exit_code == 6
    assert f"penstock remote add {public} s3://{public} --anonymous" in told.stderr


def test_an_object_with_a_customers_key_says_what_it_is(run: Run, gateway: RadosGateway, public: str) -> None:
    key = bytes(range(32))
    headers = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode(),
        "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }
    assert gateway.request("PUT", f"/{public}/images/secret.png", body=b"picture", headers=headers).status == 200
    added = run(
        *("remote", "add", "pub", f"s3://{public}", "--anonymous"),
        *("--endpoint-url", gateway.endpoint, "--region", "us-east-1", "--addressing-style", "path"),
    )
    assert added.exit_code == 0
    told = run("push", "--in-place", "pub/images", "demo/images")
    assert told.exit_code == 1
    assert "secret.png: " in told.stderr
    assert "encrypted with a customer's key (SSE-C)" in told.stderr
    assert run("push", "--in-place", "--skip-unreadable", "pub/images", "demo/images").exit_code == 1
    assert run("ls", "demo/images").stdout == "a.png\n"
