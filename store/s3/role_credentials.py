"""Credentials for a while, which may do less than whoever asks for them: by STS, where a server has it.

What they may is a policy, sent as compact JSON: Ceph counts its bytes, and takes blanks amiss. Blocking; any thread.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, NamedTuple

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from penstock.errors import AccessError, StoreUnreachableError
from penstock.store.credentials import Credentials
from penstock.store.options import StoreOptions

__all__ = ["RoleCredentials", "assume_role", "reading_policy"]


class RoleCredentials(NamedTuple):
    """Credentials, until when they are good, and where: of `endpoint` None, at AWS."""

    credentials: Credentials
    expires: dt.datetime
    endpoint: str | None
    region: str | None


def reading_policy(bucket: str, folders: list[str], listed: str) -> str:
    """Return what allows to read objects below folders of a bucket, and to list those below one of them."""
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/{folder}*" for folder in folders],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{listed}*"]}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def assume_role(options: StoreOptions, role: str, policy: str, seconds: int) -> RoleCredentials:
    """Return credentials of a role, less what a policy does not allow. AccessError: they are refused.

    StoreUnreachableError: the server does not answer, or has no STS.
    """
    core = botocore.session.Session(profile=options.profile)
    if options.credentials is not None:
        given = options.credentials
        core.set_credentials(given.access_key, given.secret_key, given.token)
    settings = Config(
        connect_timeout=options.connect_timeout, read_timeout=options.read_timeout, retries={"total_max_attempts": 2}
    )
    session = boto3.session.Session(botocore_session=core)
    client = session.client("sts", region_name=options.region, endpoint_url=options.endpoint_url, config=settings)
    try:
        answer = client.assume_role(RoleArn=role, RoleSessionName="penstock", Policy=policy, DurationSeconds=seconds)
    except ClientError as error:
        raise AccessError(
            "no credentials are given out", why=str(error), fix="Check the role, and whom it trusts."
        ) from error
    except BotoCoreError as error:
        raise StoreUnreachableError(
            "no credentials are given out", why=str(error), fix="Check that the store has STS."
        ) from error
    finally:
        client.close()
    told = answer["Credentials"]
    made = Credentials(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])
    return RoleCredentials(made, told["Expiration"], options.endpoint_url, options.region)
