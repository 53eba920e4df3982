"""The commands of docs/how-to/train.md run, in order, on a small model with a few rows each."""

from __future__ import annotations

from pathlib import Path

from .test_cli import run
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
