"""Work in the background of a mount: who waits for it, and what becomes of it when nobody does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from penstock.errors import CancelledError, ConflictError, NotFoundError
from penstock.mountpoint.control_messages import CancelRequest, JobStateRequest
from penstock.vfs.serve import jobs as jobs_module
from penstock.vfs.serve.jobs import Job, Jobs, wait_for_takers


async def until_cancelled(job: Job) -> None:
    while True:
        job.progress.check()
        await trio.sleep(0)


async def ended(jobs: Jobs, number: int) -> None:
    with trio.fail_after(20):
        while not (await jobs.state(JobStateRequest(number), 0)).done:
            await trio.sleep(0)


@pytest.mark.trio
async def test_a_job_ends_with_the_process_that_wanted_it(nursery: trio.Nursery) -> None:
    jobs = Jobs(nursery)
    client = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    job = jobs.start("commit", until_cancelled, client=client.pid).job
    with pytest.raises(ConflictError, match="busy with a commit"):
        jobs.start("refresh", until_cancelled)
    client.kill()
    with pytest.raises(CancelledError):
        await ended(jobs, job)
    client.communicate()


@pytest.mark.trio
async def test_a_job_whose_client_is_gone_already_ends(nursery: trio.Nursery) -> None:
    client = subprocess.Popen([sys.executable, "-c", ""])
    client.wait()
    jobs = Jobs(nursery)
    with pytest.raises(CancelledError):
        await ended(jobs, jobs.start("commit", until_cancelled, client=client.pid).job)


@pytest.mark.trio
async def test_a_job_that_is_done_watches_nobody(nursery: trio.Nursery) -> None:
    jobs = Jobs(nursery)

    async def work(job: Job) -> int:
        return 7

    before = set(os.listdir("/proc/self/fd"))
    job = jobs.start("commit", work, client=os.getppid()).job
    await ended(jobs, job)
    assert (await jobs.state(JobStateRequest(job), 0)).result == 7
    await wait_all_tasks_blocked()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.trio
async def test_a_job_is_cancelled_when_that_is_asked_for(nursery: trio.Nursery) -> None:
    jobs = Jobs(nursery)
    job = jobs.start("commit", until_cancelled).job
    assert not (await jobs.cancel(CancelRequest(job), 0)).done
    with pytest.raises(CancelledError):
        await ended(jobs, job)
    with pytest.raises(NotFoundError, match="no job 99"):
        await jobs.cancel(CancelRequest(99), 0)


def test_lines_that_nobody_takes_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_PATIENCE", 0.0)
    monkeypatch.setattr(jobs_module, "_MOST_WAITING", 3)
    job = Job("look", 1, looks=True)
    with pytest.raises(CancelledError):
        for number in range(10):
            job.lines.append(number)
            wait_for_takers(job)
    assert len(job.lines) == 4
