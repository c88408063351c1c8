"""What a bucket does with what was deleted: told by `penstock doctor`, with the rule that ends it. Blocking."""

from __future__ import annotations

import json

from penstock.errors import PenstockError
from penstock.repo.bucket import object_keys
from penstock.store.base import Store

from .check import Check, failed, fine, warning

__all__ = ["check_versions", "lifecycle_rule"]

_DAYS = 7


def check_versions(store: Store) -> Check:
    """Return whether deleted objects stay as versions, and if so, whether a lifecycle rule ends that."""
    try:
        policy = store.version_policy()
    except PenstockError as error:
        return failed("versions", error, "nobody knows whether what is deleted is gone")
    if policy.keeps is None:
        return fine("versions", "not known: these credentials lack s3:GetBucketVersioning")
    if not policy.keeps:
        return fine("versions", "none are kept: what is deleted is gone")
    if policy.expires:
        return fine("versions", "kept, until a lifecycle rule removes them")
    known = "no lifecycle rule removes it" if policy.expires is False else "s3:GetLifecycleConfiguration is refused"
    return warning(
        "versions",
        f"what is deleted or written anew stays in the bucket, and {known}",
        "gc frees no space, but with --versions",
        f"Add this rule to the bucket's lifecycle configuration: {json.dumps(lifecycle_rule(store.url))}",
    )


def lifecycle_rule(url: str) -> dict[str, object]:
    """Return the lifecycle rule, as S3's API has it, for a store in a bucket or below a prefix of one."""
    prefix = url.removeprefix("s3://").partition("/")[2]
    return {
        "Rules": [
            {
                "ID": "penstock-old-versions",
                "Status": "Enabled",
                "Filter": {"Prefix": f"{prefix}/{object_keys.ROOT}" if prefix else object_keys.ROOT},
                "NoncurrentVersionExpiration": {"NoncurrentDays": _DAYS},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
            }
        ]
    }
