"""The folders at the top, the links inside penstock/ and the packaging metadata name the same packages.

Three places say which packages there are; a package missing from one of them works here and fails elsewhere.
"""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_PACKAGES = {"penstock", "tests", "scripts", "docs", "build", "dist"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders():
    """Return the top-level folders that are packages: those with an __init__.py."""
    return {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")} - NOT_PACKAGES


def own_modules():
    """Return the modules in the folder of the namespace itself, by their dotted names."""
    files = (ROOT / "penstock").glob("*.py")
    names = {path.stem for path in files} - {"__main__"}
    return {"penstock" if name == "__init__" else f"penstock.{name}" for name in names}


def modules():
    """Return the dotted name of every module, from its file: nothing is imported before its own test."""
    files = [path for name in folders() for path in ROOT.glob(f"{name}/**/*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    return [*sorted(own_modules()), *sorted(f"penstock.{name.removesuffix('.__init__')}" for name in names)]


def test_every_folder_has_its_link():
    links = {path.name: os.readlink(path) for path in (ROOT / "penstock").iterdir() if path.is_symlink()}
    assert links == {name: f"../{name}" for name in folders()}


def test_setuptools_maps_every_folder():
    expected = {"penstock": "penstock"} | {f"penstock.{name}": name for name in folders()}
    settings = project()["tool"]["setuptools"]
    assert settings["package-dir"] == expected
    assert sorted(settings["packages"]) == sorted(expected.keys() | rooms())


def rooms():
    """Return the folders within those, by the dotted name under which they are imported."""
    return {
        f"penstock.{'.'.join(path.parent.relative_to(ROOT).parts)}"
        for name in folders()
        for path in ROOT.glob(f"{name}/*/**/__init__.py")
    }


def imports(path, name):
    """Return the modules that a module imports, wherever in it, also those for type checkers alone."""
    found = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level <= 1:
            base = node.module or ""
            if node.level:
                base = f"{package}.{base}".rstrip(".")
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_imports_itself_by_way_of_others():
    names = [name for name in modules() if name.count(".") > 1]
    paths = {name: ROOT / Path(*name.split(".")[1:]).with_suffix(".py") for name in names}
    graph = {name: imports(path, name) & paths.keys() - {name} for name, path in paths.items() if path.is_file()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_holds_no_more_than_one_can_look_over(room):
    assert len(list((ROOT / Path(*room.split(".")[1:])).glob("*.py"))) <= 20


def test_every_tool_looks_at_every_folder():
    tools = project()["tool"]
    everything = {"penstock"} | folders()
    assert everything <= set(tools["pyright"]["include"])
    assert everything == set(tools["coverage"]["run"]["source"])
    links = {f"penstock/{name}" for name in folders()}
    assert links <= set(tools["ruff"]["extend-exclude"])
    assert links <= set(tools["pyright"]["exclude"])


def test_every_folder_has_its_place_in_the_layers():
    contracts = project()["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    assert placed == {f"penstock.{name}" for name in folders()} | own_modules() - {"penstock"}


EXTRAS = {"penstock.store.fsspec.azure_files": "adlfs", "penstock.store.fsspec.gcs_files": "aiohttp"}
"""What modules import that the suite does without: libraries whose services it has no server of."""


@pytest.mark.parametrize("name", modules())
def test_every_module_can_be_imported(name):
    extra = EXTRAS.get(name)
    if extra is not None and importlib.util.find_spec(extra) is None:
        with pytest.raises(ModuleNotFoundError, match=extra):
            importlib.import_module(name)
    else:
        assert importlib.import_module(name).__name__ == name


def test_importing_penstock_costs_none_of_the_large_libraries():
    program = "import sys, penstock; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    loaded = set(done.stdout.split())
    assert "penstock" in loaded
    assert loaded.isdisjoint({"boto3", "botocore", "lmdb", "pyfuse3", "trio", "click", "rich"})


def sources():
    """Return every file of the project's own code, but those that only mark a package, below its root."""
    packages = [path for name in folders() for path in (ROOT / name).rglob("*.py")]
    files = [path.relative_to(ROOT) for path in [*packages, *(ROOT / "penstock").glob("*.py")]]
    return sorted(path for path in files if path.name not in ("__init__.py", "__main__.py"))


def doubled(named):
    """Return what stands in more than one place, of pairs of a name and a place."""
    places = defaultdict(list)
    for name, place in named:
        places[name].append(str(place))
    return {name: found for name, found in places.items() if len(found) > 1}


AS_OTHERS_CALL_IT = {
    # For who imports `penstock.torch` in place of torch's; and what a key opens behind a server.
    "Dataset": ["api/datasets/dataset.py", "catalogue/client/catalogue_dataset.py", "penstock/torch.py"],
    # A step of a pipeline is called so everywhere, and so is a part of long work.
    "Stage": ["penstock/progress.py", "project/stages/definition/stage.py"],
    # What the catalogue's users know it as, and a record of the format.
    "DatasetInfo": ["catalogue/orm/dataset.py", "manifest/records.py"],
}


def test_no_two_classes_have_one_name():
    trees = [(path, ast.walk(ast.parse((ROOT / path).read_text()))) for path in sources()]
    classes = [(node.name, path) for path, nodes in trees for node in nodes if isinstance(node, ast.ClassDef)]
    assert doubled((name, path) for name, path in classes if not name.startswith("_")) == AS_OTHERS_CALL_IT


def test_no_two_modules_have_one_name():
    """But a file of the face or of the command line may be named after the subject below that it shows.

    A command's file is always named after its command.
    """
    layers = defaultdict(list)
    for path in sources():
        layers[path.parts[0] if path.parts[0] in ("api", "cli") else "below"].append((path.stem, path))
    assert {name: found for layer in layers.values() for name, found in doubled(layer).items()} == {}


def said_paths(document):
    """Return every `folder/module` of ours that a document names."""
    tops = "|".join(sorted(folders()))
    return set(re.findall(rf"(?<![\w/.])(?:{tops})(?:/[a-z0-9_]+)+(?![\w/])", (ROOT / document).read_text()))


@pytest.mark.parametrize("document", ["docs/GLOSSARY.md", "docs/ARCHITECTURE.md"])
def test_a_document_about_the_code_names_modules_that_there_are(document):
    said = said_paths(document)
    assert len(said) > 20
    assert {path for path in said if not (ROOT / path).is_dir() and not (ROOT / f"{path}.py").is_file()} == set()


def test_the_picture_of_the_rooms_has_them_all():
    picture = (ROOT / "docs/ARCHITECTURE.md").read_text().partition("## The rooms")[2].partition("Three ways")[0]
    drawn = set(re.findall(r"[a-z0-9_]+", picture))
    assert folders() <= drawn
    assert {room for room in rooms() if room.rpartition(".")[2] not in drawn} == set()


def test_the_glossary_has_each_term_once():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|(.*)\|(.*)\|$", (ROOT / "docs/GLOSSARY.md").read_text(), re.MULTILINE)
    assert len(rows) > 40
    assert doubled((term, "") for terms, _, _ in rows for term in terms.split(", ")) == {}
    assert [terms for terms, _, where in rows if "`" not in where] == []


def test_no_program_is_started_that_imports_from_the_working_directory():
    """Without -P the files of a data set, or of a cloned repository, would be modules to ``python -m``."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in folders()
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"(sys\.executable|\{python\}|sys\.executable\)\})\W+-m\b", line)
    ]
    assert found == []


def test_importing_penstock_takes_a_few_milliseconds():
    program = "import time; begun = time.process_time(); import penstock; print(time.process_time() - begun)"
    run = [sys.executable, "-c", program]
    times = [float(subprocess.run(run, capture_output=True, text=True, check=True, cwd="/").stdout) for _ in range(3)]
    assert min(times) < 0.03


@pytest.mark.parametrize("layer", ["api", "cli", "mountpoint"])
def test_what_programs_and_people_call_loads_nothing_that_serves(layer):
    names = [name for name in modules() if name.startswith(f"penstock.{layer}")]
    program = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    assert {name for name in loaded if name.startswith(("trio", "pyfuse3", "penstock.vfs"))} == set()
