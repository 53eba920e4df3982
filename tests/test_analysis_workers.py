"""The analysis by several processes, killed ones among them, and taken up again: the same tables to the last bit."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from actpipe.analysis import AnalyzeConfig, analyze, corpus
from actpipe.errors import Misuse

from .small_run import CONTEXT, make_run, make_store
from .test_analysis_stage import Listener


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnalyzeConfig:
    monkeypatch.setattr(corpus, "_PART", 2 * CONTEXT)  # twelve parts
    store = make_store(tmp_path / "store.zarr")
    return AnalyzeConfig(run=make_run(tmp_path / "run", store), out=tmp_path / "alone")


def tables(out: Path) -> dict[str, Any]:
    return {path.name: pq.read_table(path) for path in sorted((out / "parquet").iterdir())}


def same(one: Path, other: Path) -> None:
    expected, found = tables(one), tables(other)
    assert expected.keys() == found.keys()
    for name, table in found.items():
        assert table.equals(expected[name]), name


def changed(config: AnalyzeConfig, name: str, **fields: Any) -> AnalyzeConfig:
    return AnalyzeConfig(**{**vars(config), "out": config.out.with_name(name), **fields})


def test_several_processes_write_the_same_tables_even_when_one_is_killed(config: AnalyzeConfig) -> None:
    analyze(config)
    killed = []

    def kill_one() -> None:
        ends = time.monotonic() + 60
        while not killed and time.monotonic() < ends:
            for child in psutil.Process().children(recursive=True):
                if any("distributed" in word or "spawn_main" in word for word in child.cmdline()):
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)
                        killed.append(child.pid)
                        return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_one)
    thread.start()
    several = changed(config, "several", workers=2)
    analyze(several)
    thread.join()
    assert killed
    same(config.out, several.out)


def test_an_analysis_that_was_stopped_goes_on_where_it_was(
    config: AnalyzeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actpipe.analysis import passes

    analyze(config)
    monkeypatch.setattr(passes, "_SAVE_S", 0.0)
    monkeypatch.setattr(passes, "_SAVING_SHARE", 0)
    stopped = changed(config, "stopped")

    class Impatient(Listener):
        def advance(self, amount: float, note: str = "") -> None:
            self.tokens = getattr(self, "tokens", 0) + amount
            if self.tokens > 5 * 2 * CONTEXT:
                raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            analyze(stopped, Impatient())
    (work,) = stopped.out.with_name("stopped.work.partial").glob("*/hook-000/group-000")
    assert (work / "members.arrays").exists()
    seen = Listener()
    analyze(stopped, seen)
    assert "Reading the store" not in seen.bars, "three times five parts are all twelve"
    same(config.out, stopped.out)


def test_senseless_workers_are_refused(config: AnalyzeConfig) -> None:
    with pytest.raises(Misuse, match="at least 1"):
        changed(config, "none", workers=0)
    with pytest.raises(Misuse, match="give one of them"):
        changed(config, "both", workers=2, scheduler="tcp://127.0.0.1:1")
