"""How training goes: lines of metrics.jsonl, the table below the bar, and what TensorBoard and W&B get of it."""

from __future__ import annotations

import builtins
import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actpipe.errors import Missing
from actpipe.training.config import TrainConfig
from actpipe.training.curves import HEAD, joined_lines, without_shared_start
from actpipe.training.stage import train
from cli.progress import DrawnBar, WrittenBar, table_below

from .training_runs import HOOK, harvested


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harvested(saved_models["llama"], text_file, tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, architecture="relu,topk", l1=(0.5, 2.0), k=(4.0,), tokens=2560, batch_size=128, device="cpu",
        evaluate_loss=False, out=tmp_path / "sae",
    )  # fmt: skip


class Watched:
    """A progress whose bars remember their last table."""

    def __init__(self) -> None:
        self.tables: list[list[tuple[str, ...]]] = []
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def bar(self, *args: Any, **options: Any) -> Any:
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        self.notes.append(note)

    def show(self, table: Sequence[Sequence[str]]) -> None:
        self.tables.append([tuple(row) for row in table])


def test_every_member_is_on_the_table_with_its_last_numbers(config: TrainConfig) -> None:
    watched = Watched()
    train(config, watched)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert [(line["group"], line["step"]) for line in lines] == [
        (f"{HOOK}-relu", 10), (f"{HOOK}-topk", 10), (f"{HOOK}-relu", 20), (f"{HOOK}-topk", 20),
    ]  # fmt: skip
    (last,) = watched.tables[-1:]
    assert last[0] == HEAD
    assert [row[0] for row in last[1:]] == ["relu-x2-l1_0.5-s0", "relu-x2-l1_2-s0", "topk-x2-k_4-s0"]
    numbers = [member for line in lines[-2:] for member in line["members"]]
    for row, member in zip(last[1:], numbers, strict=True):
        assert row[1:4] == (f"{member['l0']:.1f}", f"{member['fvu']:.3f}", f"{member['dead']:.1%}")
        assert row[5]  # rows a second
    assert last[3][1] == "4.0"
    low, high = min(m["l0"] for m in numbers), max(m["l0"] for m in numbers)
    assert [note for note in watched.notes if note][-1] == f"L0 {low:.0f} to {high:.0f}"


def test_names_are_shown_without_what_they_share() -> None:
    assert list(without_shared_start(["a-b-x2-l1_1", "a-b-x2-l1_2"])) == ["l1_1", "l1_2"]
    assert list(without_shared_start(["a-b"])) == ["b"]
    assert list(without_shared_start(["a", "a-b"])) == ["a", "a-b"]


def test_a_table_that_does_not_fit_says_how_much_is_left_out() -> None:
    rows = [HEAD, *((f"member {i}", "1", "2", "3", "4", "5") for i in range(40))]
    console = Console(width=80, height=24, record=True, force_terminal=True)
    console.print(table_below(rows, 10))
    text = console.export_text()
    assert "member 8" in text
    assert "member 9" not in text
    assert "… and 31 more" in text
    assert table_below(rows[:6], 10).row_count == 5


def test_the_table_stands_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress.SHOW_AFTER_S", -1.0)
    console = Console(width=80, height=24, record=True, force_terminal=True)
    bar = DrawnBar(console, "Training 2 dictionaries", 100, "rows", 0)
    bar.advance(50, "L0 3 to 4")
    bar.show([HEAD, ("l1_1", "3.0", "0.5", "0 %", "9", "1k"), ("l1_2", "4.0", "0.4", "0 %", "8", "1k")])
    bar.stop()
    text = console.export_text()
    assert text.index("Training 2 dictionaries") < text.index("l1_1") < text.index("l1_2")
    assert "FVU" in text


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cli.progress.time.monotonic", lambda: now[0])
    console = Console(width=200, record=True)
    bar = WrittenBar(console, "Training 2 dictionaries", 1000, "rows", 0)
    for second in range(0, 130, 10):
        now[0] = float(second)
        bar.advance(50, "L0 3 to 4")
    lines = console.export_text().splitlines()
    assert lines == [
        "Training 2 dictionaries: 35%, 5.8 rows/s, L0 3 to 4",
        "Training 2 dictionaries: 65%, 5.4 rows/s, L0 3 to 4",
    ]


def test_lines_of_several_processes_join_into_those_of_one(config: TrainConfig) -> None:
    train(config)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    names = [member["name"] for line in lines[:2] for member in line["members"]]
    parts = [[], []]  # type: list[list[dict[str, Any]]]
    for line in lines:
        for part, mine in zip(parts, (names[1:2], [names[0], names[2]]), strict=True):
            members = [member for member in line["members"] if member["name"] in mine]
            if members:
                part.append({**line, "members": members})
    order = [(HOOK, f"{HOOK}-relu"), (HOOK, f"{HOOK}-topk")]
    assert joined_lines(parts, order, names) == lines


def test_tensorboard_gets_every_number_of_every_member(config: TrainConfig) -> None:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(replace(config, log="tensorboard"))
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    for member in result.members:
        name = Path(member["path"]).name
        events = EventAccumulator(str(config.out / "tensorboard" / name))
        events.Reload()
        expected = [(line["step"], m["fvu"]) for line in lines for m in line["members"] if m["name"] == name]
        found = [(event.step, event.value) for event in events.Scalars("fvu")]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
        assert {"l0", "dead", "loss", "grad_norm"} <= set(events.Tags()["scalars"])


def test_weights_and_biases_gets_them_offline(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(replace(config, log="wandb"))
    (written,) = (config.out / "wandb").rglob("*.wandb")
    content = written.read_bytes()
    for key in (f"fvu/{HOOK}-topk-x2-k_4-s0", "rows"):
        assert key.encode() in content


@pytest.mark.parametrize(("log", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_a_sentence_before_anything_is_written(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, log: Any, module: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Missing, match=rf"pip install 'actpipe\[{log}\]'"):
        train(replace(config, log=log))
    assert not config.out.exists()
