"""Lay the tests of today over an older tree, run those marked `regress` there, and tell which of them do not fail.

What each outcome means stands in the header of scripts/regress. Everything is made in one temporary folder: the
worktree, its virtual environment, what tests write. It goes at the end, also after Ctrl-C, with what was left mounted
in it. A process of a test may hold 8 GiB of memory: a fault that takes memory without end fails its test, not the
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SESSION = Path(__file__).with_name("session.py")
MEMORY = 8 << 30


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def read_lines(file: Path) -> list[dict[str, str | None]]:
    """Return the records of a session; the last line of one that was killed may be cut off."""
    records = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def marked(folder: Path, arguments: list[str]) -> dict[str, str | None]:
    """Return the tests that are marked today, with what each says about why it may be impossible to run."""
    file = folder / "marked.jsonl"
    command = [sys.executable, SESSION, "collect", file, "--collect-only", "-qq", "-m", "regress", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        sys.exit(2)
    return {str(record["test"]): record["reason"] for record in read_lines(file)}


def lay_over(tree: Path) -> None:
    """Give the older tree the tests of today, and the settings that they are run with."""
    shutil.rmtree(tree / "tests", ignore_errors=True)
    shutil.copytree(ROOT / "tests", tree / "tests", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)


def make_environment(tree: Path) -> Path:
    """Return the Python of a new virtual environment: this one's libraries, and the package of `tree` before them."""
    place = tree / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    libraries = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (Path(site) / "older.pth").write_text("\n".join([str(tree), *libraries]) + "\n")
    for name, start in (("penstock", "penstock.cli.main:main"), ("pytest", "pytest:console_main")):
        module, function = start.split(":")
        script = place / "bin" / name
        script.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(0o755)
    where = subprocess.run(
        [python, "-I", "-c", "import penstock.errors; print(penstock.errors.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    ).stdout
    if not where.startswith(f"{tree}/"):
        sys.exit(f"scripts/regress: the tests would not see the older package, but {where}")
    return python


def unmount_below(folder: Path) -> None:
    """Take away what a test that was killed left mounted; the processes that serve it end with it."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4])
        if place.startswith(f"{folder}/"):
            command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
            subprocess.run([*command, place], check=False)


@contextlib.contextmanager
def temporary_worktree(base: str) -> Iterator[tuple[Path, Path]]:
    """Give a folder, and in it the tree of `base`. Both go at the end, whatever it was that ended it."""
    folder = Path(tempfile.mkdtemp(prefix="regress-")).resolve()
    tree = folder / "tree"
    try:
        git("worktree", "add", "--quiet", "--detach", str(tree), base)
        yield folder, tree
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        unmount_below(folder)
        subprocess.run(
            ["git", "worktree", "remove", "--force", "--force", tree], cwd=ROOT, check=False, capture_output=True
        )
        # rm(1): trees that tests of hostile buckets make are deeper than Python's recursion goes.
        subprocess.run(["rm", "-rf", "--", folder], check=False)
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=False)


def run_there(
    folder: Path, tree: Path, arguments: list[str], options: argparse.Namespace
) -> list[dict[str, str | None]]:
    """Run the tests in the older tree for as long as is allowed, and return what was written down."""
    file = folder / "ended.jsonl"
    command = [
        *(make_environment(tree), SESSION, "run", file),
        *("-m", "regress", "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'files'}"),
        *("--timeout", str(options.timeout), "-n", "2", "--dist", "worksteal", "--max-worker-restart", "10000"),
        "--continue-on-collection-errors",
        *arguments,
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

    # PYTHONPATH would come before what the virtual environment says.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        command, cwd=tree, env=environment, start_new_session=True, preexec_fn=limit, stdout=subprocess.DEVNULL
    )
    try:
        process.wait(options.minutes * 60)
    except subprocess.TimeoutExpired:
        print(f"scripts/regress: not done after {options.minutes} minutes", file=sys.stderr)
    finally:
        for number, seconds in ((signal.SIGINT, 20), (signal.SIGKILL, 10)):
            if process.poll() is None:
                os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
    return read_lines(file)


def report(tests: dict[str, str | None], records: list[dict[str, str | None]]) -> int:
    """Print what became of each test; return the exit code."""
    ended: dict[str, tuple[str, str]] = {}
    files: dict[str, str] = {}
    for record in records:
        test, outcome, detail = str(record["test"]), str(record["outcome"]), str(record["detail"])
        if test not in tests:
            files[test] = detail  # a file or a folder that could not be collected
        elif test not in ended or ended[test][0] == "passed":  # the first failure tells most
            ended[test] = outcome, detail
    groups: dict[str, list[str]] = {name: [] for name in ("failed", "taken", "lacking", "passed", "skipped", "missing")}
    for test, reason in tests.items():
        above = next((detail for place, detail in files.items() if test.startswith(place)), None)
        outcome, detail = ended.get(test, ("missing", "") if above is None else ("lacking", above))
        if outcome == "lacking" and reason:
            outcome, detail = "taken", f"{reason} ({detail})"
        groups[outcome].append(f"    {test}" + (f"\n        {detail[:300]}" if detail else ""))
    for name, says in (
        ("failed", "fail there, as they should"),
        ("taken", "could not be run there, and say why"),
        ("lacking", "COULD NOT BE RUN THERE, so they show nothing: use what BASE has, or mark them with a reason"),
        ("skipped", "WERE SKIPPED THERE, so they show nothing"),
        ("missing", "NEVER ENDED THERE, so they show nothing"),
        ("passed", "PASS THERE, so they prove nothing"),
    ):
        if groups[name]:
            print(f"\n{len(groups[name])} of {len(tests)} {says}:", *groups[name], sep="\n")
    return int(any(groups[name] for name in ("lacking", "skipped", "missing", "passed")))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/regress", description="Show that tests fail on the version before.")
    parser.add_argument("base", help="a commit")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one test")
    parser.add_argument("--minutes", type=float, default=30, help="for all of them")
    options, arguments = parser.parse_known_args()
    try:
        base = git("rev-parse", "--verify", "--quiet", f"{options.base}^{{commit}}")
    except subprocess.CalledProcessError:
        print(f"scripts/regress: {options.base} is no commit of this repository", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with temporary_worktree(base) as (folder, tree):
            tests = marked(folder, arguments)
            if not tests:
                print("scripts/regress: no test is marked with `regress`", file=sys.stderr)
                return 2
            print(f"{len(tests)} tests against {base[:12]}", flush=True)
            lay_over(tree)
            return report(tests, run_there(folder, tree, arguments, options))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
