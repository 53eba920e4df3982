"""Ours in other formats and back; what a format has no word for is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sae
from actpipe.convert.ours import FORMS
from actpipe.convert.stage import convert
from actpipe.errors import Misuse
from tests.foreign import FOREIGN
from tests.ours import dictionary

SMALL = {"topk": {"k": 4}, "batch_topk": {"k": 4}, "matryoshka": {"k": 4}}
# What other formats have no word for.
WITHOUT = sorted(set(sae.architecture_names()) - set(FORMS))


def saved(tmp_path: Path, name: str, **fields: object) -> Path:
    dictionary(name, **{**SMALL.get(name, {}), **fields}).save(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.mark.parametrize("name", sorted(set(FORMS) - {"imported", "imported_transcoder"}))
def test_to_saelens_and_back(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, name)
    there = convert(source, tmp_path / "there", to="saelens", verify=True)
    back = convert(tmp_path / "there", tmp_path / "back", verify=True)
    assert max(each.compared["random rows"].otherwise for each in (there, back)) <= 1
    one, other = sae.load(source), sae.load(tmp_path / "back")
    x = 4 * torch.randn(100, one.d)
    torch.testing.assert_close(other.encode(x), one.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.reconstruct(x), one.reconstruct(x), rtol=1e-4, atol=1e-4)


def test_a_whitened_and_a_topk_one_too(tmp_path: Path) -> None:
    for i, (name, fields, to) in enumerate(
        [
            ("tied", {"whiten": True}, "saelens"),
            ("tied", {"whiten": True}, "dictionary_learning"),
            ("transcoder", {"gate": "topk", "k": 4, "out": 6}, "sparsify"),
            ("skip_transcoder", {"gate": "topk", "k": 4, "out": 6}, "sparsify"),
            ("topk", {}, "sparsify"),
            ("topk", {}, "dictionary_learning"),
            ("jumprelu", {}, "dictionary_learning"),
            ("batch_topk", {}, "dictionary_learning"),
            ("gated", {}, "dictionary_learning"),
            ("relu", {}, "dictionary_learning"),
        ]
    ):
        source = saved(tmp_path / str(i), name, **fields)
        convert(source, tmp_path / str(i) / "there", to=to, verify=True)
        convert(tmp_path / str(i) / "there", tmp_path / str(i) / "back", verify=True)


@pytest.mark.parametrize("case", FOREIGN, ids=lambda name: name.replace(" ", "-"))
def test_what_was_read_is_written_again_wherever_it_can_be(tmp_path: Path, case: str) -> None:
    _, make, _ = FOREIGN[case]
    convert(make(tmp_path / "source"), tmp_path / "ours")
    written = 0
    for to in ("actpipe", "saelens", "dictionary_learning", "sparsify"):
        try:
            done = convert(tmp_path / "ours", tmp_path / to, to=to, verify=True)
        except Misuse:
            assert not (tmp_path / to).exists()
        else:
            assert done.compared["random rows"].agrees
            written += 1
    assert written >= 2


def test_saelens_files_say_what_they_are(tmp_path: Path) -> None:
    convert(saved(tmp_path, "batch_topk"), tmp_path / "there")
    config = json.loads((tmp_path / "there" / "cfg.json").read_text())
    tensors = load_file(tmp_path / "there" / "sae_weights.safetensors")
    metadata = config.pop("metadata")
    assert config == {
        "architecture": "jumprelu",
        "d_in": 6,
        "d_sae": 15,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    assert int(metadata["sae_lens_version"].split(".")[0]) >= 6, "or it is taken for an older layout"
    assert (metadata["model_name"], metadata["hook_name"]) == ("gpt2", "blocks.1.hook_resid_post")
    assert metadata["units"]["codes"] == "model units: decoder rows have length 1"
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "W_enc": (6, 15),
        "b_enc": (15,),
        "W_dec": (15, 6),
        "b_dec": (6,),
        "threshold": (15,),
    }


@pytest.mark.parametrize("name", WITHOUT)
def test_an_encoder_that_is_no_matrix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.* has no counterpart in other formats"):
        convert(saved(tmp_path, name), tmp_path / "there", to="saelens")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("name", "fields", "to", "sentence"),
    [
        ("transcoder", {}, "dictionary_learning", "it has no transcoder"),
        ("relu", {}, "sparsify", "a relu dictionary has no k to give it"),
        ("jumprelu", {}, "sparsify", "a jumprelu dictionary has no k to give it"),
        ("transcoder", {"gate": "topk", "k": 4}, "saelens", "SAELens has no topk transcoder"),
        ("transcoder", {"gate": "topk", "k": 4}, "sparsify", "this one reads 6 and answers 5"),
        ("imported", {"gate": "topk", "k": 4, "normalise": "layer_norm"}, "sparsify", "does not normalise rows"),
        ("imported", {"normalise": "layer_norm"}, "dictionary_learning", "does not normalise rows"),
        ("relu", {}, "openai", "does not write it"),
        ("relu", {}, "gguf", "There is no format 'gguf'; known: actpipe, saelens"),
    ],
)
def test_what_a_format_lacks_is_refused_with_the_reason(
    tmp_path: Path, name: str, fields: dict[str, object], to: str, sentence: str
) -> None:
    made = dictionary(name, **fields) if "normalise" not in fields else None
    if made is None:
        made = imported(**fields)
    made.save(tmp_path / "ours")
    with pytest.raises(ValueError, match=sentence):
        convert(tmp_path / "ours", tmp_path / "there", to=to)
    assert [each.name for each in tmp_path.iterdir()] == ["ours"]


def imported(**fields: object) -> sae.Dictionary:
    """One whose rows are normalised one by one, which no scaling of the hook can be folded into."""
    architecture = sae.get_architecture("imported")(**fields)
    params = {key: torch.randn(shape) for key, shape in architecture.shapes(sae.Size(6, 15, 6)).items()}
    return sae.Dictionary.trained(architecture, params, hyper={}, scaling=sae.Scaling.identity(6), config={})
