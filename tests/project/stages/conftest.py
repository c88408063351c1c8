"""A trusted project, and a way to define and run stages in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.project.project import Project
from penstock.project.project_trust import trust_project
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.execution.repro import ReproOptions, StageResult
from penstock.project.stages.stage_tasks import define_stage, reproduce, stage_status
from penstock.repo.settings.settings import Settings


class Work:
    """Stages of a project, defined and run; `lines` are what commands wrote, `warnings` what was warned of."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = Path(project.root)
        self.lines: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.begun: list[str] = []

    def write(self, path: str, text: str = "") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def stage(self, name: str, command: str, reads=(), makes=(), folder: str = "", **more) -> None:
        define_stage(
            self.project, Stage(StageName(folder, name), command, tuple(reads), tuple(makes), **more), replace=True
        )

    def repro(self, *targets: str, folder: str = "", **options) -> dict[str, StageResult]:
        self.begun.clear()
        found = reproduce(
            self.project, Settings.load, self, self.warnings.append, targets, folder, ReproOptions(**options)
        )
        return {str(each.name): each for each in found}

    def outcomes(self, *targets: str, **options) -> dict[str, str]:
        return {name: each.outcome for name, each in self.repro(*targets, **options).items()}

    def status(self) -> dict[str, list[str]]:
        found = stage_status(self.project, Settings.load, self.warnings.append)
        return {str(each.name): [str(reason) for reason in each.reasons] for each in found}

    def begins(self, stage, why, /) -> None:
        self.begun.append(str(stage.where))

    def line(self, name, text, /) -> None:
        self.lines.append((str(name), text))

    def ended(self, result, /) -> None:
        pass


@pytest.fixture
def work(project: Project) -> Work:
    trust_project(project)
    return Work(project)
