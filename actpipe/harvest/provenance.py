"""What a store records about how it was made: enough to refuse to mix two harvests, and to say what differs."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.corpora import Corpus
from actpipe.corpora.packing import PackingPolicy
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.naming import recorded_name
from actpipe.harvest.sites import Site

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LOCAL_KINDS = ("files", "saved")
# Libraries whose release may change an activation in its last bits.
NUMERIC_LIBRARIES = ("torch", "transformers", "tokenizers")


def describe(
    config: HarvestConfig,
    model: LanguageModel,
    corpus: Corpus,
    policy: PackingPolicy,
    sites: tuple[Site, ...],
    batch_size: int | None,
) -> dict[str, Any]:
    return {
        "model": {
            "name": recorded_name(model.name),
            "fingerprint": model.fingerprint(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        },
        "tokenizer": tokenizer_fingerprint(model.tokenizer),
        "dataset": {
            # The same wherever it lies and wherever the next command is run; what it holds is in the fingerprint.
            "name": Path(corpus.name).resolve().name if corpus.kind in LOCAL_KINDS else corpus.name,
            "kind": corpus.kind,
            "fingerprint": corpus.fingerprint(),
            "tokens": config.tokens,
        },
        "packing": policy.describe(),
        "sites": {site.hook: site.record() for site in sites},
        "dtype": config.dtype,
        "batch_size": batch_size,
        "versions": numeric_versions(),
    }


def numeric_versions() -> dict[str, str]:
    return {name: version(name) for name in NUMERIC_LIBRARIES}


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
