"""What ``penstock list`` says of a bucket: its datasets, with what is said of them."""

from __future__ import annotations

from penstock.api.handles import format_size
from penstock.cli.invocation import Invocation

from .extra import catalogue_extra

__all__ = ["list_datasets"]


def list_datasets(
    invocation: Invocation,
    bucket: str,
    title: str | None,
    description: str | None,
    times: tuple[str | None, ...],
    sort: str,
) -> None:
    """List the datasets of a bucket that fit, in an order."""
    with catalogue_extra():
        from penstock.catalogue.client import Catalogue
        from penstock.catalogue.datasets.dataset_filter import DatasetFilter, parse_time

    limits = (parse_time(each) if each is not None else None for each in times)
    wanted = DatasetFilter(None, title, None, description, *limits)
    output = invocation.output
    rows, cursor = [], None
    with Catalogue.open(bucket, settings=invocation.settings()) as catalogue:
        while True:
            page = catalogue.page(wanted, sort=sort, limit=1000, cursor=cursor)
            for info in page.datasets:
                if output.json:
                    output.record(
                        {
                            "dataset_hash": info.dataset_hash,
                            "handle": f"{info.bucket}/{info.name}",
                            "title": info.title,
                            "description": info.description,
                            "type": info.type,
                            "created_at": info.created_at.isoformat(),
                            "last_edited_at": info.last_edited_at.isoformat(),
                            "entries": info.entries,
                            "bytes": info.bytes,
                            "top_hash": info.top_hash,
                            "user_role": page.roles[bucket].name,
                        }
                    )
                else:
                    name = f"{info.bucket}/{info.name}"
                    edited = f"{info.last_edited_at:%Y-%m-%d %H:%M}"
                    rows.append(
                        (name, str(info.entries), format_size(info.bytes), edited, page.roles[bucket].name, info.title)
                    )
            cursor = page.cursor
            if cursor is None:
                break
    if not output.json:
        output.table(rows, headers=("dataset", "entries", "bytes", "edited", "role", "title"), right={1, 2})
