"""Weights into the model folder, whole or not at all; the card that says how they came about."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.antehoc.architecture import Architecture, Network
from actpipe.files import sync_tree, write_bytes
from actpipe.quantities import readable_count, readable_seconds

from .config import TrainLMConfig
from .folder import LMFolder
from .token_files import VALIDATION, TokenFolder, write_header, write_split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CARD = "README.md"
WEIGHTS = "model.safetensors"


def publish(folder: LMFolder, network: Network, architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> None:
    """Replace the model in the folder, one file after the other, each whole."""
    from actpipe.antehoc.hugging_face import save

    partial = folder.training / f"model.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(network, architecture, tokenizer, partial)
    sync_tree(partial)
    for file in sorted(partial.iterdir()):
        file.chmod(0o644)  # safetensors writes for its owner alone
        os.replace(file, folder.path / file.name)
    partial.rmdir()


def keep_validation(folder: LMFolder, tokens: TokenFolder, *, most: int) -> None:
    """The text of the final loss goes with the model, so that the number can be computed again anywhere."""
    if folder.validation.exists():
        return
    texts = tokens.texts(VALIDATION).first(most)
    partial = folder.training / f"validation.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    described = {VALIDATION: write_split(partial, VALIDATION, texts.tokens, texts.bounds)}
    write_header(partial, dtype=texts.tokens.dtype, fingerprint=tokens.fingerprint, splits=described)
    sync_tree(partial)
    partial.rename(folder.validation)


def weights_hash(folder: Path) -> str:
    with open(folder / WEIGHTS, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(folder: LMFolder, results: dict[str, Any], config: TrainLMConfig, settled: dict[str, Any]) -> None:
    write_bytes(folder.path / CARD, card(folder.path.name, results, config, settled).encode())


def card(name: str, results: dict[str, Any], config: TrainLMConfig, settled: dict[str, Any]) -> str:
    architecture, text, count = settled["architecture"], settled["text"], results["parameters_by_kind"]
    fields = ", ".join(f"{key} {value}" for key, value in architecture["fields"].items())
    rows = {
        "architecture": f"{architecture['name']} ({fields})",
        "parameters": f"{results['parameters']:,}, of them {count['embedding']:,} in tables of tokens and positions"
        + (f" and {count['training']:,} that inference drops" if count["training"] else ""),
        "trained on": f"{text['source']['name']} ({settled['task']['name']}), "
        f"{readable_count(text['train_tokens'])} tokens for training and "
        f"{readable_count(text['validation_tokens'])} for validation, split by document",
        "begun from": f"{config.start_from} (weights sha256 {settled['start_from']})" if config.start_from else "",
        "tokens seen": f"{results['tokens']:,} in {settled['steps']:,} steps of "
        f"{settled['batch_size']} × {settled['context']}",
        "optimiser": f"AdamW, lr {settled['lr']:g} to {settled['lr'] * settled['lr_floor']:g} by cosine, "
        f"{settled['warmup']:.3g} of the steps warm-up, weight decay {settled['weight_decay']:g}, "
        f"clip {settled['clip']:g}, {settled['dtype']}, seed {settled['seed']}",
        "validation loss": f"{results['loss']:.4f} nats a token over {results['evaluated_tokens']:,} tokens "
        f"(perplexity {results['perplexity']:.3f}); weights of step {results['best_step']:,}",
        "time": f"{readable_seconds(results['seconds'])}, {results['tokens_per_second']:,.0f} tokens/s "
        f"on {results['device']}",
        "weights": f"sha256 {results['sha256']}",
        "text": f"sha256 {text['fingerprint']}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value)
    return f"""---
library_name: actpipe
pipeline_tag: text-generation
---
# {name}

Trained by actpipe {results["actpipe"]}. `actpipe harvest --model {name}` reads it; in Python
`actpipe.harvest.model.load_model("{name}")`.

| | |
|---|---|
{table}

Made by

```
{command(config)}
```

and the loss is computed again by `actpipe train-lm --evaluate {name}`.
"""


# Where a training runs and what is kept beside it do not decide the weights.
_ELSEWHERE = ("device", "out", "overwrite", "tokens_cache", "compile", "micro_batch")


def command(config: TrainLMConfig) -> str:
    """The command line with every option that is not its default."""
    words = ["actpipe", "train-lm"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _ELSEWHERE or value == field.default:
            continue
        flag = "--" + field.name.replace("_", "-")
        for each in value if isinstance(value, tuple) else (value,):
            words += [flag, str(each)]  # of a float, all its digits: with fewer it would be another training
    return shlex.join(words)
