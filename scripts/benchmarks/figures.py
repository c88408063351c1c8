"""Figures, and the bars they are held against."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Figure", "Figures"]


@dataclass(frozen=True)
class Figure:
    """One measured number. `met` is None for a number without a bar."""

    name: str
    value: float
    unit: str
    bar: str = ""
    met: bool | None = None

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)


class Figures:
    """What a run measured, in order."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def add(
        self, name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Add a figure, with its bar if it has one."""
        bar, met = "", None
        if at_least is not None:
            bar, met = f">= {at_least:g}", value >= at_least
        elif at_most is not None:
            bar, met = f"<= {at_most:g}", value <= at_most
        self.all.append(Figure(name, value, unit, bar, met))

    @property
    def all_met(self) -> bool:
        """Whether no bar was missed."""
        return all(figure.met is not False for figure in self.all)

    def table(self) -> str:
        """Return a Markdown table."""
        lines = ["| what | figure | bar | |", "|---|---|---|---|"]
        for figure in self.all:
            mark = {None: "", True: "met", False: "**missed**"}[figure.met]
            lines.append(f"| {figure.name} | {figure.value:,.4g} {figure.unit} | {figure.bar} | {mark} |")
        return "\n".join(lines)
