"""Jobs: no worker that dies loses one, none is worked on twice at a time, and each ends in DONE or ERROR."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from penstock.catalogue.jobs.job_workers import JobFailedError, JobWorkers
from penstock.catalogue.state.database import open_database
from penstock.catalogue.state.job_table import JobStatus, JobTable
from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError


@pytest.fixture
def database(tmp_path):
    found = open_database(str(tmp_path / "state"))
    yield found
    found.close()


@pytest.fixture
def table(database):
    return JobTable(database)


def everything(job):
    return True


def lapse(database):
    with database.transaction() as connection:
        connection.execute("UPDATE job SET lease_until = 0")


ANOTHER = """
import sys
from penstock.catalogue.state.database import open_database
from penstock.catalogue.state.job_table import JobTable
database = open_database(sys.argv[1])
print([job.kind for job in JobTable(database).list()])
JobTable(database).submit(sys.argv[2], "ada", "d", b"{}")
database.close()
"""


def test_processes_that_come_and_go_see_what_each_other_wrote(database, table, tmp_path):
    """Connections of one process are not unlocked by further ones: else a process that ends takes the log away."""

    def another(kind):
        command = [sys.executable, "-c", ANOTHER, str(tmp_path / "state"), kind]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.strip()

    table.submit("first", "ada", "d", b"{}")
    thread = threading.Thread(target=table.list)
    thread.start()
    thread.join()
    assert another("second") == "['first']"
    table.submit("third", "ada", "d", b"{}")
    assert another("fourth") == "['third', 'second', 'first']"
    assert [job.kind for job in table.list()] == ["fourth", "third", "second", "first"]


def test_a_job_of_a_worker_that_died_goes_on_with_what_was_noted(database, table):
    number = table.submit("encode", "ada", "d", b"{}")
    assert table.claim("one", everything).id == number
    assert table.claim("two", everything) is None
    table.note(number, "one", b'{"half": 1}')
    lapse(database)
    again = table.claim("two", everything)
    assert (again.id, again.result, again.attempts) == (number, b'{"half": 1}', 2)
    # Who was taken for dead changes nothing any more.
    assert not table.keep(number, "one", 0.9)
    for change in (
        lambda: table.note(number, "one", b""),
        lambda: table.release(number, "one"),
        lambda: table.finish(number, "one", JobStatus.DONE, b""),
    ):
        with pytest.raises(AccessError):
            change()
    table.finish(number, "two", JobStatus.DONE, b'{"all": 1}')
    done = table.find(number)
    assert (done.status, done.result, done.progress) == (JobStatus.DONE, b'{"all": 1}', 1.0)


def test_a_job_that_ends_each_of_its_workers_says_error(database, table):
    number = table.submit("encode", "ada", "d", b"{}")
    for _ in range(5):
        assert table.claim("one", everything) is not None
        lapse(database)
    assert table.claim("one", everything) is None
    found = table.find(number)
    assert (found.status, found.error) == (JobStatus.ERROR, "its worker ended 5 times before it was done")


def test_a_job_that_was_given_back_goes_on_at_once(table):
    number = table.submit("encode", "ada", "d", b"{}")
    table.claim("one", everything)
    table.release(number, "one")
    assert table.claim("two", everything).attempts == 1


def test_jobs_are_cancelled_whether_somebody_is_at_them_or_not(table):
    waiting, held = (table.submit("encode", "ada", "d", b"{}") for _ in range(2))
    assert table.claim("one", lambda job: job.id == held).id == held
    for number in (waiting, held):
        table.cancel(number)
    assert (table.find(waiting).status, table.find(held).status) == (JobStatus.ERROR, JobStatus.SUBMITTED)
    assert not table.keep(held, "one", 0.5)
    assert not table.is_wanted(held, "one")
    for missing in (99, -1, 1 << 70):
        with pytest.raises(NotFoundError):
            table.cancel(missing)


def test_a_job_that_is_asked_for_twice_is_one(table):
    assert table.submit("add", "ada", "d", b"{}", once="x") == table.submit("add", "ada", "d", b"{}", once="x")
    assert table.submit("add", "bea", "d", b"{}", once="x") != table.submit("add", "ada", "d", b"{}", once="x")
    assert [each.owner for each in table.list("ada")] == ["ada"]


def test_nobody_has_any_number_of_jobs_that_are_not_done(table, monkeypatch):
    monkeypatch.setattr("penstock.catalogue.state.job_table._MOST_OPEN", 2)
    for _ in range(2):
        table.submit("encode", "ada", "d", b"{}")
    with pytest.raises(ConflictError, match="not done yet"):
        table.submit("encode", "ada", "d", b"{}")
    table.submit("encode", "bea", "d", b"{}")


def ended(table, numbers):
    for _ in range(600):
        found = [table.find(number) for number in numbers]
        if all(each.status is not JobStatus.SUBMITTED for each in found):
            return found
        threading.Event().wait(0.1)
    raise AssertionError("they did not end within a minute")


def test_workers_are_bounded_and_outlive_what_goes_wrong(database, table):
    at_once, most, lock = 0, 0, threading.Lock()

    def work(running):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            if running.job.request == b"fault":
                raise ZeroDivisionError
            if running.job.request == b"wrong":
                raise PenstockError("it is wrong", why="so it is")
            if running.job.request == b"partly":
                raise JobFailedError("nothing came of it", b'{"errors": {}}')
            return running.job.request
        finally:
            with lock:
                at_once -= 1

    numbers = [table.submit("any", "ada", "d", each) for each in (b"fault", b"wrong", b"partly", b"1", b"2", b"3")]
    workers = JobWorkers(database, work, everything, 2)
    workers.start()
    try:
        found = ended(table, numbers)
    finally:
        workers.close()
    assert most <= 2
    assert [each.status.value for each in found] == ["ERROR"] * 3 + ["DONE"] * 3
    assert [each.error for each in found[:3]] == [
        "it failed by a fault of ours: ZeroDivisionError",
        "it is wrong: so it is",
        "nothing came of it",
    ]
    assert found[2].result == b'{"errors": {}}'


def test_workers_that_are_to_end_give_their_jobs_back_and_cancelled_work_ends(database, table):
    begun = threading.Semaphore(0)

    def work(running):
        begun.release()
        while True:
            running.check()
            threading.Event().wait(0.01)

    numbers = [table.submit("any", "ada", "d", b"") for _ in range(2)]
    workers = JobWorkers(database, work, everything, 2)
    workers.start()
    for _ in numbers:
        assert begun.acquire(timeout=60)
    table.cancel(numbers[0])
    assert ended(table, numbers[:1])[0].error == "it was cancelled"
    workers.close()
    assert table.find(numbers[1]).status is JobStatus.SUBMITTED
    assert table.claim("another", everything).id == numbers[1]
