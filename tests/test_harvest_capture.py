"""Captured values against two oracles: TransformerLens' own cache, and the hidden states of transformers."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.errors import Missing, Misuse
from actpipe.harvest.capture import capture, measure_sites, splice
from actpipe.harvest.model import LanguageModel, load_config, load_model, load_tokenizer
from actpipe.harvest.sites import Site, default_hooks, known_hooks, match_hooks

FAMILIES = ("llama", "gpt2", "neox")
RESIDUAL = ("blocks.1.hook_resid_pre", "blocks.1.hook_resid_post")
INNER = ("blocks.1.hook_mlp_out", "blocks.1.mlp.hook_post", "blocks.1.hook_attn_out", "blocks.1.attn.hook_z")


def sites_of(model: LanguageModel, *patterns: str) -> tuple[Site, ...]:
    return measure_sites(match_hooks(patterns, known_hooks(model.config, model.tokenizer)), model.module)


def some_tokens(model: LanguageModel, batch: int = 2, context: int = 24) -> torch.Tensor:
    return torch.randint(len(model.tokenizer), (batch, context), generator=torch.Generator().manual_seed(0))


def bridge_cache(model: LanguageModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    from transformer_lens.model_bridge import TransformerBridge

    fresh = load_model(model.name, dtype="float32", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = TransformerBridge.boot_transformers(
            "oracle", hf_model=fresh.module, tokenizer=fresh.tokenizer, device="cpu", dtype=torch.float32
        )
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(ids)
    return dict(cache)


@pytest.mark.parametrize("family", FAMILIES)
def test_captured_hooks_equal_transformer_lens(saved_models: dict[str, Path], family: str) -> None:
    model = load_model(str(saved_models[family]), dtype="float32", device="cpu")
    ids = some_tokens(model)
    sites = sites_of(model, *RESIDUAL, *INNER)
    with capture(model.module, sites) as run:
        taken = run(ids)
    cache = bridge_cache(model, ids)
    assert set(taken) == {site.hook for site in sites}
    for site in sites:
        expected = cache[site.hook].flatten(2)
        assert taken[site.hook].shape == (2, 24, site.width)
        torch.testing.assert_close(taken[site.hook], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_captured_residuals_equal_hidden_states(saved_models: dict[str, Path], family: str) -> None:
    model = load_model(str(saved_models[family]), dtype="float32", device="cpu")
    ids = some_tokens(model)
    sites = sites_of(model, "blocks.*.hook_resid_pre", "blocks.1.hook_resid_post")
    with capture(model.module, sites) as run:
        taken = run(ids)
    with torch.inference_mode():
        states = model.module(ids, output_hidden_states=True).hidden_states
    for layer in range(3):
        assert torch.equal(taken[f"blocks.{layer}.hook_resid_pre"], states[layer])
    assert torch.equal(taken["blocks.1.hook_resid_post"], states[2])


def test_the_embedded_model_agrees_with_transformer_lens_and_transformers(embedded_folder: Path) -> None:
    model = load_model("smollm2", dtype="float32", device="cpu")
    ids = some_tokens(model, batch=1, context=16)
    sites = sites_of(model, *default_hooks(model.config), "blocks.9.hook_resid_mid")
    with capture(model.module, sites) as run:
        taken = run(ids)
    with torch.inference_mode():
        states = model.module(ids, output_hidden_states=True).hidden_states
    assert torch.equal(taken["blocks.9.hook_resid_post"], states[10])
    cache = bridge_cache(model, ids)
    for site in sites:
        torch.testing.assert_close(taken[site.hook], cache[site.hook], rtol=1e-3, atol=1e-2)


def test_layers_above_the_last_site_do_not_run(saved_models: dict[str, Path]) -> None:
    model = load_model(str(saved_models["llama"]), dtype="float32", device="cpu")
    ran: list[int] = []
    for number, layer in enumerate(model.module.model.layers):  # type: ignore[union-attr,arg-type]
        layer.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    sites = sites_of(model, "blocks.1.hook_resid_post")
    ran.clear()
    with capture(model.module, sites) as run:
        run(some_tokens(model))
    assert ran == [0, 1]


def test_hooks_are_gone_after_the_block_even_when_it_fails(saved_models: dict[str, Path]) -> None:
    model = load_model(str(saved_models["gpt2"]), dtype="float32", device="cpu")
    sites = sites_of(model, "blocks.1.hook_resid_post")

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())

    before = hooks()
    during = 0
    with contextlib.suppress(ZeroDivisionError), capture(model.module, sites):
        during = hooks()
        raise ZeroDivisionError
    assert during == before + 1
    assert hooks() == before


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"])
def test_splicing_the_same_values_changes_nothing_and_other_values_something(
    saved_models: dict[str, Path], hook: str
) -> None:
    model = load_model(str(saved_models["llama"]), dtype="float32", device="cpu")
    ids = some_tokens(model)
    (site,) = sites_of(model, hook)
    with torch.inference_mode():
        plain = model.module(ids).logits
        with splice(model.module, site, lambda x: x.clone()):
            same = model.module(ids).logits
        with splice(model.module, site, torch.zeros_like):
            other = model.module(ids).logits
        assert torch.equal(plain, same)
        assert not torch.allclose(plain, other)
        assert torch.equal(plain, model.module(ids).logits)


def test_wildcards_choose_several_hooks(saved_models: dict[str, Path]) -> None:
    folder = str(saved_models["llama"])
    known = known_hooks(load_config(folder), load_tokenizer(folder))
    assert list(match_hooks(["blocks.*.hook_resid_post"], known)) == [f"blocks.{i}.hook_resid_post" for i in range(3)]


def test_an_unknown_hook_is_answered_with_the_nearest_ones(saved_models: dict[str, Path]) -> None:
    folder = str(saved_models["llama"])
    known = known_hooks(load_config(folder), load_tokenizer(folder))
    with pytest.raises(Missing, match=r"no hook 'blocks.7.hook_resid_post'. Its blocks are 0 to 2"):
        match_hooks(["blocks.7.hook_resid_post"], known)
    with pytest.raises(Misuse, match="No hook was named"):
        match_hooks([], known)


@pytest.mark.parametrize("name", ["./nowhere", "no/such/folder", "nosuch/model"])
def test_an_unknown_model_is_one_sentence(name: str) -> None:
    with pytest.raises(Missing, match=name):
        load_model(name)


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no config\.json"):
        load_config(str(tmp_path))


def test_the_fingerprint_of_a_model_follows_its_weights(saved_models: dict[str, Path]) -> None:
    model = load_model(str(saved_models["llama"]), dtype="float32", device="cpu")
    before = model.fingerprint()
    assert before == load_model(str(saved_models["llama"]), dtype="float32", device="cpu").fingerprint()
    weight: Any = next(model.module.parameters())
    weight.data.view(-1)[0] += 1
    assert model.fingerprint() != before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wildcard_over_everything_takes_every_site_that_has_rows(saved_models: dict[str, Path], family: str) -> None:
    model = load_model(str(saved_models[family]), dtype="float32", device="cpu")
    sites = sites_of(model, "*")
    hooks = {site.hook for site in sites}
    assert {"blocks.0.hook_resid_pre", "blocks.2.hook_resid_post", "blocks.1.mlp.hook_post"} <= hooks
    assert "embed.hook_in" not in hooks  # token ids
    with capture(model.module, sites) as run:
        taken = run(some_tokens(model))
    assert all(taken[site.hook].shape == (2, 24, site.width) for site in sites)


def test_a_named_hook_without_rows_is_refused(saved_models: dict[str, Path]) -> None:
    model = load_model(str(saved_models["llama"]), dtype="float32", device="cpu")
    chosen = match_hooks(["embed.hook_in"], known_hooks(model.config, model.tokenizer))
    with pytest.raises(Misuse, match=r"'embed\.hook_in' does not hold one row for each token"):
        measure_sites(chosen, model.module, required=["embed.hook_in"])
