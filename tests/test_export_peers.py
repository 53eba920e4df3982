"""SAEBench, SAEDashboard and delphi themselves read what `actpipe export` writes, and find in it what we put there.

They live in an environment of their own (`make peers`), because their requirements and ours do not fit together.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actpipe.analysis.exports import EXPORTS
from actpipe.progress import silent
from actpipe.store import Store

from .small_run import CONTEXT, DEAD_UNIT, HOOK, WIDTH, make_dictionary, make_report

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".peers" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="the peers are not installed; run make peers"),
]
WINDOW = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("exports"))


def ask(peer: str, folder: Path, *words: object) -> Any:
    """What the peer itself found."""
    script = ROOT / "tests" / "bench" / "peers" / f"load_{peer}.py"
    command = [str(each) for each in (PYTHON, script, folder / "answer.json", *words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answer.json").read_text())


def test_saebench_validates_our_results_and_reads_them_for_its_plots(place: Path, tmp_path: Path) -> None:
    EXPORTS["saebench"].write(place / "report", tmp_path / "out", (), silent)
    paths = sorted((tmp_path / "out" / "core").iterdir())
    found = ask("saebench", tmp_path, *paths)
    assert len(found) == 2
    for path in paths:
        ours, theirs = json.loads(path.read_text()), found[path.name]
        again = theirs["validated"]
        config = ours.pop("eval_config")
        assert config == {name: again["eval_config"][name] for name in config}
        assert ours == {name: again[name] for name in ours}
        assert theirs["plotted"]["l0"] == ours["eval_result_metrics"]["sparsity"]["l0"]
        assert theirs["plotted"]["sae_class"] == "relu"


def test_saedashboard_writes_our_batches_again_as_they_were(place: Path, tmp_path: Path) -> None:
    EXPORTS["saedashboard"].write(place / "report", tmp_path / "out", ("sparse",), silent)
    folder = tmp_path / "out" / "sparse"
    found = ask("saedashboard", tmp_path, folder)
    ours = json.loads((folder / "batch-0.json").read_text())
    assert found["batches"] == [ours]
    assert len(ours["features"]) == WIDTH - 1
    settings = json.loads((folder / "run_settings.json").read_text())
    assert settings == {name: found["settings"][name] for name in settings}


def test_delphi_finds_the_windows_and_codes_of_the_store(place: Path, tmp_path: Path) -> None:
    EXPORTS["delphi"].write(place / "run", tmp_path / "out", ("sparse",), silent)
    found = ask("delphi", tmp_path, tmp_path / "out" / "latents", WINDOW)
    assert found["cache"]["cache_ctx_len"] == CONTEXT
    store = Store.open(place / "store.zarr")
    codes = make_dictionary([0.0, -1.0, -1.5, 0.0, -9.0]).encode(store.read(HOOK, 0, store.rows)).numpy()
    codes[~store.mask.reshape(-1)] = 0
    tokens = np.asarray(store.tokens).reshape(-1, WINDOW)
    assert set(found["latents"]) == {str(i) for i in range(WIDTH)} - {str(DEAD_UNIT)}
    for latent, record in found["latents"].items():
        windows = codes[:, int(latent)].reshape(-1, WINDOW)
        fires = windows.any(axis=1)
        assert record["module"] == HOOK
        assert shown(record["tokens"], record["activations"]) == shown(tokens[fires], windows[fires])
        silent_ones = {tuple(each) for each in tokens[~fires].tolist()}
        assert all(tuple(each) in silent_ones for each in record["not_active"])
        assert record["train"] == min(4, fires.sum())


def shown(tokens: Any, activations: Any) -> list[Any]:
    rounded = np.asarray(activations, dtype=np.float16).astype(float)
    return sorted(zip(np.asarray(tokens).tolist(), rounded.tolist(), strict=True))
