"""A cache of latents through delphi itself; runs in the environment of `make peers`.

python load_delphi.py answer.json LATENTS CONTEXT    the examples of each latent, of CONTEXT tokens each
"""

import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch

# Its latents import these for embeddings and for files elsewhere, which reading does not need.
ELSEWHERE = ("faiss", "sentence_transformers", "blobfile")


class Numbers:
    """In the place of a tokenizer."""

    def batch_decode(self, tokens: torch.Tensor) -> list[str]:
        return [str(int(token)) for token in tokens]


def main(answer: str, latents: str, context: str) -> None:
    sys.modules.update({name: MagicMock() for name in ELSEWHERE})
    from delphi.config import CacheConfig, ConstructorConfig, SamplerConfig
    from delphi.latents import LatentDataset

    dataset = LatentDataset(
        latents,
        SamplerConfig(n_examples_train=4, n_examples_test=4, n_quantiles=2),
        ConstructorConfig(example_ctx_len=int(context), min_examples=1, n_non_activating=2),
        tokenizer=Numbers(),
    )
    config = dict(dataset.cache_config)
    model = config.pop("model_name")
    found = {}
    for record in dataset:
        found[record.latent.latent_index] = {
            "module": record.latent.module_name,
            "tokens": [example.tokens.tolist() for example in record.examples],
            "activations": [example.activations.tolist() for example in record.examples],
            "train": len(record.train),
            "not_active": [example.tokens.tolist() for example in record.not_active],
        }
    cache = CacheConfig.from_dict(config).to_dict()
    Path(answer).write_text(json.dumps({"latents": found, "cache": cache, "model": model}))


if __name__ == "__main__":
    main(*sys.argv[1:])
