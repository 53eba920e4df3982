"""Our own folder (docs/reference/dictionary-format.md)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse
from sae.dictionary import FORMAT

from .form import in_dtype
from .format import Answer, Format, Reference


class ActpipeFolder(Format):
    name = "actpipe"
    library = "actpipe"
    files = "config.json and dictionary.safetensors"
    writes = True

    def detect(self, path: Path) -> bool:
        try:
            return bool(json.loads((path / "config.json").read_text())["format"] == FORMAT)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def read(self, path: Path) -> sae.Dictionary:
        try:
            return sae.load(path)
        except ValueError as error:
            raise Misuse(f"The dictionary {path} cannot be read: {error}.") from None

    def write(self, dictionary: sae.Dictionary, folder: Path) -> None:
        dictionary.save(folder)

    def reference(self, path: Path) -> Reference:
        dictionary = in_dtype(self.read(path), torch.float64)

        def answer(x: Tensor) -> Answer:
            codes = dictionary.encode(x)
            return Answer(codes, codes.new_ones(dictionary.n), dictionary.reconstruct(x))

        return answer
