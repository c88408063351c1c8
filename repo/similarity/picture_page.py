"""A page of HTML with pictures side by side: one file, which loads nothing and runs nothing.

Names come from anybody: what is not printable in them is shown as an escape, and all of it is escaped for HTML. Pure.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["PageRow", "PictureCell", "picture_page"]

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.4rem}p{color:#4a5568}section{border-top:1px solid #d8dee9;padding:1rem 0}
h2{font-size:1rem;margin:0 0 .6rem;overflow-wrap:anywhere}div{display:flex;gap:1rem;flex-wrap:wrap}
figure{margin:0;flex:1 1 14rem;min-width:0}figcaption{overflow-wrap:anywhere;font-size:.9rem;color:#4a5568}
img{max-width:100%;background:repeating-conic-gradient(#eee 0 25%,#fff 0 50%) 0/16px 16px}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6eaf0}p,figcaption{color:#a8b3c2}section{border-color:#2f3845}}
"""


class PictureCell(NamedTuple):
    """A small picture (PNG, empty: `note` says why there is none), and what is said of it."""

    label: str
    picture: bytes
    note: str = ""


class PageRow(NamedTuple):
    """Pictures that belong together, and what they have to do with each other."""

    title: str
    cells: tuple[PictureCell, ...]


def picture_page(title: str, about: str, rows: Iterable[PageRow]) -> Iterator[str]:
    """Yield the page, piece by piece."""
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        'style-src \'unsafe-inline\'"><meta name="viewport" content="width=device-width">'
        f"<title>{_shown(title)}</title><style>{_STYLE}</style><h1>{_shown(title)}</h1><p>{_shown(about)}</p>\n"
    )
    for row in rows:
        yield f"<section><h2>{_shown(row.title)}</h2><div>"
        for cell in row.cells:
            drawn = f'<img alt="" src="data:image/png;base64,{base64.b64encode(cell.picture).decode()}">'
            note = f"<br>{_shown(cell.note)}" if cell.note else ""
            yield (
                f"<figure>{drawn if cell.picture else ''}<figcaption>{_shown(cell.label)}{note}</figcaption></figure>"
            )
        yield "</div></section>\n"


def _shown(text: str) -> str:
    plain = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    return html.escape(plain)
