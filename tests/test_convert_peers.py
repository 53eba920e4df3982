"""What we export is loaded by the real SAELens, dictionary_learning and sparsify, and what they save is read by us.

They live in an environment of their own (`make peers`), because their requirements and ours do not fit together.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import sae
from actpipe.convert.stage import convert
from tests.ours import dictionary

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".peers" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="the peers are not installed; run make peers"),
]

EXPORTED = {
    "saelens": [
        "relu",
        "p_anneal",
        "tied",
        "topk",
        "batch_topk",
        "matryoshka",
        "jumprelu",
        "gated",
        "reverse",
        "transcoder",
        "skip_transcoder",
    ],
    "dictionary_learning": ["relu", "untied", "topk", "batch_topk", "matryoshka", "jumprelu", "gated"],
    "sparsify": ["topk"],
}
SAVED = {
    "saelens": [
        "standard",
        "gated",
        "topk",
        "batchtopk",
        "jumprelu",
        "layer_norm",
        "transcoder",
        "jumprelu_skip_transcoder",
    ],
    "dictionary_learning": [
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
        "JumpReluAutoEncoder",
    ],
    "sparsify": ["sae", "transcoder", "skip"],
}


def pairs(of: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(library, name) for library, names in of.items() for name in names]


def ask(library: str, *words: str | Path, rows: torch.Tensor, folder: Path) -> dict[str, torch.Tensor]:
    """What the library itself answers to the rows."""
    np.save(folder / "rows.npy", rows.numpy())
    script = ROOT / "tests" / "bench" / "peers" / f"load_{library}.py"
    done = subprocess.run(
        [PYTHON, script, *words, folder / "rows.npy", folder / "answer.npz"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "answer.npz") as answer:
        return {name: torch.from_numpy(answer[name]) for name in answer.files}


def rows(d: int) -> torch.Tensor:
    return 3 * torch.randn(200, d, generator=torch.Generator().manual_seed(3))


def assert_same(loaded: sae.Dictionary, x: torch.Tensor, answer: dict[str, torch.Tensor], spread: torch.Tensor) -> None:
    expected = answer["codes"] * answer["lengths"] * spread
    assert (expected != 0).any(dim=1).float().mean() > 0.9
    torch.testing.assert_close(loaded.encode(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loaded.reconstruct(x), answer["rows"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("library", "name"), pairs(EXPORTED))
def test_the_library_computes_what_we_do_from_what_we_export(library: str, name: str, tmp_path: Path) -> None:
    fields = {"k": 4} if name in ("topk", "batch_topk", "matryoshka") else {}
    made = dictionary(name, d=16, n=40, out=12, **fields)
    made.save(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", to=library, verify=True)
    x = rows(16)
    answer = ask(library, "load", tmp_path / "theirs", rows=x, folder=tmp_path)
    torch.testing.assert_close(answer["lengths"], torch.ones(40), rtol=1e-4, atol=0)
    assert_same(made, x, answer, torch.ones(1))


@pytest.mark.parametrize(("library", "name"), pairs(SAVED))
def test_we_compute_what_the_library_does_from_what_it_saves(library: str, name: str, tmp_path: Path) -> None:
    x = rows(16)
    answer = ask(library, "save", tmp_path / "theirs", name, rows=x, folder=tmp_path)
    convert(tmp_path / "theirs", tmp_path / "ours", verify=True)
    # Codes of rows that are standardised are in units of each row's deviation there, in model units here.
    spread = x.std(dim=1, keepdim=True) if name == "layer_norm" else torch.ones(1)
    assert_same(sae.load(tmp_path / "ours"), x, answer, spread)
