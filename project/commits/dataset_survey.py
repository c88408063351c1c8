"""What a repository's datasets are like, without running anything: what a commit would do, what commits have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import PenstockError
from penstock.project.declared.declaration import Declaration, Role
from penstock.project.git import ask_git
from penstock.project.records.dataset_schema import Schema, renames, schema_of
from penstock.project.records.versions import Version

from .commit_versions import read_staged
from .declared_repository import DeclaredRepository
from .git_texts import GitTexts
from .ties import read_tie, tied_commits
from .work_tree import WorkTree

__all__ = ["LoggedVersion", "Survey", "commits_with_versions", "survey"]


@dataclass(slots=True)
class Survey:
    """What was found. `plans`: by dataset, what a commit of what is staged would do."""

    head: str | None
    versions: dict[str, tuple[str, int]] = field(default_factory=dict)
    untied: list[str] = field(default_factory=list)
    plans: dict[str, list[str]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.untied or self.changed or self.problems or any(self.plans.values()))

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "head": self.head,
            "versions": {name: {"top_hash": each[0], "records": each[1]} for name, each in self.versions.items()},
            "untied": self.untied,
            "plans": self.plans,
            "changed": self.changed,
            "problems": self.problems,
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        for name, (top_hash, records) in self.versions.items():
            yield f"{name}: {top_hash[:12]}, {records} records"
        for file in self.untied:
            yield f"{file}: HEAD was committed without its data; git datasets run makes it"
        for name, plan in self.plans.items():
            yield from (f"{name}: a commit would {each}" for each in plan)
        for path in self.changed:
            yield f"changed here: {path}"
        yield from self.problems
        if self.is_clean:
            yield "nothing to do"


def survey(repository: DeclaredRepository) -> Survey:
    """Look at a repository. What of it cannot be read is said as a problem."""
    files = repository.require_tracked()
    head = repository.head()
    found = Survey(head)
    tied = repository.tied_files(head)
    texts = GitTexts(repository.root)
    if head is not None:
        found.untied = repository.missing(head)
    for file in files:
        try:
            source = read_staged(repository, file, texts)
            versions = repository.versions(tied.get(file))
            for name, version in versions.items():
                found.versions[name] = (version.id.top_hash.hex(), version.count)
            for declaration in source.declarations if source is not None else ():
                found.plans[declaration.name] = plan(declaration, versions.get(declaration.name))
            if source is None:
                found.problems.append(f"{file} is not staged: git add {file}")
        except PenstockError as error:
            found.problems.append(str(error))
    try:
        found.changed = WorkTree(repository).changed()
    except PenstockError as error:
        found.problems.append(str(error))
    return found


def plan(declaration: Declaration, version: Version | None) -> list[str]:
    """Say what a commit would do to a dataset; nothing, when it is as declared."""
    schema = schema_of(declaration)
    if version is None:
        said = ["make the dataset"]
        return said + [f"run {each.name}" for each in declaration.of_role(Role.INGEST)]
    before = version.schema
    names = renames(declaration, before)
    said = [f"rename {old} to {new}" for old, new in names.items()]
    olds = {each.name: each for each in before.fields}
    for each in schema.fields:
        old = olds.get(next((name for name, new in names.items() if new == each.name), each.name))
        if old is None:
            said.append(f"add {each.name}: {each.type}")
        elif old.type != each.type:
            said.append(f"make {each.name} {each.type}, which was {old.type}")
    said += [f"remove {name}" for name in olds if schema.field(name) is None and name not in names]
    said += [f"run {name}" for name, digest in schema.ingests.items() if before.ingests.get(name) != digest]
    return said + _changed_methods(schema, before, names, version.count)


def _changed_methods(schema: Schema, before: Schema, names: dict[str, str], count: int) -> list[str]:
    olds = {names.get(name, name): digest for name, digest in before.methods.items()}
    return [
        f"call {name} for each of {count} records, as far as that was not done before"
        for name, digest in schema.methods.items()
        if olds.get(name) != digest
    ]


@dataclass(frozen=True, slots=True)
class LoggedVersion:
    """A commit that changed data. `records` None: the version is not here."""

    commit: str
    subject: str
    dataset: str
    top_hash: str
    records: int | None


def commits_with_versions(repository: DeclaredRepository, most: int) -> Iterator[LoggedVersion]:
    """Yield the commits of HEAD's history that have versions of their own, newest first."""
    tied = set(tied_commits(repository.root))
    if repository.head() is None:
        return
    shown = 0
    for line in ask_git(repository.root, "log", "--format=%H %s").decode("utf-8", "replace").splitlines():
        commit, _, subject = line.partition(" ")
        if commit not in tied:
            continue
        tie = read_tie(repository.root, commit)
        for file in tie.files.values() if tie is not None else ():
            for name, version in file.datasets.items():
                records: int | None
                try:
                    records = repository.version(name, version).count
                except PenstockError:
                    records = None
                yield LoggedVersion(commit, subject, name, version.top_hash, records)
        shown += 1
        if shown == most:
            return
