"""Harvests shared by processes: the store they leave, what they say, and what becomes of it when they are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import actpipe
from actpipe import cluster
from actpipe.errors import Failure, Mismatch, Missing, Misuse
from actpipe.harvest import plan, workers
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.sites import find_sites
from actpipe.harvest.stage import harvest
from actpipe.harvest.workers import Job
from tests.conftest import sentences

ROOT = Path(actpipe.__file__).parent.parent
HOOKS = ("blocks.1.hook_resid_post", "blocks.1.mlp.hook_post")

# Imported by every Python that starts with it on its path: slabs that take long enough to be killed in the middle.
SLOW_DISK = """
import os, time
fsync = os.fsync
def slowly(descriptor):
    time.sleep(0.03)
    fsync(descriptor)
os.fsync = slowly
"""
WITHOUT_ACTPIPE = """
import sys
sys.modules["actpipe"] = None
"""
HARVEST = """
import sys
from pathlib import Path
from actpipe.harvest import plan, stage
from actpipe.harvest.config import HarvestConfig
plan.SMALLEST_SLAB_BYTES = 1 << 16
stage.harvest(eval(sys.argv[1], {"HarvestConfig": HarvestConfig, "PosixPath": Path}))
"""


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SMALLEST_SLAB_BYTES", 1 << 16)


@pytest.fixture
def config(saved_models: dict[str, Path], tmp_path: Path) -> HarvestConfig:
    """About 30 slabs."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(sentences(300, seed=3)), encoding="utf-8")
    return HarvestConfig(
        model=str(saved_models["llama"]),
        dataset=str(text),
        hook=HOOKS,
        tokens=6000,
        context=24,
        batch_size=4,
        model_dtype="float32",
        dtype="float32",
        device="cpu",
        out=tmp_path / "store.zarr",
    )


@pytest.fixture
def whole(config: HarvestConfig, tmp_path: Path) -> dict[str, bytes]:
    """What one process writes that nobody disturbs."""
    undisturbed = tmp_path / "whole.zarr"
    harvest(replace(config, out=undisturbed))
    return files_of(undisturbed)


def files_of(store: Path) -> dict[str, bytes]:
    """Everything, litter too, but the commit records, which know times and workers."""
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(p.relative_to(store)): p.read_bytes() for p in files if "commit" not in p.relative_to(store).parts[:1]}


def environment(folder: Path | None = None, customised: str = "") -> dict[str, str]:
    """For processes that start Python; `customised` runs at the start of each."""
    paths = [str(ROOT)]
    if folder is not None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(customised)
        paths.insert(0, str(folder))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def start(config: HarvestConfig, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HARVEST, repr(config)],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def commits(config: HarvestConfig) -> int:
    assert isinstance(config.out, Path)
    return len(list(config.out.glob("commit/c/*/0")))


def workers_of(parent: int) -> list[psutil.Process]:
    """Processes that a nanny of Dask started."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def wait_for(happened: Callable[[], bool], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_workers(parent: int, config: HarvestConfig, is_running: Callable[[], bool]) -> int:
    """kill -9 a worker some time after every slab that was finished since the last kill; returns how many."""
    draw, kills = random.Random(0), 0
    while is_running():
        before = commits(config)
        wait_for(lambda before=before: commits(config) > before or not is_running())  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.3))
        if is_running() and (there := workers_of(parent)):
            draw.choice(there).kill()
            kills += 1
    return kills


def test_workers_write_the_bytes_of_one_process_and_move_the_bar_slab_by_slab(
    config: HarvestConfig, whole: dict[str, bytes]
) -> None:
    steps: list[float] = []

    class Watched:
        @contextmanager
        def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Watched]:
            steps.clear()
            yield self

        def advance(self, amount: float, note: str = "") -> None:
            steps.append(amount)

        def say(self, text: str) -> None:
            pass

    result = harvest(replace(config, workers=2), Watched())
    assert result.complete
    assert files_of(config.out) == whole
    assert len([step for step in steps if step]) == actpipe.open_store(config.out).n_slabs > 10
    assert sum(steps) == result.rows


@pytest.mark.slow
def test_the_command_line_with_workers_says_nothing_but_its_result(config: HarvestConfig) -> None:
    options = ("--model", config.model, "--dataset", config.dataset, "--hook", HOOKS[0], "--tokens", "3k",
               "--context", "24", "--device", "cpu", "--out", str(config.out))  # fmt: skip
    command = [sys.executable, "-m", "cli", "harvest", *options, "--workers", "2", "--json", "--quiet"]
    done = subprocess.run(command, env=environment(), cwd=config.out.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["complete"]


@pytest.mark.slow
def test_workers_killed_at_random_moments_leave_the_same_bytes(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    process = start(replace(config, workers=2), environment(tmp_path / "slow", SLOW_DISK))
    kills = kill_workers(process.pid, config, lambda: process.poll() is None)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert kills >= 4
    assert files_of(config.out) == whole


@contextmanager
def dask_cluster(env: dict[str, str], folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`dask scheduler` and `dask worker`, as their commands start them."""
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env, "cwd": folder}
    dask = [sys.executable, "-m", "distributed.cli.{}", "--scheduler-file", str(file), "--no-dashboard"]

    def run(what: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen([part.format(what) for part in dask] + list(more), **quiet)  # type: ignore[call-overload,no-any-return]

    scheduler = run("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
    worker = None
    try:
        wait_for(file.exists)
        worker = run("dask_worker", *options)
        address = json.loads(file.read_text())["address"]
        wait_for(lambda: n_workers(address) > 0)
        yield address, worker
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.terminate()
                process.wait(30)


def n_workers(address: str) -> int:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return len(client.scheduler_info()["workers"])


@pytest.mark.slow
def test_workers_of_a_running_scheduler_are_killed_more_often_than_it_allows(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    slow = environment(tmp_path / "slow", SLOW_DISK)
    with dask_cluster(slow, tmp_path, "--nworkers", "2", "--nthreads", "2") as (address, worker):
        process = start(replace(config, scheduler=address), environment())
        kills = kill_workers(worker.pid, config, lambda: process.poll() is None)
        assert (process.communicate()[1], process.returncode) == ("", 0)
    assert kills >= 4
    assert files_of(config.out) == whole


@pytest.mark.slow
def test_one_worker_with_many_threads_serves_one_harvest_after_the_other(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """What `dask worker` starts by default; nothing of the first harvest may be found in the second."""
    with dask_cluster(environment(), tmp_path, "--nthreads", "8") as (address, _):
        harvest(replace(config, scheduler=address))
        assert files_of(config.out) == whole
        other = replace(config, tokens=4000, batch_size=3, hook=HOOKS[:1])
        harvest(replace(other, out=tmp_path / "other.zarr"))
        harvest(replace(other, scheduler=address, overwrite=True))
        assert files_of(config.out) == files_of(tmp_path / "other.zarr")


@pytest.mark.slow
def test_a_scheduler_that_ends_in_the_middle_is_a_sentence_and_the_harvest_continues(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    slow = environment(tmp_path / "slow", SLOW_DISK)
    with dask_cluster(slow, tmp_path, "--nworkers", "1", "--nthreads", "1") as (address, _):
        process = start(replace(config, scheduler=address), environment())
        wait_for(lambda: commits(config) > 1)
    told = process.communicate()[1]
    assert "Failure: The Dask scheduler was stopped or restarted." in told
    harvest(config)
    assert files_of(config.out) == whole


@pytest.mark.slow
def test_a_worker_without_actpipe_is_a_sentence(config: HarvestConfig, tmp_path: Path) -> None:
    env = environment(tmp_path / "bare", WITHOUT_ACTPIPE)
    with (
        dask_cluster(env, tmp_path, "--nworkers", "1") as (address, _),
        pytest.raises(Missing, match=r"The worker on \S+ cannot import actpipe .*Install the same actpipe there"),
    ):
        harvest(replace(config, scheduler=address))


def test_a_scheduler_that_is_not_there_is_a_sentence(config: HarvestConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(Misuse, match=r"--scheduler '127\.0\.0\.1' is no address; write it as tcp://HOST:8786"):
        replace(config, scheduler="127.0.0.1")
    for address in ("tcp://127.0.0.1:9", "unknown://127.0.0.1:1"):
        with pytest.raises(Failure, match=f"There is no Dask scheduler at {address}"):
            harvest(replace(config, scheduler=address))


@pytest.mark.slow
def test_ctrl_c_ends_a_harvest_at_once_and_it_continues(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    process = start(replace(config, workers=2), environment(tmp_path / "slow", SLOW_DISK))
    wait_for(lambda: commits(config) > 1)
    there = workers_of(process.pid)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    told = process.communicate()[1]
    assert time.monotonic() - began < 10
    assert told.count("Traceback") == told.count("KeyboardInterrupt") == 1  # ours; the command line makes it a sentence
    assert not psutil.wait_procs(there, timeout=10)[1]
    assert not list(config.out.rglob("*.partial"))
    harvest(config)
    assert files_of(config.out) == whole


@pytest.mark.slow
def test_workers_end_with_a_killed_harvest_and_the_next_one_need_not_wait_for_them(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    slow = environment(tmp_path / "slow", SLOW_DISK)
    process = start(replace(config, workers=2), slow)
    wait_for(lambda: commits(config) > 1)
    there = workers_of(process.pid)
    assert len(there) == 2
    process.kill()
    process.communicate()
    harvest(config)
    assert files_of(config.out) == whole
    assert not psutil.wait_procs(there, timeout=10)[1]


@pytest.mark.slow
def test_workers_that_outlive_a_killed_harvest_do_no_harm_to_the_next(
    config: HarvestConfig, whole: dict[str, bytes], tmp_path: Path
) -> None:
    slow = environment(tmp_path / "slow", SLOW_DISK)
    with dask_cluster(slow, tmp_path, "--nworkers", "1", "--nthreads", "2") as (address, _):
        process = start(replace(config, scheduler=address), environment())
        wait_for(lambda: commits(config) > 1)
        process.kill()  # its workers go on with what they are at
        process.communicate()
        harvest(config)
        assert files_of(config.out) == whole
        time.sleep(1)
    assert files_of(config.out) == whole


def test_a_worker_writes_nothing_into_a_store_that_took_the_place_of_its_own(
    job: Job, config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = workers.slab_rows

    def slowly(*arguments: Any) -> Any:
        rows = compute(*arguments)
        harvest(replace(config, tokens=3000, overwrite=True))
        return rows

    monkeypatch.setattr(workers, "slab_rows", slowly)
    with pytest.raises(Mismatch, match="Another store lies at"):
        workers.harvest_slab(0, job)
    assert actpipe.store.verify(config.out)["complete"]


@pytest.fixture
def job(config: HarvestConfig) -> Job:
    """As a worker on another machine gets it."""
    harvest(config)
    model = load_model(config.model, dtype="float32", device="cpu")
    sites = find_sites(HOOKS, model.config, model.tokenizer)
    return Job.of(actpipe.open_store(config.out), model, sites, None)


def test_a_worker_that_would_write_other_bytes_says_why(
    job: Job, config: HarvestConfig, tmp_path: Path, saved_models: dict[str, Path]
) -> None:
    harvest(replace(config, tokens=3000, out=tmp_path / "other.zarr"))
    for change, kind, sentence in (
        ({"model": str(saved_models["neox"])}, Mismatch, "loaded other weights for .*neox"),
        ({"model": "/nowhere/model"}, Missing, "There is no folder /nowhere/model"),
        ({"place": tmp_path / "nowhere.zarr"}, Missing, "There is no store at .*nowhere.zarr"),
        ({"place": tmp_path / "other.zarr"}, Mismatch, "Another store lies at .*other.zarr"),
    ):
        with pytest.raises(kind, match=rf"The worker on \S+ cannot harvest\. .*{sentence}"):
            workers.harvest_slab(0, replace(job, run=sentence, **change))  # type: ignore[arg-type]


def test_a_worker_with_other_releases_says_which(job: Job) -> None:
    assert Job.received(asdict(job)) == job
    versions = tuple((name, "0.1" if name == "torch" else version) for name, version in job.versions)
    with pytest.raises(Mismatch, match=r"The worker on \S+ has torch \S+ instead of 0\.1, and rows could differ"):
        Job.received(asdict(replace(job, versions=versions)))
