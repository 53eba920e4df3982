"""EleutherAI's sparsify: a folder of cfg.json and sae.safetensors for each place in a model.

Written against eai-sparsify 1.3.3 (sparse_coder.py, fused_encoder.py, config.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.files import write_json

from .form import Form
from .format import Answer, Format, Reference, exported_units, imported
from .ours import form_of
from .sources import Tensors, count, read_json, read_safetensors

WEIGHTS = "sae.safetensors"


class Sparsify(Format):
    name = "sparsify"
    library = "sparsify"
    files = f"cfg.json and {WEIGHTS}"
    writes = True

    def detect(self, path: Path) -> bool:
        return (path / "cfg.json").is_file() and (path / WEIGHTS).is_file()

    def read(self, path: Path) -> sae.Dictionary:
        config, tensors = read_json(path / "cfg.json"), read_safetensors(path / WEIGHTS)
        transcodes = bool(config.get("transcode", False))
        form = _form(path, config, tensors)
        hookpoint = _hookpoint(path)
        hook = _hook(hookpoint)
        source = {"format": self.name, "library": self.library, "metadata": config, "hookpoint": hookpoint}
        # A transcoder is named by the module it replaces: it answers with that module's output.
        places = {"hook": None, "target_hook": hook} if transcodes else {"hook": hook}
        return imported(form, source, double=tensors.double, **places)

    def reference(self, path: Path) -> Reference:
        config, p = read_json(path / "cfg.json"), read_safetensors(path / WEIGHTS)

        def answer(x: Tensor) -> Answer:
            seen = x if config.get("transcode", False) else x - p.take("b_dec", -1)
            acts = torch.relu(
                torch.nn.functional.linear(seen, p.take("encoder.weight", -1, -1), p.take("encoder.bias", -1))
            )
            values, indices = torch.topk(acts, int(config["k"]), dim=-1, sorted=False)
            W_dec = p.take("W_dec", -1, -1)
            rows = torch.nn.functional.embedding_bag(indices, W_dec, per_sample_weights=values, mode="sum")
            rows = rows + p.take("b_dec", -1)
            if config.get("skip_connection", False):
                rows = rows + x @ p.take("W_skip", -1, -1).mT
            return Answer(torch.zeros_like(acts).scatter(-1, indices, values), W_dec.norm(dim=1), rows)

        return answer

    def write(self, dictionary: sae.Dictionary, folder: Path) -> None:
        form = form_of(dictionary)
        _refuse_what_it_lacks(form)
        transcodes = form.pair
        same = form.without_bias_in() if transcodes else form.reading_from(form.b_dec)
        tensors = {
            "encoder.weight": same.W_enc,
            "encoder.bias": same.b_enc,
            "W_dec": same.W_dec,
            "b_dec": same.b_dec,
            **({} if same.W_skip is None else {"W_skip": same.W_skip}),
        }
        content = {name: t.to(dictionary.dtype).contiguous() for name, t in tensors.items()}
        save_file(content, folder / WEIGHTS)
        write_json(
            folder / "cfg.json",
            {
                "activation": "topk",
                "expansion_factor": max(dictionary.n // dictionary.d, 1),
                "normalize_decoder": not transcodes,
                "num_latents": dictionary.n,
                "k": form.k,
                "multi_topk": False,
                "skip_connection": form.W_skip is not None,
                "transcode": transcodes,
                "d_in": dictionary.d,
                "exported_architecture": dictionary.architecture.name,
                "units": exported_units(form),
            },
        )


def _form(path: Path, config: dict[str, Any], p: Tensors) -> Form:
    where = path / "cfg.json"
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise Misuse(
            f"{where} has the activation {activation!r}: it keeps one feature of each group of neighbours, and ours "
            "keep the largest wherever they are."
        )
    if config.get("signed", False):
        raise Misuse(f"{where} is signed: its codes can be negative, and ours cannot.")
    d = count(config, where, "d_in")
    W_enc = p.take("encoder.weight", -1, d)
    n = W_enc.shape[0]
    b_dec = p.take("b_dec", d)
    transcodes, skips = bool(config.get("transcode", False)), bool(config.get("skip_connection", False))
    if skips and not transcodes:
        raise Misuse(f"{where} is of an autoencoder with a skip, which lets x through; ours have none.")
    return Form(
        gate="topk",
        W_enc=W_enc,
        # Off the rows whatever normalize_decoder says, but for transcoders.
        b_in=torch.zeros_like(b_dec) if transcodes else b_dec,
        b_enc=p.take("encoder.bias", n),
        W_dec=p.take("W_dec", n, d),  # [n, d] as it is: SAELens' reader turns it round and fails
        b_dec=b_dec,
        k=count(config, where, "k"),
        pair=transcodes,
        W_skip=p.take("W_skip", d, d) if skips else None,
    )


def _refuse_what_it_lacks(form: Form) -> None:
    if form.gate != "topk":
        raise Misuse(f"sparsify keeps the k largest codes of each row; a {form.gate} dictionary has no k to give it.")
    if form.normalise != "none":
        raise Misuse("sparsify does not normalise rows one by one, which this dictionary needs.")
    if form.W_enc.shape[1] != form.W_dec.shape[1]:
        d, out = form.W_enc.shape[1], form.W_dec.shape[1]
        raise Misuse(f"sparsify's transcoders read and answer rows of one width; this one reads {d} and answers {out}.")
    if form.W_skip is not None and not form.pair:
        raise Misuse("An autoencoder with a skip is not exported: only transcoders have one.")


def _hookpoint(path: Path) -> str:
    """The folder is called by the module, `layers.10` or `h.0.mlp`; of several seeds each has a folder in it."""
    resolved = path.resolve()
    return resolved.parent.name if re.fullmatch(r"seed\d+", resolved.name) else resolved.name


def _hook(hookpoint: str) -> str | None:
    """The TransformerLens name of a module's output."""
    if hookpoint in ("embed_tokens", "embed_in", "wte"):
        return "hook_embed"
    match = re.fullmatch(r"(?:layers|h)\.(\d+)(?:\.(\w+))?", hookpoint)
    places = {None: "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "self_attn": "hook_attn_out"}
    if match is None or match[2] not in places:
        return None
    return f"blocks.{match[1]}.{places[match[2]]}"
