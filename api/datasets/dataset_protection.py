"""Branches that take no version but what fits their rules, and who approves of one. One part of `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.api.handles import DEFAULT_BRANCH, as_handle
from penstock.errors import NotFoundError, UsageError
from penstock.repo.history.log import find_published
from penstock.repo.write.authorship import default_author

from .dataset_session import DatasetSession, authorship

__all__ = ["ApprovalReport", "BranchProtection", "DatasetProtection"]


@dataclass(frozen=True, slots=True)
class BranchProtection:
    """What is to hold on a branch: `checks` as they are written.

    `number`, `author` and `time` are of the record that says so. `unchecked`: the branch was moved since by a client
    that does not know its rules, so that nothing has held that against them yet.
    """

    branch: str
    checks: tuple[str, ...]
    number: int
    author: str
    time: str
    unchecked: bool


@dataclass(frozen=True, slots=True)
class ApprovalReport:
    """Who approved of which version when."""

    commit: str
    author: str
    message: str
    time: str


class DatasetProtection(DatasetSession):
    """The protected branches of a `Dataset`."""

    __slots__ = ()

    def protections(self) -> list[BranchProtection]:
        """Return the protected branches, by name.

        >>> import penstock
        >>> penstock.Dataset("demo/photos").protections()
        []
        """
        from penstock.repo.protection.branch_rules import protected_branches
        from penstock.repo.protection.check_text import show_check

        return [
            BranchProtection(
                each.branch,
                tuple(map(show_check, each.rules.checks)),
                each.number,
                each.record.author,
                each.record.time,
                each.unchecked,
            )
            for each in protected_branches(self._repository)
        ]

    def protect(
        self,
        checks: Sequence[str],
        *,
        branch: str = DEFAULT_BRANCH,
        anyway: bool = False,
        author: str | None = None,
    ) -> BranchProtection:
        """Let a branch take no version from now on that does not fit these checks, in place of those it had.

        ``schema:FILE``, ``rules:FILE`` (as `Package.validate`), ``pairs:labels/*.json=images/*.jpg``, ``size:100MB``
        of one file, ``total:1TB``, ``entries:1000000``, ``leak:DATASET[:REF]`` (no content of it is there),
        ``command:TEXT``, ``approval[:N]``. Commits, merges, resets and pushes to the branch that do not fit are
        refused with the paths (ProtectedError), by every client that knows of this.

        ProtectedError: what the branch has now does not fit; `anyway`: that is left as it is. UsageError: there is no
        such check. Nothing has changed then.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> photos.protect(["size:1MB", "pairs:2024/*.jpg=labels.csv"]).checks  # doctest: +SKIP
        """
        from penstock.repo.protection.branch_rules import protect_branch
        from penstock.repo.protection.check_text import parse_check
        from penstock.repo.protection.command_check import command_mark
        from penstock.repo.settings.trust import allow_command

        if not checks:
            raise UsageError("no check is named", fix="Name some: --check size:100MB --check approval")
        rules = tuple(parse_check(text, self._located) for text in checks)
        for rule in rules:
            if rule.check == "command":
                allow_command(command_mark(str(rule.settings["command"])))  # whoever types it here, trusts it here
        who = author or default_author()
        with self._writing(authorship(who, "", "protect"), branch) as writer:
            protect_branch(writer.session, writer.repository, writer.access, branch, rules, who, anyway=anyway)
        return self._protection_of(branch)

    def unprotect(self, branch: str = DEFAULT_BRANCH, *, author: str | None = None) -> None:
        """Hold a branch against nothing any more. NotFoundError: it is not protected."""
        from penstock.repo.protection.branch_rules import unprotect_branch

        who = author or default_author()
        with self._writing(authorship(who, "", "unprotect"), branch) as writer:
            unprotect_branch(writer.repository, writer.access, branch, who)

    def trust_checks(self, branch: str = DEFAULT_BRANCH) -> list[str]:
        """Let the commands that protect a branch be run on this machine; return their texts."""
        from penstock.repo.protection.branch_rules import protected_branches
        from penstock.repo.protection.command_check import command_mark
        from penstock.repo.settings.trust import allow_command

        texts = [
            str(rule.settings["command"])
            for each in protected_branches(self._repository)
            if each.branch == branch
            for rule in each.rules.checks
            if rule.check == "command"
        ]
        for text in texts:
            allow_command(command_mark(text))
        return texts

    def approve(self, ref: str, *, message: str = "", author: str | None = None) -> ApprovalReport:
        """Say that one approves of a version that somebody else made. UsageError: it is one's own.

        NotFoundError: there is no such version.
        """
        from penstock.repo.protection.approvals import approve

        who = author or default_author()
        with self._writing(authorship(who, message, "approve")) as writer:
            commit = find_published(writer.repository, ref).known_commit
            made = approve(writer.repository, writer.access, commit, who, message)
        return ApprovalReport(made.commit, made.author, made.message, made.time)

    def _protection_of(self, branch: str) -> BranchProtection:
        for each in self.protections():
            if each.branch == branch:
                return each
        raise NotFoundError(f"branch {branch!r} of {self.name} is not protected")

    def _located(self, text: str) -> str:
        """Return what means a data set on every machine: its name in this bucket, or the address of another one."""
        handle = as_handle(text if "/" in text else f"{self.handle.bucket.rstrip('/')}/{text}")
        if handle.dataset is None or handle.subdir:
            raise UsageError(f"{text!r} names no data set", fix="Write leak:DATASET[:REF]")
        address = self.settings.locate_bucket(handle.bucket)[0]
        self._session.get().repository(handle.dataset)
        name = f"{handle.dataset}:{handle.ref}" if handle.ref is not None else handle.dataset
        if address == self.settings.locate_bucket(self.handle.bucket)[0]:
            return name
        if not (address.startswith(("file://", "https://")) or address.count("/") == 2):
            raise UsageError(
                f"{text!r} cannot be named in a rule",
                why="it lies below a prefix of a bucket, which only this machine's name for it tells",
                fix="Name a data set of the same bucket.",
            )
        return f"{address.rstrip('/')}/{name}"
