"""The example of a registry, typed as its page has it, from beginning to end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/registry"
DATASET = "processed/01_image_dataset"
MADE = f"{DATASET}/data/intermediate/remove_corrupted_images"
COMMAND = re.compile(r"^    (?=\w)(.+)$", re.MULTILINE)


def sections() -> dict[str, list[str]]:
    """Return the commands of the page, by the heading that they stand below."""
    parts = re.split(r"^## (.+)$", (EXAMPLE / "README.md").read_text().partition("```")[0], flags=re.MULTILINE)
    return {title: COMMAND.findall(body) for title, body in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> str:
    """Return a PATH on which `penstock` and `python` are those of this run."""
    folder = tmp_path_factory.mktemp("programs")
    for name, words in (("penstock", "-m penstock"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {words} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


class Typist:
    """Somebody who types commands in a copy of the example."""

    def __init__(self, place: Path, programs: str) -> None:
        self.place = place
        self.environment = {**os.environ, "PATH": programs}

    def type(self, commands: list[str], code: int = 0) -> str:
        script = "set -ex\n" + "\n".join(commands)
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def typist(tmp_path, programs) -> Typist:
    shutil.copytree(EXAMPLE, tmp_path / "registry")
    return Typist(tmp_path / "registry", programs)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_page_as_it_is_typed(typist, tmp_path):
    steps = sections()
    made = typist.place / MADE
    typist.type(steps.pop("A project"))
    typist.type(steps.pop("Raw data"))
    told = typist.type(steps.pop("An image data set of it"))
    assert "8 files processed" in told
    first = [f"01_data_collection_16_oct_2021/{number:04}.png" for number in range(7)]
    assert names(made) == first
    typist.type(steps.pop("More raw data, on a branch"))
    told = typist.type(steps.pop("Process it"))
    assert "4 files processed" in told
    assert "img src=" in told
    assert names(made) == first + [f"02_data_collection_20_oct_2021/{number:04}.png" for number in range(8, 11)]
    drawn = typist.type(steps.pop("What it is"))
    picture = (EXAMPLE / "README.md").read_text().partition("```mermaid\n")[2].partition("```")[0]
    assert picture in drawn
    assert not steps
    assert "1 stage is up to date" in typist.type(["penstock repro"])
    assert "nothing changed" in typist.type(["penstock status"])
    # Data follows git, back and forth.
    typist.type(["git checkout -q HEAD~1", "git reset -q --hard"])
    assert names(made) == first
    typist.type(["git checkout -q main"])
    assert len(names(made)) == 10
    # Somebody else has it all without running anything.
    typist.type(
        ["git clone -q ../registry.git ../clone", "cd ../clone", "penstock trust", "penstock pull", "penstock repro"]
    )
    assert names(tmp_path / "clone" / MADE) == names(made)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_stage_as_the_old_page_had_it(typist):
    steps = sections()
    typist.type([*steps["A project"], *steps["Raw data"], *steps["An image data set of it"][:3]])
    stage = (
        "penstock run -n remove_corrupted_images -d src/remove_corrupted_images.py -d 'data/inputs/*' "
        "-o data/intermediate/remove_corrupted_images python src/remove_corrupted_images.py data/inputs/"
    )
    told = typist.type([f"cd {DATASET}", stage, "penstock repro"])
    assert "1 stage is up to date" in told
    assert len(names(typist.place / MADE)) == 7
