"""Per-file stages: each input is processed once, ever."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from penstock.errors import UsageError

UPPER = "tr a-z A-Z < {input} > {output}; echo ran >> calls"


def calls(work) -> int:
    return (work.root / "calls").read_text().count("ran") if (work.root / "calls").exists() else 0


@pytest.fixture
def batches(work):
    for at in range(6):
        work.write(f"in/first/{at}.txt", f"text {at}")
    work.stage("upper", UPPER, [], ["out"], each="in/*")
    assert work.outcomes() == {"upper": "ran"}
    assert calls(work) == 6
    return work


def listing(work) -> list[str]:
    return sorted(str(path.relative_to(work.root / "out")) for path in (work.root / "out").rglob("*") if path.is_file())


def test_a_second_batch_runs_only_its_own_files(batches):
    assert batches.read("out/first/3.txt") == "TEXT 3"
    for at in range(3):
        batches.write(f"in/second/{at}.txt", f"more {at}")
    result = batches.repro()["upper"]
    assert (result.ran, result.taken, result.removed) == (3, 0, 0)
    assert calls(batches) == 9
    assert len(listing(batches)) == 9
    assert batches.status() == {"upper": []}


def test_one_changed_input_runs_once_and_a_removed_one_removes_its_output(batches):
    before = (batches.root / "out/first/1.txt").stat().st_ino
    batches.write("in/first/2.txt", "other")
    (batches.root / "in/first/5.txt").unlink()
    result = batches.repro()["upper"]
    assert (result.ran, result.removed) == (1, 1)
    assert listing(batches) == [f"first/{at}.txt" for at in range(5)]
    assert batches.read("out/first/2.txt") == "OTHER"
    assert (batches.root / "out/first/1.txt").stat().st_ino == before
    assert calls(batches) == 7


def test_what_comes_back_or_is_renamed_is_not_processed_again(batches):
    shutil.move(batches.root / "in/first", batches.root / "in/renamed")
    assert batches.outcomes() == {"upper": "taken"}
    assert listing(batches) == [f"renamed/{at}.txt" for at in range(6)]
    shutil.rmtree(batches.root / "out")
    assert batches.outcomes() == {"upper": "restored"}
    assert batches.read("out/renamed/4.txt") == "TEXT 4"
    assert calls(batches) == 6


def test_equal_inputs_are_processed_once(work):
    for name in "abc":
        work.write(f"in/{name}", "same")
    work.stage("upper", UPPER, [], ["out"], each="in")
    assert work.repro()["upper"].ran == 1
    assert [work.read(f"out/{name}") for name in "abc"] == ["SAME"] * 3
    assert calls(work) == 1


def test_a_new_command_or_script_processes_all_again_and_the_old_one_none(batches):
    batches.stage("upper", f"{UPPER}; echo ! >> {{output}}", [], ["out"], each="in/*")
    assert batches.repro()["upper"].ran == 6
    assert batches.read("out/first/0.txt") == "TEXT 0!\n"
    batches.stage("upper", UPPER, [], ["out"], each="in/*")
    assert batches.repro()["upper"].taken == 6
    assert batches.read("out/first/0.txt") == "TEXT 0"
    assert calls(batches) == 12


def test_an_output_that_was_edited_is_kept_and_made_anew(batches):
    batches.write("out/first/1.txt", "mine")
    batches.write("out/mine.txt", "mine alone")
    batches.write("in/first/1.txt", "new")
    result = batches.repro()["upper"]
    assert result.ran == 1
    assert listing(batches) == [f"first/{at}.txt" for at in range(6)]
    kept = [path.read_text() for path in (batches.root / ".penstock/kept").rglob("*") if path.is_file()]
    assert sorted(kept) == ["mine", "mine alone"]
    assert result.kept is not None


def test_what_was_done_before_another_item_failed_is_not_done_again(work):
    for at in range(5):
        work.write(f"in/{at}", f"text {at}")
    work.stage("upper", f"if grep -q 'text 3' {{input}}; then exit 1; fi; {UPPER}", [], ["out"], each="in")
    result = work.repro(keep_going=True, item_jobs=1)["upper"]
    assert result.outcome == "failed"
    assert "'in/3'" in result.error.what
    assert calls(work) == 4
    assert not (work.root / "penstock.lock").exists()
    work.write("in/3", "mended")
    assert work.repro()["upper"].ran == 1
    assert (calls(work), len(listing(work))) == (5, 5)


def test_an_input_without_an_output_is_a_fault_unless_the_stage_may_skip(work):
    work.write("in/good.jpg", "good")
    work.write("in/bad.jpg", "bad")
    command = "echo ran >> calls; if grep -q good {input}; then cp {input} {output}; fi"
    work.stage("clean", command, [], ["out"], each="in")
    result = work.repro()["clean"]
    assert "made nothing of 'in/bad.jpg'" in result.error.what
    work.stage("clean", command, [], ["out"], each="in", may_skip=True)
    assert work.outcomes() == {"clean": "ran"}
    assert listing(work) == ["good.jpg"]
    count = calls(work)
    work.write("in/better.jpg", "good too")
    assert work.repro()["clean"].ran == 1
    assert calls(work) == count + 1


def test_items_run_at_once(work):
    for name, other in (("a", "b"), ("b", "a")):
        work.write(f"in/{name}", other)
    wait = (
        "touch began.$(basename {input}); until test -e began.$(cat {input}); do sleep 0.05; done; cp {input} {output}"
    )
    work.stage("pair", wait, [], ["out"], each="in")
    assert work.repro(item_jobs=2)["pair"].ran == 2


def test_suffixes_names_and_odd_letters(work):
    work.write("in/a b/it's $HOME.jpeg", "x")
    work.stage(
        "thumb", ": {input}; printf '%s %s %s' {path} {name} {stem} > {output}", [], ["out"], each="in", suffix=".png"
    )
    work.repro()
    assert listing(work) == ["a b/it's $HOME.png"]
    assert work.read("out/a b/it's $HOME.png") == "a b/it's $HOME.jpeg it's $HOME.jpeg it's $HOME"


def test_readers_see_whole_files_while_an_item_is_made_anew(batches):
    with (batches.root / "out/first/0.txt").open() as held:
        batches.stage("upper", "echo long > {output}; cat {input} >> {output}", [], ["out"], each="in/*")
        batches.repro()
        assert held.read() == "TEXT 0"
    assert batches.read("out/first/0.txt") == "long\ntext 0"


def test_an_output_directory_that_is_a_file_or_a_link_gives_way_or_is_refused(work):
    work.write("in/a", "x")
    work.write("out", "a file")
    work.stage("upper", UPPER, [], ["out"], each="in")
    result = work.repro()["upper"]
    assert Path(result.kept, "0-out").read_text() == "a file"
    shutil.rmtree(work.root / "out")
    (work.root / "elsewhere").mkdir()
    (work.root / "out").symlink_to(work.root / "elsewhere")
    assert isinstance(work.repro()["upper"].error, UsageError)
    assert os.listdir(work.root / "elsewhere") == []
