"""dictionary_learning (saprmarks): a folder of ae.pt and config.json, or one checkpoint file beside such a folder.

Written against dictionary-learning 0.1.0 (dictionary.py, trainers/*.py) and main of 2025-08. A run with
normalize_activations multiplies biases and thresholds by its factor when it saves, so codes are in units of the model
and nothing is left to scale (training.py, scale_biases).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.files import write_json

from .form import Form
from .format import Answer, Format, Reference, exported_units, imported
from .ours import form_of
from .sources import Tensors, names_in, read_json, read_torch, tensors_of

# A tensor that only this library has under this name, in each of its classes.
TELLING = ("encoder.weight", "W_enc")


class DictionaryLearning(Format):
    name = "dictionary_learning"
    library = "dictionary_learning"
    files = "ae.pt and config.json"
    writes = True

    def detect(self, path: Path) -> bool:
        if path.is_dir():
            return (path / "ae.pt").is_file()
        return path.suffix == ".pt" and path.is_file() and _looks_like_one(path)

    def read(self, path: Path) -> sae.Dictionary:
        kind, tensors, config = _opened(path)
        source = {"format": self.name, "library": self.library, "architecture": kind, "metadata": config}
        return imported(_form(kind, tensors), source, hook=_hook(config), double=tensors.double)

    def reference(self, path: Path) -> Reference:
        kind, p, _ = _opened(path)
        return lambda x: _answer(kind, p, x)

    def write(self, dictionary: sae.Dictionary, folder: Path) -> None:
        form = form_of(dictionary)
        if form.pair or form.W_skip is not None:
            raise Misuse("dictionary_learning's dictionaries answer with the rows they read; it has no transcoder.")
        if form.normalise != "none":
            raise Misuse("dictionary_learning does not normalise rows one by one, which this dictionary needs.")
        kind, tensors = _tensors_for(form)
        content = {name: _cast(t, dictionary.dtype) for name, t in tensors.items()}
        write_json(folder / "config.json", _config_for(dictionary, kind, form))
        torch.save(content, folder / "ae.pt")


def _looks_like_one(path: Path) -> bool:
    names = names_in(path)
    return "ae" in names or ("pre_bias" not in names and not names.isdisjoint(TELLING))


def _opened(path: Path) -> tuple[str, Tensors, dict[str, Any]]:
    """Name of the class, tensors, and config.json where there is one."""
    weights = path / "ae.pt" if path.is_dir() else path
    content = read_torch(weights)
    # A backup in the middle of a run wraps the dictionary, which is then still in units of x / norm_factor.
    factor = None
    if isinstance(content.get("ae"), dict):
        factor, content = content.get("norm_factor"), content["ae"]
    tensors = tensors_of(weights, content)
    folder = weights.parent.parent if weights.parent.name == "checkpoints" else weights.parent
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    trainer = config.get("trainer")
    kind = (trainer.get("dict_class") if isinstance(trainer, dict) else None) or _class_of(tensors)
    return kind, tensors if factor is None else _in_model_units(tensors, _number(weights, factor)), config


def _number(path: Path, factor: Any) -> float:
    value = float(factor) if isinstance(factor, int | float) or (isinstance(factor, Tensor) and factor.ndim == 0) else 0
    if not (math.isfinite(value) and value > 0):
        raise Misuse(f"In {path} norm_factor is {factor!r}; a positive number is needed.")
    return value


def _class_of(p: Tensors) -> str:
    """By the names of the tensors, which differ between the classes but for two pairs."""
    if "group_sizes" in p:
        return "MatryoshkaBatchTopKSAE"
    if "r_mag" in p:
        return "GatedAutoEncoder"
    if "W_enc" in p:
        return "JumpReluAutoEncoder"
    if "decoder.bias" in p:
        return "AutoEncoderNew"
    if "bias" in p:
        return "AutoEncoder"
    if "k" in p:
        raise Misuse(
            f"{p.path} is an AutoEncoderTopK or a BatchTopKSAE, which have the same tensors; "
            "put the config.json of its run beside it, where dict_class says which."
        )
    raise Misuse(f"{p.path} has no tensors of a dictionary; it has {', '.join(sorted(p.content)) or 'none'}.")


BIASES = (
    "bias",
    "b_dec",
    "decoder_bias",
    "encoder.bias",
    "b_enc",
    "gate_bias",
    "mag_bias",
    "threshold",
    "decoder.bias",
)


def _in_model_units(p: Tensors, factor: float) -> Tensors:
    def scaled(name: str, t: Tensor) -> Tensor:
        unset = name == "threshold" and t.ndim == 0 and float(t) < 0
        return t * factor if name in BIASES and not unset else t

    return Tensors(p.path, {name: scaled(name, t) for name, t in p.content.items()})


def _form(kind: str, p: Tensors) -> Form:
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        W_enc = p.take("W_enc", -1, -1).T
        n, d = W_enc.shape
        b_dec = p.take("b_dec", d)
        jump = kind == "JumpReluAutoEncoder"
        return Form(
            gate="jumprelu",
            W_enc=W_enc,
            # apply_b_dec_to_input is not saved; it is False wherever the library makes one itself.
            b_in=torch.zeros_like(b_dec) if jump else b_dec,
            b_enc=p.take("b_enc", n),
            W_dec=p.take("W_dec", n, d),
            b_dec=b_dec,
            threshold=p.take("threshold", n) if jump else p.take("threshold").expand(n),
        )
    W_enc = p.take("encoder.weight", -1, -1)
    n, d = W_enc.shape
    W_dec = p.take("decoder.weight", d, n).T
    if kind == "AutoEncoderNew":
        b_dec = p.take("decoder.bias", d)
        zero = torch.zeros_like(b_dec)
        return Form(gate="relu", W_enc=W_enc, b_in=zero, b_enc=p.take("encoder.bias", n), W_dec=W_dec, b_dec=b_dec)
    if kind == "GatedAutoEncoder":
        b = p.take("decoder_bias", d)
        b_gate, r_mag = p.take("gate_bias", n), p.take("r_mag", n)
        return Form(
            gate="gated",
            W_enc=W_enc,
            b_in=b,
            b_enc=p.take("mag_bias", n),
            W_dec=W_dec,
            b_dec=b,
            b_gate=b_gate,
            r_mag=r_mag,
        )
    if kind not in ("AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE"):
        raise Misuse(f"{p.path} is of the class {kind!r} of dictionary_learning, which actpipe does not know.")
    b = p.take("bias" if kind == "AutoEncoder" else "b_dec", d)
    form = Form(gate="relu", W_enc=W_enc, b_in=b, b_enc=p.take("encoder.bias", n), W_dec=W_dec, b_dec=b)
    if kind == "AutoEncoderTopK":  # has a threshold too, which its encode does not use
        return replace(form, gate="topk", k=int(p.take("k")))
    if kind == "BatchTopKSAE":
        return replace(form, gate="jumprelu", threshold=p.take("threshold").expand(n))
    return form


def _hook(config: dict[str, Any]) -> str | None:
    """The TransformerLens name, where layer and submodule_name say it. The class writes what its user called it."""
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or not isinstance(trainer.get("layer"), int):
        return None
    name = str(trainer.get("submodule_name") or "")
    for start, hook in (
        ("resid_post", "hook_resid_post"),
        ("mlp_out", "hook_mlp_out"),
        ("attention_out", "hook_attn_out"),
        ("attn_out", "hook_attn_out"),
    ):
        if name.startswith(start):
            return f"blocks.{trainer['layer']}.{hook}"
    return None


# What the library computes, for --verify ---------------------------------------------------


def _answer(kind: str, p: Tensors, x: Tensor) -> Answer:
    """`encode` and `decode` of each class."""
    if kind == "JumpReluAutoEncoder":
        pre = x @ p.take("W_enc", -1, -1) + p.take("b_enc", -1)
        return _decoded(torch.relu(pre * (pre > p.take("threshold", -1))), p.take("W_dec", -1, -1), p.take("b_dec", -1))
    if kind == "MatryoshkaBatchTopKSAE":
        acts = torch.relu((x - p.take("b_dec", -1)) @ p.take("W_enc", -1, -1) + p.take("b_enc", -1))
        return _decoded(acts * (acts > p.take("threshold")), p.take("W_dec", -1, -1), p.take("b_dec", -1))
    weight, decoder = p.take("encoder.weight", -1, -1), p.take("decoder.weight", -1, -1).T
    if kind == "GatedAutoEncoder":
        encoded = torch.nn.functional.linear(x - p.take("decoder_bias", -1), weight)
        gate = encoded + p.take("gate_bias", -1) > 0
        magnitude = torch.relu(p.take("r_mag", -1).exp() * encoded + p.take("mag_bias", -1))
        return _decoded(gate * magnitude, decoder, p.take("decoder_bias", -1))
    if kind == "AutoEncoderNew":
        f = torch.relu(torch.nn.functional.linear(x, weight, p.take("encoder.bias", -1)))
        return _decoded(f, decoder, p.take("decoder.bias", -1))
    bias = p.take("bias" if kind == "AutoEncoder" else "b_dec", -1)
    acts = torch.relu(torch.nn.functional.linear(x - bias, weight, p.take("encoder.bias", -1)))
    if kind == "AutoEncoderTopK":
        kept = acts.topk(int(p.take("k")), sorted=False, dim=-1)
        acts = torch.zeros_like(acts).scatter_(-1, kept.indices, kept.values)
    elif kind == "BatchTopKSAE":
        acts = acts * (acts > p.take("threshold"))
    return _decoded(acts, decoder, bias)


def _decoded(codes: Tensor, W_dec: Tensor, b_dec: Tensor) -> Answer:
    return Answer(codes, W_dec.norm(dim=1), codes @ W_dec + b_dec)


# Writing -----------------------------------------------------------------------------------


def _tensors_for(form: Form) -> tuple[str, dict[str, Tensor]]:
    if form.gate == "jumprelu":
        assert form.threshold is not None
        # A threshold of its own for each feature: only this class has that, and it takes nothing off the rows.
        plain = form.without_bias_in()
        tensors = {"W_enc": plain.W_enc.T, "b_enc": plain.b_enc, "W_dec": plain.W_dec, "b_dec": plain.b_dec}
        return "JumpReluAutoEncoder", {**tensors, "threshold": form.threshold}
    same = form.reading_from(form.b_dec)
    tensors = {"encoder.weight": same.W_enc, "decoder.weight": same.W_dec.T}
    if form.gate == "gated":
        assert same.b_gate is not None
        assert same.r_mag is not None
        biases = {"decoder_bias": same.b_dec, "gate_bias": same.b_gate, "mag_bias": same.b_enc, "r_mag": same.r_mag}
        return "GatedAutoEncoder", {**tensors, **biases}
    if form.gate == "relu":
        return "AutoEncoder", {**tensors, "encoder.bias": same.b_enc, "bias": same.b_dec}
    assert form.gate == "topk"
    numbers = {"k": torch.tensor(form.k, dtype=torch.int32), "threshold": torch.tensor(-1.0)}  # −1: unset
    return "AutoEncoderTopK", {**tensors, "encoder.bias": same.b_enc, "b_dec": same.b_dec, **numbers}


def _cast(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.contiguous() if t.ndim == 0 else t.to(dtype).contiguous().clone()


def _config_for(dictionary: sae.Dictionary, kind: str, form: Form) -> dict[str, Any]:
    hook = str(dictionary.config.get("hook") or "")
    parts = hook.split(".")
    layer = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    places = {"hook_resid_post": "resid_post", "hook_mlp_out": "mlp_out", "hook_attn_out": "attention_out"}
    model = dictionary.config.get("model")
    return {
        "trainer": {
            "dict_class": kind,
            "trainer_class": "actpipe",
            "activation_dim": dictionary.d,
            "dict_size": dictionary.n,
            **({"k": form.k} if form.gate == "topk" else {}),
            "layer": layer,
            "lm_name": model["name"] if isinstance(model, dict) and "name" in model else model,
            "submodule_name": f"{places[parts[-1]]}_layer_{layer}" if parts[-1] in places else hook,
            "exported_architecture": dictionary.architecture.name,
            "units": exported_units(form),
        },
        "buffer": {"d_submodule": dictionary.d, "io": "out"},
    }
