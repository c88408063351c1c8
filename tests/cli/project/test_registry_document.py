"""The example of a registry, typed as its page has it; and the document of another tool, typed with this one."""

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

    def type(self, commands: list[str], code: int = 0, folder: str = ".") -> str:
        script = "set -ex\n" + "\n".join(commands)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.place / folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
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


# ---------------------------------------------------------------- the document of another tool, typed with this one

DOCUMENT = ROOT / "tests/documents/registry.md"
FIRST, SECOND = "01_data_collection_16_oct_2021", "02_data_collection_20_oct_2021"

DEPARTURES = (
    # What stands in the document, what is typed instead, and why.
    ("poetry install", None, "the example needs no environment of its own"),
    ("poetry run dvc ", "penstock ", "the verbs are the same"),
    ("poetry run python ", "python ", "as above"),
    ("/srv/image_data_registry_dvc_storage", "{storage}", "where the data goes is another place here"),
    ("https://git.example/image-data-registry-dvc", "../registry.git", "git is on this machine"),
    (".dvc", ".penstock", "pointer files are called so"),
    ("dvc.lock dvc.yaml", "penstock.lock penstock.stages.toml", "so are the files of stages"),
    (f"-d data/inputs/{FIRST} ", "-d 'data/inputs/*' ", "so that a second collection needs no edit of the stage"),
    (f"data/inputs/{FIRST}/", "data/inputs/", "as above: the command reads all collections"),
    ("cd 01_image_dataset", f"cd {DATASET}", "the document leaves out the folder above"),
)
WORDS = {
    # What the document says in words, or takes for granted, before one of its commands.
    "penstock init": [
        "git init -q -b main",
        "git init -q --bare ../registry.git",
        "git remote add origin ../registry.git",
    ],
    f"penstock add raw/{FIRST}": [f"python make_pictures.py raw/{FIRST} 0 8"],
    f"penstock import ../registry.git raw/{FIRST}": [
        "git add -A",
        "git commit -q -m one",
        "git push -q -u origin main",
    ],
    "penstock run": [f"cd {DATASET}"],
    "git checkout -b add-new-raw-data-collection": ["git commit -q -m two", "penstock push", "git push -q", "cd ../.."],
    f"penstock add raw/{SECOND}": [f"python make_pictures.py raw/{SECOND} 8 4"],
    "git checkout -b add-new-raw-data-to-dataset": [
        "git commit -q -m three",
        "git checkout -q main",
        "git merge -q --no-edit add-new-raw-data-collection",
        "git push -q",
    ],
    "git push": ["git add -A", "git commit -q -m four", "git push -q -u origin add-new-raw-data-to-dataset"],
}


def document_commands(storage: str) -> list[str]:
    """Return what is typed: the document's commands with its departures, and what it says in words."""
    found: list[str] = []
    used: set[str] = set()
    for block in re.findall(r"```bash\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL):
        for command in re.sub(r" *\\\n *", " ", block).strip().splitlines():
            typed: str | None = command
            for old, new, _ in DEPARTURES:
                if typed is not None and old in typed:
                    used.add(old)
                    typed = None if new is None else typed.replace(old, new)
            if typed is None:
                continue
            for beginning, words in WORDS.items():
                if typed.strip().startswith(beginning) and beginning not in used:
                    used.add(beginning)
                    found += words
            found.append(typed.replace("{storage}", storage))
    assert used == {old for old, _, _ in DEPARTURES} | set(WORDS)
    return found


@pytest.mark.slow
@pytest.mark.s3
@pytest.mark.timeout(900)
def test_the_document_as_it_is_typed_with_a_bucket_of_s3(typist, tmp_path, gateway, bucket, aws_environment):
    typist.environment = {**os.environ, "PATH": typist.environment["PATH"]}
    options = f"--endpoint-url {gateway.endpoint} --region {gateway.region} --addressing-style path"
    told = typist.type(document_commands(f"s3://{bucket}/registry {options}"))
    assert told.count("remove_corrupted_images: ran") == 2
    made = typist.place / MADE
    assert len(names(made)) == 10
    typist.type(["git checkout -q main", "git merge -q --no-edit add-new-raw-data-to-dataset", "git push -q"])
    # Another machine has all of it, data that a stage reads among it, and runs nothing again.
    clone = Typist(tmp_path / "clone", typist.environment["PATH"])
    clone.environment = typist.environment
    typist.type(["git clone -q ../registry.git ../clone"])
    told = clone.type(["penstock trust", "penstock repro --pull", "penstock repro"])
    assert ": ran" not in told
    assert "1 stage is up to date" in told
    assert names(clone.place / MADE) == names(made)
    # What it never did, but another machine has: the lock goes back a step, and the run is found by its key.
    told = clone.type(["rm penstock.lock", "penstock repro"], folder=DATASET)
    assert "taken from an earlier run" in told
    assert ": ran" not in told
