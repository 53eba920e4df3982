"""Gemma Scope (arXiv 2408.05147): params.npz, JumpReLU, nothing taken off the rows.

The file does not say where it belongs; its folders do: {release}/layer_{L}/width_{W}/average_l0_{m}/params.npz.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

import sae

from .form import Form
from .format import Answer, Format, Reference, imported
from .sources import UNREADABLE, read_npz

FILE = "params.npz"


class GemmaScope(Format):
    name = "gemma_scope"
    library = "Gemma Scope"
    files = FILE

    def detect(self, path: Path) -> bool:
        file = _file(path)
        if not (file.is_file() and file.suffix == ".npz"):
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                names = {name.lower() for name in archive.namelist()}
        except UNREADABLE:
            return path.is_dir() or file.name == FILE  # said to be one, and read will say what is wrong with it
        return {"w_enc.npy", "threshold.npy"} <= names

    def read(self, path: Path) -> sae.Dictionary:
        file = _file(path)
        p = read_npz(file)
        W_enc = p.take(p.first("W_enc", "w_enc"), -1, -1).T
        n, d = W_enc.shape
        W_dec = p.take(p.first("W_dec", "w_dec"), n, -1)
        place = str(file.resolve())
        pair = re.search(r"gemma-scope[\w.-]*-transcoders", place) is not None
        form = Form(
            gate="jumprelu",
            W_enc=W_enc,
            b_in=torch.zeros(d, dtype=torch.float64),
            b_enc=p.take("b_enc", n),
            W_dec=W_dec,
            b_dec=p.take("b_dec", W_dec.shape[1]),
            threshold=p.take("threshold", n),
            pair=pair or W_dec.shape[1] != d,
        )
        notes = []
        if _embeds(file):
            # Trained on the rows of the embedding matrix; the model multiplies these by √d before anything reads them.
            form = form.scaled(d**-0.5, d**-0.5)
            notes.append("It was trained on rows of the embedding matrix; the result reads hook_embed, √d times them.")
        hook, hook_out = _hooks(place, pair)
        source = {"format": self.name, "library": self.library, "architecture": "jumprelu", "notes": notes}
        return imported(form, source, hook=hook, target_hook=hook_out, double=p.double)

    def reference(self, path: Path) -> Reference:
        file = _file(path)
        p = read_npz(file)

        def answer(x: Tensor) -> Answer:
            root = x.shape[-1] ** 0.5 if _embeds(file) else 1.0
            pre = (x / root) @ p.take(p.first("W_enc", "w_enc"), -1, -1) + p.take("b_enc", -1)
            codes = (pre > p.take("threshold", -1)) * torch.relu(pre)
            W_dec = p.take(p.first("W_dec", "w_dec"), -1, -1)
            return Answer(codes, W_dec.norm(dim=1) * root, (codes @ W_dec + p.take("b_dec", -1)) * root)

        return answer


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _embeds(file: Path) -> bool:
    return "embedding" in file.resolve().parts


def _hooks(place: str, pair: bool) -> tuple[str | None, str | None]:
    """TransformerLens names, from the release (…-res, -mlp, -att, -transcoders) and the layer among the folders."""
    layer = re.search(r"layer_(\d+)", place)
    if "/embedding/" in place:
        return "hook_embed", None
    if layer is None:
        return None, None
    block = f"blocks.{layer[1]}"
    if pair:
        return f"{block}.ln2.hook_normalized", f"{block}.hook_mlp_out"
    kinds = (("-res", "hook_resid_post"), ("-mlp", "hook_mlp_out"), ("-att", "attn.hook_z"))
    release = re.search(r"gemma-scope-[\w.-]+?(-res|-mlp|-att)(?:-|/|$)", place)
    if release is None:
        return None, None
    return f"{block}.{dict(kinds)[release[1]]}", None
