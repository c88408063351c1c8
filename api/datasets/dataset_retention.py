"""How long versions of a dataset are kept, and which that are. One part of `Dataset`."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.repo.write.authorship import default_author

from .dataset_session import DatasetSession, authorship

__all__ = ["DatasetRetention", "RetentionPlan", "VersionRetention"]


@dataclass(frozen=True, slots=True)
class VersionRetention:
    """A version in the history of a branch. `kept` says why it stays; None: the policy lets it go."""

    commit: str
    top_hash: str
    time: str
    author: str
    message: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """A policy, and what it does with the versions that there are, the newest first. `stated`: it holds."""

    policy: str
    stated: bool
    versions: tuple[VersionRetention, ...]


class DatasetRetention(DatasetSession):
    """The policy of a `Dataset`."""

    __slots__ = ()

    def retention(self, policy: str | None = None) -> RetentionPlan:
        """Return what the policy of the dataset keeps, or what another one would keep.

        UsageError: it is no policy. What mounts hold, and what is younger than the grace period, `Bucket.gc` keeps
        besides.

        >>> import penstock
        >>> plan = penstock.Dataset("demo/photos").retention("keep last 1, tags for ever")
        >>> [(version.message, version.kept) for version in plan.versions]
        [('second batch', 'branch main'), ('first batch', 'tag v1')]
        """
        from penstock.repo.gc.retention_preview import preview
        from penstock.repo.retention.policy_record import NO_POLICY, stated_policy
        from penstock.repo.retention.policy_text import parse_policy

        repository = self._repository
        stated = stated_policy(repository) if policy is None else None
        meant = stated[2] if stated is not None else parse_policy(policy or NO_POLICY)
        if not repository.exists():
            repository.resolve(None)  # raises, and says what there is
        versions = tuple(
            VersionRetention(
                each.commit_id.hex(),
                each.commit.top_hash.hex(),
                each.commit.time,
                each.commit.author,
                each.commit.message,
                each.kept or None,
            )
            for each in preview(repository, meant)
        )
        return RetentionPlan(meant.text, stated is not None, versions)

    def set_retention(self, policy: str, *, author: str | None = None) -> RetentionPlan:
        """Say how long versions are kept from now on: ``keep last 30 daily, 12 monthly, tags for ever``.

        `Bucket.gc` lets go of the others, of which the commits stay in the log: noted by one run and deleted by a
        later one, as all that it deletes. UsageError: it is no policy. ConflictError: somebody else has said
        something meanwhile.
        """
        from penstock.repo.retention.policy_record import set_policy

        who = author or default_author()
        self.retention(policy)  # raises what is wrong, before anything is written
        with self._writing(authorship(who, "", "policy")) as writer:
            set_policy(writer.repository, writer.access, policy, who)
        return self.retention()
