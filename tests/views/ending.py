"""A progress whose owner loses interest in the middle of it."""

from __future__ import annotations

from penstock.progress import ProgressMeter, Stage, Unit

__all__ = ["EndingProgress"]


class EndingProgress(ProgressMeter):
    """Asks for the end once `stage` has been advanced `times` times."""

    def __init__(self, stage: str, times: int = 1) -> None:
        super().__init__()
        self._name = stage
        self._left = times

    is_shown = False

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        made = super().stage(name, total=total, unit=unit)
        return _EndingStage(self, made) if name == self._name else made

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.cancel()


class _EndingStage:
    def __init__(self, progress: EndingProgress, stage: Stage) -> None:
        self._progress = progress
        self._stage = stage

    def advance(self, amount: int = 1, /) -> None:
        self._stage.advance(amount)
        self._progress.count()

    def total(self, amount: int, /) -> None:
        self._stage.total(amount)
