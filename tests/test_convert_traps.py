"""Where converters have gone wrong, each with numbers that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sae
from actpipe.convert import FORMATS
from actpipe.convert.stage import convert
from actpipe.errors import Misuse
from tests import foreign
from tests.foreign import K, N


def read(path: Path) -> sae.Dictionary:
    return FORMATS.of(path).read(path)


def one_feature(folder: Path, architecture: str = "standard", **config: object) -> Path:
    """d 3, n 1: u = 2 (x₀ − b₀ …) + 1 and a decoder row of length 5."""
    fields = {"d_in": 3, "d_sae": 1, "metadata": {"hook_name": "blocks.0.hook_resid_post"}, **config}
    foreign.saelens(folder, architecture, **fields)
    tensors = {
        "W_enc": torch.tensor([[2.0], [0.0], [0.0]]),
        "b_enc": torch.tensor([1.0]),
        "W_dec": torch.tensor([[3.0, 4.0, 0.0]]),
        "b_dec": torch.tensor([10.0, 0.0, 0.0]),
    }
    if architecture == "jumprelu":
        tensors["threshold"] = torch.tensor([4.0])
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def answers(dictionary: sae.Dictionary, *row: float) -> tuple[list[float], list[float]]:
    x = torch.tensor([row])
    return dictionary.encode(x)[0].tolist(), dictionary.reconstruct(x)[0].tolist()


def test_codes_are_lengths_whatever_the_decoder_s(tmp_path: Path) -> None:
    # u = 2 (12 − 10) + 1 = 5; the feature adds 5 · (3, 4, 0), of length 25.
    codes, rows = answers(read(one_feature(tmp_path / "a")), 12, 0, 0)
    assert codes == pytest.approx([25])
    assert rows == pytest.approx([25, 20, 0])


def test_apply_b_dec_to_input_is_obeyed(tmp_path: Path) -> None:
    # u = 2 · 12 + 1 = 25
    codes, rows = answers(read(one_feature(tmp_path / "a", apply_b_dec_to_input=False)), 12, 0, 0)
    assert codes == pytest.approx([125])
    assert rows == pytest.approx([85, 100, 0])


def test_a_threshold_follows_the_length_of_the_decoder_row(tmp_path: Path) -> None:
    dictionary = read(one_feature(tmp_path / "a", "jumprelu"))
    assert answers(dictionary, 11.4, 0, 0)[0] == [0.0]  # u = 3.8 is below 4, and its length 19 is above
    assert answers(dictionary, 11.6, 0, 0)[0] == pytest.approx([21.0])  # u = 4.2


def test_a_scale_kept_beside_the_weights_reaches_biases_decoder_and_threshold(tmp_path: Path) -> None:
    folder = one_feature(tmp_path / "a", "jumprelu", normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.5}))
    dictionary = read(folder)
    # z = x / 2, b_dec = 10: u = 2 (z − 10) + 1, ẑ = u (3, 4, 0) + (10, 0, 0), x̂ = 2 ẑ. At x₀ = 24 u = 5.
    codes, rows = answers(dictionary, 24, 0, 0)
    assert codes == pytest.approx([50])
    assert rows == pytest.approx([50, 40, 0])
    assert answers(dictionary, 22.9, 0, 0)[0] == [0.0]  # u = 3.9


def test_a_scale_that_is_not_in_the_file_is_asked_for(tmp_path: Path) -> None:
    folder = one_feature(tmp_path / "a", normalize_activations="expected_average_only_in")
    with pytest.raises(ValueError, match=r"the factor is not in the file. Put activation_scaler.json"):
        read(folder)


def test_a_model_with_centred_writing_weights_is_not_needed(tmp_path: Path) -> None:
    said = {"hook_name": "blocks.0.hook_resid_pre", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    centred = read(one_feature(tmp_path / "a", metadata=said))
    plain = read(one_feature(tmp_path / "b"))
    # A row with mean 5: what the centred model has there is (12, −4, −8), and its answer plus 5 is ours.
    codes, rows = answers(centred, 17, 1, -3)
    expected_codes, expected = answers(plain, 12, -4, -8)
    assert codes == pytest.approx(expected_codes)
    assert rows == pytest.approx([each + 5 for each in expected])
    # Between heads nothing is centred.
    elsewhere = one_feature(tmp_path / "c", metadata={**said, "hook_name": "blocks.0.attn.hook_z"})
    assert read(elsewhere).config["architecture"] == "relu"
    assert "center_writing_weights" in str(read(elsewhere).config["source"]["notes"])


def test_the_k_largest_are_chosen_among_the_library_s_codes(tmp_path: Path) -> None:
    """Decoder rows from 0.3 to 3 long: by lengths of contributions other features would be chosen."""
    x = 3 * torch.randn(200, foreign.D, generator=torch.Generator().manual_seed(1))
    plain, rescaled = (
        read(foreign.saelens(tmp_path / str(flag), "topk", rescale_acts_by_decoder_norm=flag)) for flag in (False, True)
    )
    p = load_file(tmp_path / "True" / "sae_weights.safetensors")
    u = (x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
    for dictionary, ranked in ((plain, u), (rescaled, u * p["W_dec"].norm(dim=1))):
        chosen = torch.zeros_like(u, dtype=torch.bool).scatter(-1, ranked.topk(K).indices, True)
        assert torch.equal(dictionary.encode(x) > 0, chosen & (u > 0))
    assert (plain.encode(x) > 0).ne(rescaled.encode(x) > 0).any()


def test_sparsify_s_decoder_is_not_turned_round_and_its_bias_is_always_taken_off(tmp_path: Path) -> None:
    # n = d, so that nothing but the numbers tells W_dec from its transpose.
    p = {"encoder.weight": torch.eye(2), "encoder.bias": torch.zeros(2), "b_dec": torch.tensor([1.0, 0.0])}
    for normalize in (True, False):
        folder = foreign.sparsify(tmp_path / str(normalize), d_in=2, num_latents=2, k=1, normalize_decoder=normalize)
        save_file({**p, "W_dec": torch.tensor([[0.0, 1.0], [-1.0, 0.0]])}, folder / "sae.safetensors")
        codes, rows = answers(read(folder), 4, 2)
        assert codes == pytest.approx([3, 0])
        assert rows == pytest.approx([1, 3])


def test_the_hooks_of_sparsify_s_folders(tmp_path: Path) -> None:
    for name, hook in {
        "layers.10": "blocks.10.hook_resid_post",
        "h.0.mlp": "blocks.0.hook_mlp_out",
        "layers.3.self_attn/seed1": "blocks.3.hook_attn_out",
        "embed_tokens": "hook_embed",
        "mine": None,
    }.items():
        assert read(foreign.sparsify(tmp_path / name)).config.get("hook") == hook
    transcoder = read(foreign.sparsify(tmp_path / "t" / "layers.1.mlp", transcode=True)).config
    assert (transcoder.get("hook"), transcoder["target_hook"]) == (None, "blocks.1.hook_mlp_out")


def test_dictionary_learning_s_older_class_has_its_bias_elsewhere(tmp_path: Path) -> None:
    dictionary = read(foreign.dictionary_learning(tmp_path / "a", "AutoEncoderNew"))
    p = foreign.matrices()
    torch.testing.assert_close(dictionary.decode(torch.zeros(N)), p["b_dec"])
    x = torch.randn(5, foreign.D)
    expected = torch.relu(x @ p["W_enc"] + p["b_enc"]) * p["W_dec"].norm(dim=1)
    torch.testing.assert_close(dictionary.encode(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("submodule", "hook"),
    [
        ("resid_post_layer_3", "blocks.3.hook_resid_post"),
        ("mlp_out_layer_3", "blocks.3.hook_mlp_out"),
        ("attention_out_layer_3", "blocks.3.hook_attn_out"),
        ("mine", None),
    ],
)
def test_dictionary_learning_s_hook_is_the_one_it_names(tmp_path: Path, submodule: str, hook: str | None) -> None:
    folder = foreign.dictionary_learning(tmp_path / "a", submodule_name=submodule)
    assert read(folder).config.get("hook") == hook


def test_a_backup_of_dictionary_learning_is_brought_to_model_units(tmp_path: Path) -> None:
    folder = foreign.dictionary_learning(tmp_path / "a", "BatchTopKSAE")
    plain = read(folder)
    content = torch.load(folder / "ae.pt", weights_only=True)
    small = {name: t / 4 if name in ("encoder.bias", "b_dec", "threshold") else t for name, t in content.items()}
    torch.save({"step": 7, "ae": small, "optimizer": {}, "norm_factor": 4.0}, folder / "ae.pt")
    backup = read(folder)
    x = 3 * torch.randn(50, foreign.D)
    torch.testing.assert_close(backup.encode(x), plain.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(backup.reconstruct(x), plain.reconstruct(x), rtol=1e-4, atol=1e-4)


def test_an_unset_threshold_is_none(tmp_path: Path) -> None:
    folder = foreign.dictionary_learning(tmp_path / "a", "BatchTopKSAE")
    content = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({**content, "threshold": torch.tensor(-1.0)}, folder / "ae.pt")
    x = torch.randn(50, foreign.D)
    p = foreign.matrices()
    expected = torch.relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * p["W_dec"].norm(dim=1)
    torch.testing.assert_close(read(folder).encode(x), expected, rtol=1e-4, atol=1e-4)


def test_embeddings_of_gemma_are_read_as_the_model_has_them(tmp_path: Path) -> None:
    """Trained on rows e of the matrix; hook_embed has √d e."""
    inside = read(foreign.gemma_scope(tmp_path / "a", place="embedding/width_4k/average_l0_6"))
    outside = read(foreign.gemma_scope(tmp_path / "b", place="layer_0/width_4k/average_l0_6"))
    e, root = torch.randn(20, foreign.D), foreign.D**0.5
    torch.testing.assert_close(inside.reconstruct(root * e), root * outside.reconstruct(e), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inside.encode(root * e), root * outside.encode(e), rtol=1e-4, atol=1e-4)
    assert inside.config["hook"] == "hook_embed"


@pytest.mark.parametrize(
    ("release", "hook"),
    [
        ("gemma-scope-2b-pt-res", "blocks.12.hook_resid_post"),
        ("gemma-scope-9b-pt-mlp", "blocks.12.hook_mlp_out"),
        ("models--google--gemma-scope-2b-pt-att", "blocks.12.attn.hook_z"),
        ("elsewhere", None),
    ],
)
def test_gemma_s_hooks_are_named_by_the_folders(tmp_path: Path, release: str, hook: str | None) -> None:
    place = f"{release}/layer_12/width_16k/average_l0_82"
    assert read(foreign.gemma_scope(tmp_path, place=place)).config.get("hook") == hook


def test_the_old_llama_scope_s_threshold_is_in_model_units(tmp_path: Path) -> None:
    """√d / 40 scales the rows; 0.75 is compared with codes of the standardised parameters, times their lengths."""
    dictionary = read(foreign.llama_scope(tmp_path / "a"))
    p, scale = foreign.matrices(), foreign.D**0.5 / 40
    x = 40 * torch.randn(300, foreign.D, generator=torch.Generator().manual_seed(2))
    codes = (x @ p["W_enc"] + p["b_enc"] / scale) * p["W_dec"].norm(dim=1)
    torch.testing.assert_close(dictionary.encode(x), codes * (codes > 0.75), rtol=1e-4, atol=1e-3)


def test_openai_s_topk_standardises_every_row(tmp_path: Path) -> None:
    dictionary = read(foreign.openai(tmp_path))
    x = torch.randn(50, foreign.D)
    torch.testing.assert_close(dictionary.encode(7 * x + 100), 7 * dictionary.encode(x), rtol=1e-3, atol=1e-3)
    there, here = dictionary.reconstruct(7 * x + 100), 7 * dictionary.reconstruct(x) + 100
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-2)
    assert dictionary.config["hook"] == "blocks.6.hook_resid_post"


def test_the_units_are_stated(tmp_path: Path) -> None:
    convert(one_feature(tmp_path / "a"), tmp_path / "ours")
    units = json.loads((tmp_path / "ours" / "config.json").read_text())["units"]
    assert units == {
        "rows": "as the model produces them; nothing is left to scale",
        "codes": "model units, the length of a feature's contribution: the code of SAELens times 5",
    }


def test_what_is_centred_goes_back_as_it_came(tmp_path: Path) -> None:
    said = {"hook_name": "blocks.0.hook_resid_pre", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    convert(one_feature(tmp_path / "a", metadata=said), tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="saelens", verify=True)
    written = json.loads((tmp_path / "back" / "cfg.json").read_text())
    assert written["metadata"]["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    assert written["metadata"]["hook_name"] == "blocks.0.hook_resid_pre"
    for hook in ("blocks.0.mlp.hook_post", None):
        ours = json.loads((tmp_path / "ours" / "config.json").read_text())
        (tmp_path / "ours" / "config.json").write_text(json.dumps({**ours, "hook": hook}))
        with pytest.raises(Misuse, match="mean off each row"):
            convert(tmp_path / "ours", tmp_path / "elsewhere", to="saelens")
        assert not (tmp_path / "elsewhere").exists()
