"""Stages run where something changed, what they made is kept, put back, or taken from earlier runs."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from penstock.errors import AccessError, IntegrityError, NotFoundError, UsageError
from penstock.project.project import Project
from penstock.project.project_trust import forget_trust
from penstock.project.tracking import add_path
from penstock.repo.settings.settings import Settings

SUM = "awk '{s += $1} END {print s}' numbers/* > sum.txt; echo ran >> calls"


def calls(work) -> int:
    return (work.root / "calls").read_text().count("ran") if (work.root / "calls").exists() else 0


def test_a_stage_runs_once_and_again_when_what_it_reads_changes(work):
    work.write("numbers/a", "1\n2\n")
    work.stage("sum", SUM, ["numbers"], ["sum.txt"])
    assert work.status() == {"sum": ["it was never run"]}
    assert work.outcomes() == {"sum": "ran"}
    assert work.read("sum.txt") == "3\n"
    assert work.status() == {"sum": []}
    assert work.outcomes() == {"sum": "up to date"}
    work.write("numbers/b", "4\n")
    assert work.status() == {"sum": ["numbers had 1 file, and has 2 files"]}
    assert work.outcomes() == {"sum": "ran"}
    assert work.read("sum.txt") == "7\n"
    assert calls(work) == 2


def test_contents_are_compared_and_not_times(work):
    path = work.write("numbers/a", "1\n")
    work.stage("sum", SUM, ["numbers"], ["sum.txt"])
    work.repro()
    os.utime(path, (1, 1))
    (work.root / "numbers/x.penstock").write_text("a pointer that moved")
    assert work.outcomes() == {"sum": "up to date"}
    os.chmod(path, 0o755)
    assert work.status() == {"sum": ["numbers changed"]}


def test_what_comes_out_the_same_reaches_no_further(work):
    work.write("in", "3\n2\n1\n")
    work.stage("sort", "sort in > sorted", ["in"], ["sorted"])
    work.stage("head", "head -1 sorted > first", ["sorted"], ["first"])
    assert work.outcomes() == {"sort": "ran", "head": "ran"}
    work.write("in", "1\n2\n3\n")
    assert work.status() == {"sort": ["in changed"], "head": ["sort is stale, and may make something else"]}
    assert work.outcomes() == {"sort": "ran", "head": "up to date"}


def test_the_same_run_is_never_made_twice(work):
    work.write("numbers/a", "1\n")
    work.stage("sum", SUM, ["numbers"], ["sum.txt"])
    work.repro()
    work.write("numbers/a", "2\n")
    work.repro()
    work.write("numbers/a", "1\n")
    assert work.outcomes() == {"sum": "taken"}
    assert (work.read("sum.txt"), calls(work)) == ("1\n", 2)


def test_outputs_that_are_missing_come_back_without_a_run(work):
    work.write("in", "x")
    work.stage("copy", "mkdir -p out; cp in out/x; ln -s x out/link; chmod +x out/x", ["in"], ["out"])
    work.repro()
    shutil.rmtree(work.root / "out")
    assert work.status() == {"copy": ["out is not there"]}
    assert work.outcomes() == {"copy": "restored"}
    assert (work.root / "out/link").readlink() == Path("x")
    assert (work.root / "out/x").stat().st_mode & stat.S_IXUSR


def test_outputs_that_were_edited_are_kept_before_they_give_way(work):
    work.write("in", "x")
    work.stage("copy", "cp in out", ["in"], ["out"])
    work.repro()
    work.write("out", "mine")
    result = work.repro()["copy"]
    assert result.outcome == "restored"
    assert work.read("out") == "x"
    assert [path.read_text() for path in Path(result.kept).iterdir()] == ["mine"]
    work.write("out", "mine too")
    work.write("in", "y")
    result = work.repro()["copy"]
    assert result.outcome == "ran"
    assert [path.read_text() for path in Path(result.kept).iterdir()] == ["mine too"]


def test_what_lay_there_before_the_first_run_is_kept(work):
    work.write("out/precious", "x")
    work.stage("make", "mkdir out; echo new > out/new", [], ["out"])
    result = work.repro()["make"]
    assert os.listdir(work.root / "out") == ["new"]
    assert (Path(result.kept) / "0-out" / "precious").read_text() == "x"


def test_a_failure_leaves_what_was_there_and_puts_what_it_made_aside(work):
    work.write("in", "x")
    work.stage("copy", "mkdir -p out; cp in out/x; echo half > half; test $(cat in) = x", ["in"], ["out", "half"])
    work.repro()
    work.write("in", "y")
    before = work.read("penstock.lock")
    result = work.repro()["copy"]
    assert (result.outcome, result.error.why) == ("failed", "exit code 1")
    assert (work.read("out/x"), work.read("penstock.lock")) == ("x", before)
    assert (Path(result.left) / "0-out" / "x").read_text() == "y"
    assert work.status() == {"copy": ["in changed"]}
    work.write("in", "x")
    assert work.outcomes() == {"copy": "up to date"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-command-here", "not found"),
        ("true", "nothing is there"),
        ("ln -s /etc/passwd out", "made a symbolic link"),
        ("mkfifo out", "no file and no directory"),
        ("kill -9 $$", "signal 9"),
        ("touch program; ./program", "may not be executed"),
    ],
)
def test_what_goes_wrong_with_a_command_is_said(work, command, told):
    work.stage("bad", command, [], ["out"])
    result = work.repro()["bad"]
    assert result.outcome == "failed"
    assert told in f"{result.error.what} {result.error.why}"
    assert not os.path.lexists(work.root / "out")
    assert not (work.root / "penstock.lock").exists()


def test_with_keep_going_all_that_can_run_does(work):
    work.stage("a", "false", [], ["a"])
    work.stage("after", "cp a after", ["a"], ["after"])
    work.stage("z", "echo z > z", [], ["z"])
    assert work.outcomes() == {"a": "failed", "after": "skipped", "z": "skipped"}
    assert work.outcomes(keep_going=True) == {"a": "failed", "after": "skipped", "z": "ran"}


def test_stages_that_need_not_wait_run_at_once(work):
    # Each waits until the other one has begun, so one after the other would never end.
    for one, other in (("a", "b"), ("b", "a")):
        wait = f"mkfifo {one}.pipe 2>/dev/null; until test -p {other}.pipe; do sleep 0.05; done; echo x > {one}"
        work.stage(one, wait, [], [one])
    assert work.outcomes(jobs=2) == {"a": "ran", "b": "ran"}


def test_a_dry_run_says_what_would_run_and_runs_nothing(work):
    work.write("in", "1")
    work.stage("one", "cp in a", ["in"], ["a"])
    work.stage("two", "cp a b", ["a"], ["b"])
    assert work.outcomes(dry=True) == {"one": "would run", "two": "would run"}
    assert not (work.root / "a").exists()
    work.repro()
    work.write("in", "2")
    assert work.outcomes(dry=True) == {"one": "would run", "two": "may run"}
    assert work.read("a") == "1"
    (work.root / "b").unlink()
    assert work.outcomes("two", dry=True)["two"] == "would be restored"


def test_force_runs_what_is_named_again(work):
    work.write("in", "1")
    work.stage("one", "cp in a; echo ran >> calls", ["in"], ["a"])
    work.stage("two", "cp a b; echo ran >> calls", ["a"], ["b"])
    work.repro()
    assert work.outcomes("two", force=True) == {"one": "up to date", "two": "ran"}
    assert calls(work) == 3


def test_parameters_are_compared_by_value(work):
    work.write("params.yaml", "lr: 1e-3\nother: 1\n")
    work.stage("train", "grep lr params.yaml > model", [], ["model"], parameters=("params.yaml:lr",))
    work.repro()
    work.write("params.yaml", "# other words\nother: 2\nlr: 0.001\n")
    assert work.outcomes() == {"train": "up to date"}
    work.write("params.yaml", "lr: 0.002\n")
    assert work.status() == {"train": ["params.yaml:lr was 0.001, and is 0.002"]}
    work.write("params.yaml", "other: 1\n")
    error = work.repro()["train"].error
    assert isinstance(error, NotFoundError)
    assert "params.yaml:lr" in error.what
    work.write("params.yaml", "lr: [")
    assert isinstance(work.repro()["train"].error, IntegrityError)


def test_a_stage_runs_in_its_folder_and_the_root_runs_all(work):
    work.write("sub folder/in", "x")
    work.stage("copy", "cp in out", ["in"], ["out"], folder="sub folder")
    work.stage("use", "cat 'sub folder/out' > all", ["sub folder/out"], ["all"])
    assert work.outcomes(folder="sub folder") == {"sub folder:copy": "ran"}
    assert work.outcomes() == {"sub folder:copy": "up to date", "use": "ran"}
    assert (work.root / "sub folder" / "penstock.lock").exists()
    assert (work.root / "sub folder" / ".gitignore").read_text() == "/out\n"


def test_lines_come_with_the_stage_s_name(work):
    work.stage("talk", "echo one; printf 'two\\rthree\\n'; printf last >&2; touch out", [], ["out"])
    work.repro()
    assert work.lines == [("talk", "one"), ("talk", "two"), ("talk", "three"), ("talk", "last")]


def test_what_is_missing_is_named(work):
    work.stage("copy", "cp in out", ["in"], ["out"])
    error = work.repro()["copy"].error
    assert isinstance(error, NotFoundError)
    assert "'in'" in error.what


def test_tracked_data_that_is_not_here_is_brought_or_named_and_no_part_of_it_passes_for_all(work, project):
    for name in ("01", "02"):
        work.write(f"data/inputs/{name}/a", name)
        add_path(project, f"data/inputs/{name}", Settings.load())
    work.stage("join", "cat data/inputs/*/a > out", ["data/inputs/*"], ["out"])
    shutil.rmtree(work.root / "data/inputs/02")
    error = work.repro()["join"].error
    assert "'data/inputs/02', which is tracked and not here" in error.what
    assert work.outcomes(pull=True) == {"join": "ran"}
    assert work.read("out") == "0102"
    shutil.rmtree(work.root / "data/inputs/01")
    shutil.rmtree(work.root / "data/inputs/02")
    assert work.outcomes(pull=True) == {"join": "taken"}


def test_links_are_not_followed(work):
    work.write("real/in", "x")
    (work.root / "link").symlink_to(work.root / "real")
    work.stage("reads", "true", ["link/in"], ["out"])
    assert isinstance(work.repro()["reads"].error, UsageError)
    with pytest.raises(UsageError, match="symbolic link"):
        work.stage("makes", "echo x > link/made", [], ["link/made"])
    (work.root / "link").unlink()
    work.stage("makes", "echo x > link/made", [], ["link/made"])
    shutil.rmtree(work.root / "link")
    (work.root / "link").symlink_to(work.root / "real")
    assert isinstance(work.repro("makes")["makes"].error, UsageError)
    assert os.listdir(work.root / "real") == ["in"]


def test_an_output_that_git_tracks_is_refused(work, git):
    work.write("out", "x")
    git(work.root, "add", "out")
    with pytest.raises(UsageError, match="tracked by git"):
        work.stage("make", "echo x > out", [], ["out"])
    assert not (work.root / "penstock.stages.toml").exists()


def test_nothing_runs_before_the_project_is_trusted(work, project: Project):
    work.stage("make", "echo x > out", [], ["out"])
    forget_trust(project)
    assert isinstance(work.repro()["make"].error, AccessError)
    assert not (work.root / "out").exists()
    assert work.status() == {"make": ["it was never run"]}


def test_names_with_spaces_and_other_letters(work):
    work.write("dätä (1)/in put.txt", "x")
    work.stage("größe", "cp 'dätä (1)/in put.txt' 'aus gabe'", ["dätä (1)"], ["aus gabe"])
    assert work.outcomes() == {"größe": "ran"}
    assert work.outcomes() == {"größe": "up to date"}
    (work.root / "aus gabe").unlink()
    assert work.outcomes("aus gabe") == {"größe": "restored"}


def test_a_lock_is_one_line_an_item_and_has_nothing_of_stages_that_are_gone(work):
    work.stage("a", "echo a > a", [], ["a"])
    work.stage("b", "echo b > b", [], ["b"])
    work.repro()
    (work.root / "penstock.stages.toml").write_text('format = 1\n[stages.a]\ncommand = "echo c > a"\noutputs = ["a"]\n')
    work.repro()
    assert '[stages."b"]' not in work.read("penstock.lock")


def test_a_dependency_that_changes_meanwhile_is_told_and_seen_by_the_next_run(work):
    work.write("in", "1")
    work.stage("odd", "cp in out; echo 2 > in", ["in"], ["out"])
    (note,) = work.repro()["odd"].notes
    assert note.startswith("in changed while it ran")
    assert work.status() == {"odd": ["in changed"]}


def test_processes_that_a_command_leaves_are_ended(work):
    work.stage("leaves", "(while :; do date > late; sleep 0.1; done) & echo x > out", [], ["out"])
    assert work.repro()["leaves"].notes == ("processes that its command left were ended",)


def test_looking_writes_nothing_into_the_bucket(work):
    work.write("in", "x")
    work.stage("copy", "cp in out", ["in"], ["out"])
    work.repro()

    def held():
        return sorted(path for path in (work.root / ".penstock/bucket").rglob("*") if path.is_file())

    before = held()
    os.utime(work.root / "out")
    assert work.status() == {"copy": []}
    work.write("out", "edited")
    assert work.status() == {"copy": ["out is not what the stage made"]}
    assert work.outcomes(dry=True) == {"copy": "would be restored"}
    assert held() == before
