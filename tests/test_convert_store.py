"""Verifying on the rows of a store: that of the run a dictionary belongs to, or one that is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from actpipe.convert.stage import convert
from tests import foreign
from tests.small_run import HOOK, make_run, make_store
from tests.small_store import HOOKS, filled_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return filled_store(tmp_path / "store.zarr").path


def source(tmp_path: Path, hook: str | None = "blocks.0.hook_resid_post") -> Path:
    return foreign.saelens(tmp_path / "source", metadata={"hook_name": hook})


def test_a_member_of_a_run_is_verified_on_the_store_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_store(tmp_path / "store.zarr"))
    done = convert(run / "members" / "sparse", tmp_path / "there", verify=True, hook=HOOK)
    assert set(done.compared) == {"random rows", "stored rows"}
    assert done.compared["stored rows"].rows == 1024
    assert done.compared["stored rows"].l0 > 0.5


def test_a_run_whose_store_is_gone_is_verified_on_random_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_store(tmp_path / "store.zarr"))
    (tmp_path / "store.zarr").rename(tmp_path / "elsewhere")
    assert set(convert(run / "members" / "sparse", tmp_path / "there", verify=True).compared) == {"random rows"}


def test_a_named_store_is_enough_to_verify_on(tmp_path: Path, store: Path) -> None:
    done = convert(source(tmp_path), tmp_path / "ours", store=store)
    counting = 21 * 7  # of each sequence of 8 the first does not count
    assert (done.compared["stored rows"].rows, done.compared["stored rows"].otherwise) == (counting, 0)


@pytest.mark.parametrize(
    ("hook", "asked", "sentence"),
    [
        ("blocks.9.hook_resid_post", None, r"has no hook 'blocks.9.hook_resid_post'; it has blocks.0"),
        ("blocks.9.hook_resid_post", "blocks.1.mlp.hook_post", "have width 10, the dictionary reads 6"),
        (None, None, r"does not say which rows it reads; name a hook of .* with --hook"),
    ],
)
def test_a_store_that_does_not_fit(
    tmp_path: Path, store: Path, hook: str | None, asked: str | None, sentence: str
) -> None:
    assert HOOKS["blocks.1.mlp.hook_post"] == 10
    with pytest.raises(ValueError, match=sentence):
        convert(source(tmp_path, hook), tmp_path / "ours", store=store, hook=asked)
    assert not (tmp_path / "ours").exists()


def test_a_dictionary_of_another_place_shows_on_stored_rows(tmp_path: Path, store: Path) -> None:
    """Its features are silent there, which random rows do not tell."""
    folder = source(tmp_path)
    file = folder / "sae_weights.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "b_enc": torch.full_like(tensors["b_enc"], -200.0)}, file)
    with pytest.raises(RuntimeError, match="No feature is active on 147 stored rows"):
        convert(folder, tmp_path / "ours", store=store)
