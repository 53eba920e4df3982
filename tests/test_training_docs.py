"""The commands of docs/how-to/train.md run, in order, on a small model with a few rows each."""

from __future__ import annotations

import json
from pathlib import Path

from .command_line import run
from .test_docs import ROOT, commands


def test_the_commands_of_the_guide_run(tmp_path: Path, saved_models: dict[str, Path], text_file: Path) -> None:
    hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out")
    named = [word for hook in hooks for word in ("--hook", hook)]
    small = ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--tokens", "6k", "--context", "24")
    assert run(tmp_path, "harvest", *small, *named).returncode == 0
    ran = [command for command in commands(ROOT / "docs" / "how-to" / "train.md") if command[0] == "actpipe"]
    assert len(ran) >= 9
    for command in ran:
        done = run(tmp_path, *command[1:], "--tokens", "1k", "--batch-size", "256", "--no-evaluate-loss")
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stderr == "", command


def test_what_can_be_analysed_of_a_mixed_run_is(tmp_path: Path, saved_models: dict[str, Path], text_file: Path) -> None:
    """Transcoders at the hook they predict, baselines with codes of both signs; crosscoders are named and left out."""
    hooks = ("--hook", "blocks.1.hook_resid_post", "--hook", "blocks.1.mlp.hook_post")
    small = ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--tokens", "4k", "--context", "24")
    assert run(tmp_path, "harvest", *small, *hooks).returncode == 0
    few = ("--tokens", "1k", "--batch-size", "256", "--no-evaluate-loss", "--l1-sweep", "1")
    kinds = ("--architecture", "relu,pca,crosscoder", *hooks)
    assert run(tmp_path, "train-sae", *kinds, *few).returncode == 0
    done = run(tmp_path, "analyze", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["units"] == 2 * 32 + 2 * 48 + 2 * (32 + 48), "each component is two units, one a sign"
    summary = json.loads((tmp_path / "actpipe-out" / "report" / "summary.json").read_text())
    assert [note for note in summary["notes"] if "several hooks at once" in note] == [
        "blocks.1.hook_resid_post+1-crosscoder-x2-l1_1-s0 reads several hooks at once and is left out."
    ]
    pair = (
        "--architecture",
        "transcoder",
        "--hook",
        "blocks.1.hook_resid_post",
        "--target-hook",
        "blocks.1.mlp.hook_post",
    )
    assert run(tmp_path, "train-sae", *pair, *few, "--out", "pair").returncode == 0
    assert run(tmp_path, "analyze", "pair", "--out", "pair-report").returncode == 0
