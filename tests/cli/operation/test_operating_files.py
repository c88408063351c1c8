"""What docs/OPERATING.md hands out: metrics that exist, manifests that parse, options that there are, manual pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from penstock.api.mounts.metrics import METRICS

PROJECT = Path(__file__).parents[3]
FILES = PROJECT / "docs" / "operating"
NAMES = {"penstock_up", *(f"penstock_{name}" for name, *_ in METRICS)}
NAMED = re.compile(r"penstock_\w+")


def test_every_metric_that_is_asked_for_or_described_is_one() -> None:
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((FILES / "prometheus-alerts.yml").read_text(encoding="utf-8"))
    queries += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert {name for query in queries for name in NAMED.findall(query)} <= NAMES
    page = (PROJECT / "docs" / "OPERATING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(penstock_\w+)`", page, re.MULTILINE)) == NAMES


def test_commands_in_units_and_manifests_are_understood() -> None:
    calls = []
    for unit in FILES.glob("*.service"):
        (start,) = re.findall(r"^ExecStart=/usr/bin/penstock (.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        calls.append(
            start.replace("$OPTIONS", "").replace("${HANDLE}", "a/b").replace("${DIRECTORY}", "/nowhere").split()
        )
    for manifest in (FILES / "kubernetes").glob("*.yaml"):
        for document in yaml.safe_load_all(manifest.read_text(encoding="utf-8")):
            pod = document.get("spec", {}).get("template", document).get("spec", {})
            containers = [*pod.get("initContainers", ()), *pod.get("containers", ())]
            calls += [container["args"] for container in containers if container["command"] == ["penstock"]]
    assert len(calls) == 4
    parse = (
        "import sys, click; from penstock.cli.main import root\n"
        "context = click.Context(root, info_name='penstock')\n"
        "root.get_command(context, sys.argv[1]).make_context(sys.argv[1], sys.argv[2:], parent=context)"
    )
    for call in calls:
        ended = subprocess.run([sys.executable, "-P", "-c", parse, *call], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (call, ended.stderr)


def test_every_command_has_a_manual_page_that_roff_takes(tmp_path: Path) -> None:
    pages = PROJECT / "scripts" / "manual" / "pages.py"
    subprocess.run([sys.executable, "-P", pages, tmp_path / "man"], check=True, capture_output=True)
    mount = (tmp_path / "man" / "penstock-mount.1").read_text(encoding="utf-8")
    assert "\\-\\-cache\\-size SIZE" in mount
    assert ".SH EXAMPLES\n.nf\npenstock mount demo/photos /mnt/photos\n" in mount
    assert (tmp_path / "man" / "penstock-cache-info.1").exists()
    for page in (tmp_path / "man").iterdir():
        for line in page.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(".") or re.match(r"\.(TH|SH|PP|TP|B|BR|nf|fi)( |$)", line), (page.name, line)
