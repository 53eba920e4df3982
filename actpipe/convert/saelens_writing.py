"""Our dictionaries as SAELens' inference files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.files import write_json

from .form import Form
from .format import exported_units
from .ours import form_of
from .saelens_config import WEIGHTS, WRITES

VERSION = "6.54.12"  # of the layout that `write` follows; SAELens takes a file without one, or below 6, for a flat one


def write(dictionary: sae.Dictionary, folder: Path) -> None:
    """Fill an empty folder. Misuse with a sentence where SAELens has no word for this dictionary."""
    form = form_of(dictionary)
    if form.normalise == "center":
        _check_centring(dictionary.config.get("hook"))
    architecture = _architecture_for(form)
    tensors = _tensors_for(form)
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": dictionary.d,
        "d_sae": dictionary.n,
        **({"d_out": dictionary.out} if form.pair else {}),
        "dtype": str(dictionary.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": _subtracts(form),
        "normalize_activations": {"layer_norm": "layer_norm", "length": "constant_norm_rescale"}.get(
            form.normalise, "none"
        ),
        "reshape_activations": "none",
        **({"k": form.k, "rescale_acts_by_decoder_norm": False} if form.gate == "topk" else {}),
        "metadata": _metadata(dictionary, form),
    }
    content = {name: t.to(dictionary.dtype).contiguous() for name, t in tensors.items()}
    save_file(content, folder / WEIGHTS)
    write_json(folder / "cfg.json", config)


def _architecture_for(form: Form) -> str:
    if not form.pair:
        if form.W_skip is not None:
            raise Misuse("SAELens has no autoencoder with a skip; only its transcoders have one.")
        return {"relu": "standard"}.get(form.gate, form.gate)
    names = {"relu": "transcoder", "jumprelu": "jumprelu_transcoder"}
    if form.gate not in names:
        raise Misuse(f"SAELens has no {form.gate} transcoder; its transcoders are relu or jumprelu.")
    return names[form.gate] if form.W_skip is None else names[form.gate].replace("transcoder", "skip_transcoder")


def _check_centring(hook: Any) -> None:
    """SAELens takes the mean off by loading the model with centred weights, which reaches the residual stream alone."""
    if not str(hook).endswith(WRITES):
        raise Misuse(
            "This dictionary takes the mean off each row, which SAELens can say of hooks in the residual stream only "
            f"(such as blocks.0.hook_resid_post), and its hook is {hook!r}; give its config.json the right hook."
        )


def _subtracts(form: Form) -> bool:
    return not form.pair and torch.equal(form.b_in, form.b_dec)


def _tensors_for(form: Form) -> dict[str, Tensor]:
    form = form if _subtracts(form) else form.without_bias_in()
    tensors = {"W_enc": form.W_enc.T, "W_dec": form.W_dec, "b_dec": form.b_dec}
    if form.gate == "gated":
        assert form.b_gate is not None
        assert form.r_mag is not None
        return {**tensors, "b_mag": form.b_enc, "b_gate": form.b_gate, "r_mag": form.r_mag}
    tensors["b_enc"] = form.b_enc
    if form.threshold is not None:
        tensors["threshold"] = form.threshold
    if form.W_skip is not None:
        tensors["W_skip"] = form.W_skip
    return tensors


def _metadata(dictionary: sae.Dictionary, form: Form) -> dict[str, Any]:
    config = dictionary.config
    before = _mapping(_mapping(config.get("source")).get("metadata"))
    known = before if _mapping(config.get("source")).get("format") == "saelens" else {}
    kwargs = dict(known.get("model_from_pretrained_kwargs") or {})
    if form.normalise == "center":
        kwargs["center_writing_weights"] = True
    model = config.get("model")
    return {
        "model_name": model["name"] if isinstance(model, dict) and "name" in model else model,
        **known,
        "sae_lens_version": VERSION,
        "hook_name": config.get("hook"),
        **({"hook_name_out": config.get("target_hook")} if form.pair else {}),
        "model_from_pretrained_kwargs": kwargs,
        "exported_by": "actpipe",
        "exported_architecture": dictionary.architecture.name,
        "units": exported_units(form),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
