"""Keys that the caller hands over, in place of those that boto3 would find: as values, or from a session of its own.

A value travels in pickles, its secrets in no text. A session stays in its process: what travels are the keys that it
has at that moment, which of a role are good for an hour or so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["BotoSession", "Credentials", "frozen_credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key, its secret, and the token of a session if there is one."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class BotoSession(Protocol):
    """What knows keys, and renews them: a session of boto3 or botocore."""

    def get_credentials(self) -> Any:
        """Return boto's credentials, or None: there are none."""
        ...


def frozen_credentials(session: BotoSession) -> Credentials | None:
    """Return the keys that a session has now; None: it has none."""
    found = session.get_credentials()
    if found is None:
        return None
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)
