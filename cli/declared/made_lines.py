"""What was made of a declaration, said in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.project.commits.commit_versions import FileResult

__all__ = ["made_lines"]


def made_lines(results: list[FileResult]) -> list[str]:
    """Return lines that say what was made."""
    lines = []
    for each in results:
        for name, built in each.built.items():
            facts = [f"{built.version.count} records"]
            facts += [f"{built.added} new"] if built.added else []
            facts += [f"{built.removed} removed"] if built.removed else []
            facts += [
                f"{method} called {count} time{'s' if count > 1 else ''}" for method, count in built.calls.items()
            ]
            facts += [f"{method} failed for {count}" for method, count in built.failed.items()]
            lines.append(f"{name} {built.version.id.top_hash.hex()[:12]}: {', '.join(facts)}")
    return lines
