"""Dictionaries as other libraries leave them on a disk: random numbers under their names, and nothing trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

D, N, K, OUT = 6, 15, 4, 5


def draw(seed: int = 0) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape, by=1.0: by * torch.randn(*shape, generator=generator)


def matrices(seed: int = 0, out: int = D) -> dict[str, torch.Tensor]:
    """Decoder rows of lengths from 0.3 to 3, biases that matter, thresholds above zero."""
    some = draw(seed)
    W_dec = some(N, out)
    return {
        "W_enc": some(D, N),
        "b_enc": some(N),
        "W_dec": W_dec / W_dec.norm(dim=1, keepdim=True) * torch.linspace(0.3, 3, N)[:, None],
        "b_dec": some(out, by=3.0),
        "threshold": some(N).abs() + 0.1,
        "b_gate": some(N),
        "b_mag": some(N),
        "r_mag": some(N, by=0.5),
        "W_skip": some(out, D),
    }


def write(folder: Path, config: dict[str, Any], name: str, tensors: dict[str, torch.Tensor], to: str) -> Path:
    (folder / to).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(config))
    save_file({key: t.contiguous() for key, t in tensors.items()}, folder / to)
    return folder


def saelens(folder: Path, architecture: str = "standard", *, version: str | None = "6.54.12", **fields: Any) -> Path:
    transcodes = "transcoder" in architecture
    p = matrices(out=OUT if transcodes else D)
    names = ["W_enc", "W_dec", "b_dec"]
    names += ["b_gate", "b_mag", "r_mag"] if architecture == "gated" else ["b_enc"]
    names += ["threshold"] if "jumprelu" in architecture else []
    names += ["W_skip"] if "skip" in architecture else []
    tensors = {name: p[name] for name in names}
    if architecture in ("batchtopk", "matryoshka_batchtopk"):
        tensors["topk_threshold"] = torch.tensor(0.7, dtype=torch.float64)
    metadata = {
        "sae_lens_version": version,
        "model_name": "gpt2",
        "hook_name": "blocks.1.hook_resid_pre",
        "model_from_pretrained_kwargs": {},
        **fields.pop("metadata", {}),
    }
    config = {
        "architecture": architecture,
        "d_in": D,
        "d_sae": N,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": not transcodes,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **({"d_out": OUT} if transcodes else {}),
        **({"k": K, "rescale_acts_by_decoder_norm": False} if "topk" in architecture else {}),
        "metadata": metadata,
        **fields,
    }
    return write(folder, config, "cfg.json", tensors, "sae_weights.safetensors")


def saelens_flat(folder: Path, **fields: Any) -> Path:
    """As before version 6."""
    p = matrices()
    config = {
        "d_in": D,
        "d_sae": N,
        "hook_point": "blocks.1.hook_resid_pre",
        "hook_point_layer": 1,
        "model_name": "gpt2-small",
        "dtype": "torch.float32",
        "prepend_bos": True,
        **fields,
    }
    tensors = {name: p[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")} | {"scaling_factor": torch.ones(N)}
    return write(folder, config, "cfg.json", tensors, "sae_weights.safetensors")


def dictionary_learning(folder: Path, kind: str = "AutoEncoder", *, config: bool = True, **trainer: Any) -> Path:
    p = matrices()
    linear = {"encoder.weight": p["W_enc"].T, "encoder.bias": p["b_enc"], "decoder.weight": p["W_dec"].T}
    numbers = {"k": torch.tensor(K, dtype=torch.int32), "threshold": torch.tensor(0.7)}
    by_kind: dict[str, dict[str, torch.Tensor]] = {
        "AutoEncoder": {**linear, "bias": p["b_dec"]},
        "AutoEncoderNew": {**linear, "decoder.bias": p["b_dec"]},
        "GatedAutoEncoder": {
            "encoder.weight": linear["encoder.weight"],
            "decoder.weight": linear["decoder.weight"],
            "decoder_bias": p["b_dec"],
            "r_mag": p["r_mag"],
            "gate_bias": p["b_gate"],
            "mag_bias": p["b_mag"],
        },
        "AutoEncoderTopK": {**linear, "b_dec": p["b_dec"], **numbers},
        "BatchTopKSAE": {**linear, "b_dec": p["b_dec"], **numbers},
        "MatryoshkaBatchTopKSAE": {
            **{name: p[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")},
            **numbers,
            "group_sizes": torch.tensor([5, N - 5]),
        },
        "JumpReluAutoEncoder": {name: p[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")},
    }
    folder.mkdir(parents=True)
    torch.save({name: t.contiguous() for name, t in by_kind[kind].items()}, folder / "ae.pt")
    if config:
        said = {
            "dict_class": kind,
            "activation_dim": D,
            "dict_size": N,
            "layer": 3,
            "lm_name": "EleutherAI/pythia-70m-deduped",
            "submodule_name": "resid_post_layer_3",
            **trainer,
        }
        (folder / "config.json").write_text(json.dumps({"trainer": said, "buffer": {"ctx_len": 128}}))
    return folder


def sparsify(folder: Path, **fields: Any) -> Path:
    p = matrices()
    config = {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": N,
        "k": K,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D,
        **fields,
    }
    tensors = {
        "encoder.weight": p["W_enc"].T,
        "encoder.bias": p["b_enc"],
        "W_dec": p["W_dec"],
        "b_dec": p["b_dec"],
        **({"W_skip": p["W_skip"]} if config["skip_connection"] else {}),
    }
    return write(folder, config, "cfg.json", tensors, "sae.safetensors")


def openai(folder: Path, activation: str = "TopK", **state: Any) -> Path:
    p = matrices()
    path = folder / "resid_post_mlp_v5_32k" / "autoencoders" / "6.pt"
    path.parent.mkdir(parents=True)
    content: dict[str, Any] = {
        "pre_bias": p["b_dec"],
        "encoder.weight": p["W_enc"].T.contiguous(),
        "latent_bias": p["b_enc"],
        "decoder.weight": p["W_dec"].T.contiguous(),
        "stats_last_nonzero": torch.zeros(N, dtype=torch.long),
        "latents_activation_frequency": torch.ones(N),
        "latents_mean_square": torch.zeros(N),
        "activation": activation,
    }
    if activation == "TopK":
        content["activation_state_dict"] = {"k": K, "postact_fn": "ReLU", **state}
    torch.save(content, path)
    return path


def gemma_scope(folder: Path, *, lower: bool = False, place: str = "layer_12/width_16k/average_l0_82") -> Path:
    p = matrices()
    where = folder / place
    where.mkdir(parents=True)
    names = {"W_enc": "w_enc", "W_dec": "w_dec"} if lower else {}
    saved = {names.get(key, key): p[key].numpy() for key in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    np.savez(where / "params.npz", **saved)
    return where


def llamascopium(
    folder: Path, act_fn: str = "jumprelu", norm: tuple[float, float] = (40.0, 40.0), **fields: Any
) -> Path:
    p = matrices()
    config = {
        "sae_type": "sae",
        "d_model": D,
        "expansion_factor": N / D,
        "use_decoder_bias": True,
        "act_fn": act_fn,
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True,
        "top_k": K,
        "hook_point_in": "blocks.2.hook_resid_post",
        "hook_point_out": "blocks.2.hook_resid_post",
        "use_glu_encoder": False,
        **fields,
    }
    tensors = {"W_E": p["W_enc"], "b_E": p["b_enc"], "W_D": p["W_dec"], "b_D": p["b_dec"]}
    if act_fn == "jumprelu":
        tensors["activation_function.log_jumprelu_threshold"] = p["threshold"].log()
    for hook, value in zip((config["hook_point_in"], config["hook_point_out"]), norm, strict=True):
        tensors[f"dataset_average_activation_norm.{hook}"] = torch.tensor(value)
    return write(folder, config, "config.json", tensors, "sae_weights.safetensors")


def llama_scope(folder: Path, norm: tuple[float, float] = (40.0, 40.0), **fields: Any) -> Path:
    """The releases before llamascopium had its name."""
    p = matrices()
    config = {
        "d_model": D,
        "d_sae": N,
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.75,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm[0], "out": norm[1]},
        "hook_point_in": "blocks.2.hook_resid_post",
        "hook_point_out": "blocks.2.hook_resid_post",
        **fields,
    }
    tensors = {
        "encoder.weight": p["W_enc"].T,
        "encoder.bias": p["b_enc"],
        "decoder.weight": p["W_dec"].T,
        "decoder.bias": p["b_dec"],
    }
    return write(folder, config, "hyperparams.json", tensors, "checkpoints/final.safetensors")


def _with(make: Callable[..., Path], *args: Any, **fields: Any) -> Callable[[Path], Path]:
    return lambda folder: make(folder, *args, **fields)


def _scaled(folder: Path) -> Path:
    """A checkpoint of SAELens that was trained on 0.2 · x."""
    saelens(folder, "jumprelu", normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.2, "has_whitening": False}))
    return folder


def _whitened(folder: Path) -> Path:
    saelens(folder, "topk", normalize_activations="covariance_whitening", rescale_acts_by_decoder_norm=True)
    some = draw(7)
    matrix = some(D, D) + 3 * torch.eye(D)
    stored = {
        "mean": some(D).double(),
        "matrix": matrix.double(),
        "inverse_matrix": matrix.double().inverse().contiguous(),
    }
    save_file(stored, folder / "activation_whitening.safetensors")
    return folder


CENTERED = {"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}
PAIR = {"hook_point_out": "blocks.2.hook_mlp_out"}

# Everything that is read: a name → (format, how to make one, the architecture it becomes).
FOREIGN: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "saelens standard": ("saelens", _with(saelens, "standard"), "relu"),
    "saelens standard without b_dec": ("saelens", _with(saelens, "standard", apply_b_dec_to_input=False), "relu"),
    "saelens jumprelu": ("saelens", _with(saelens, "jumprelu"), "jumprelu"),
    "saelens gated": ("saelens", _with(saelens, "gated"), "gated"),
    "saelens gated without b_dec": ("saelens", _with(saelens, "gated", apply_b_dec_to_input=False), "gated"),
    "saelens topk": ("saelens", _with(saelens, "topk"), "imported"),
    "saelens topk rescaled": ("saelens", _with(saelens, "topk", rescale_acts_by_decoder_norm=True), "topk"),
    "saelens batchtopk": ("saelens", _with(saelens, "batchtopk", rescale_acts_by_decoder_norm=True), "jumprelu"),
    "saelens matryoshka": ("saelens", _with(saelens, "matryoshka_batchtopk"), "jumprelu"),
    "saelens layer_norm": ("saelens", _with(saelens, "jumprelu", normalize_activations="layer_norm"), "imported"),
    "saelens length": (
        "saelens",
        _with(saelens, "standard", normalize_activations="constant_norm_rescale"),
        "imported",
    ),
    "saelens scaled": ("saelens", _scaled, "jumprelu"),
    "saelens whitened": ("saelens", _whitened, "imported"),
    "saelens centred": ("saelens", _with(saelens, "standard", **CENTERED), "imported"),
    "saelens transcoder": ("saelens", _with(saelens, "transcoder"), "transcoder"),
    "saelens skip transcoder": ("saelens", _with(saelens, "skip_transcoder"), "skip_transcoder"),
    "saelens jumprelu transcoder": ("saelens", _with(saelens, "jumprelu_transcoder"), "imported_transcoder"),
    "saelens jumprelu skip": ("saelens", _with(saelens, "jumprelu_skip_transcoder"), "imported_transcoder"),
    "saelens flat": ("saelens", saelens_flat, "relu"),
    "saelens flat topk": (
        "saelens",
        _with(saelens_flat, activation_fn_str="topk", activation_fn_kwargs={"k": K}),
        "imported",
    ),
    **{
        f"dictionary_learning {kind}": ("dictionary_learning", _with(dictionary_learning, kind), ours)
        for kind, ours in (
            ("AutoEncoder", "relu"),
            ("AutoEncoderNew", "relu"),
            ("GatedAutoEncoder", "gated"),
            ("AutoEncoderTopK", "imported"),
            ("BatchTopKSAE", "jumprelu"),
            ("MatryoshkaBatchTopKSAE", "jumprelu"),
            ("JumpReluAutoEncoder", "jumprelu"),
        )
    },
    "sparsify": ("sparsify", sparsify, "imported"),
    "sparsify without norm": ("sparsify", _with(sparsify, normalize_decoder=False), "imported"),
    "sparsify transcoder": ("sparsify", _with(sparsify, transcode=True), "imported_transcoder"),
    "sparsify skip": ("sparsify", _with(sparsify, transcode=True, skip_connection=True), "imported_transcoder"),
    "openai topk": ("openai", openai, "imported"),
    "openai relu": ("openai", _with(openai, "ReLU"), "relu"),
    "gemma_scope": ("gemma_scope", gemma_scope, "jumprelu"),
    "gemma_scope lower case": ("gemma_scope", _with(gemma_scope, lower=True), "jumprelu"),
    "gemma_scope embedding": ("gemma_scope", _with(gemma_scope, place="embedding/width_4k/average_l0_6"), "jumprelu"),
    "gemma_scope transcoder": (
        "gemma_scope",
        _with(gemma_scope, place="gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_6"),
        "imported_transcoder",
    ),
    "llamascopium jumprelu": ("llamascopium", llamascopium, "jumprelu"),
    "llamascopium plain gate": ("llamascopium", _with(llamascopium, sparsity_include_decoder_norm=False), "jumprelu"),
    "llamascopium topk": ("llamascopium", _with(llamascopium, "topk"), "topk"),
    "llamascopium relu": ("llamascopium", _with(llamascopium, "relu"), "relu"),
    "llamascopium inference": ("llamascopium", _with(llamascopium, norm_activation="inference"), "jumprelu"),
    "llamascopium token-wise": ("llamascopium", _with(llamascopium, norm_activation="token-wise"), "imported"),
    "llamascopium transcoder": (
        "llamascopium",
        _with(llamascopium, "topk", norm=(40.0, 3.0), **PAIR),
        "transcoder",
    ),
    "llama scope": ("llamascopium", llama_scope, "jumprelu"),
    "llama scope plain gate": ("llamascopium", _with(llama_scope, sparsity_include_decoder_norm=False), "jumprelu"),
    "llama scope transcoder": (
        "llamascopium",
        _with(llama_scope, norm=(40.0, 3.0), **PAIR),
        "imported_transcoder",
    ),
}
