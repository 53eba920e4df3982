"""A finished training → a shipped model: weights in float16, a card, and its tokenizer, which others may share.

    actpipe train-lm --recipe actpipe:crate --seed 1 --dataset BOOKS --out crate-1
    python -m actpipe.shipped.ship crate-1

The folder is called RECIPE-SEED, and that becomes the model's name. The loss on the card is that of the float16
weights.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from actpipe import shipped
from actpipe.antehoc.hugging_face import load, save
from actpipe.errors import Misuse
from actpipe.files import sync_tree, write_json
from actpipe.harvest.model import load_model, load_tokenizer
from actpipe.pretraining.folder import LMFolder
from actpipe.pretraining.publishing import WEIGHTS, weights_hash
from actpipe.pretraining.stage import recorded_reading
from actpipe.pretraining.tasks import TASKS, Classification, Translation, get_task
from actpipe.pretraining.tokenizers import vocabulary_of
from actpipe.pretraining.validation import loss_of
from actpipe.progress import silent

FORMAT, VERSION = "actpipe-shipped-model", 1
OF_THE_MODEL = {"config.json", WEIGHTS}  # the rest of what `save` writes is the tokenizer


def ship(run: Path) -> Path:
    """Write `weights/NAME` anew, whole or not at all, and the tokenizer if it is not there yet."""
    folder = LMFolder(run)
    recipe, _, seed = run.resolve().name.rpartition("-")
    settled = folder.description()["config"]
    if not folder.is_complete:
        raise Misuse(f"The training {run} is not complete. Run its command again.")
    if shipped.PREFIX + recipe not in shipped.recipes() or str(settled["seed"]) != seed:
        raise Misuse(f"The folder {run} is not called RECIPE-SEED after one of {', '.join(shipped.recipes())}.")
    target = shipped.WEIGHTS / run.resolve().name
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    architecture, network = load(run)
    save(network, architecture, load_tokenizer(str(run)), partial, dtype=torch.float16)
    card = _card(folder, partial, settled, recipe)
    _move_tokenizer(partial, shipped.TOKENIZERS / card["tokenizer"])
    write_json(partial / "card.json", card)
    (partial / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone
    sync_tree(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def _card(folder: LMFolder, saved: Path, settled: dict[str, Any], recipe: str) -> dict[str, Any]:
    model = load_model(str(saved), dtype="float32")
    task = get_task(settled["task"]["name"])(**settled["task"]["fields"])
    reading = recorded_reading(folder, task, vocabulary_of(model.tokenizer, task), settled["context"])
    found, results = loss_of(model, reading, silent), folder.results()
    return {
        "format": FORMAT,
        "version": VERSION,
        "about": _about(settled["architecture"], settled["task"]["name"]),
        "recipe": shipped.PREFIX + recipe,
        "seed": settled["seed"],
        "architecture": settled["architecture"],
        "parameters": results["parameters_by_kind"],
        "tokens": results["tokens"],
        "best_step": results["best_step"],
        "loss": found.loss,
        "perplexity": found.perplexity,
        "evaluated_tokens": found.tokens,
        "loss_before_rounding": results["loss"],
        "seconds": results["seconds"],
        "tokens_per_second": results["tokens_per_second"],
        "device": results["device"],
        "sha256": weights_hash(saved),
        "tokenizer": _tokenizer_name(settled),
        "config": settled,
        "actpipe": results["actpipe"],
        "versions": folder.description()["versions"],
    }


def _tokenizer_name(settled: dict[str, Any]) -> str:
    """TEXT-HASH, where TEXT is what the first model with this tokenizer was trained on."""
    fingerprint = settled["tokenizer"][:8]
    known = [path.name for path in shipped.TOKENIZERS.glob(f"*-{fingerprint}")]
    return known[0] if known else f"{_text(settled)}-{fingerprint}"


def _text(settled: dict[str, Any]) -> str:
    """The text as part of a folder's name: `factorlang` for actpipe:factorlang,documents=40000."""
    return str(settled["text"]["source"]["name"]).removeprefix(shipped.PREFIX).split(",")[0]


def _about(architecture: dict[str, Any], task: str) -> str:
    """The fields in which the entries of a matched set differ, beside the name; the task where it is one of pairs."""
    telling = ("activation", "scope", "attention", "mlp", "k", "k_neurons")
    has = {**architecture["fields"]}
    if has.get("mlp") == "dense":  # a T5 without k
        del has["k"]
    fields = [f"{name} {has[name]}" for name in telling if has.get(name)]
    learned = f" on {task}" if issubclass(TASKS[task], Classification | Translation) else ""
    return str(architecture["name"]) + (f" ({', '.join(fields)})" if fields else "") + learned


def _move_tokenizer(saved: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in saved.iterdir():
        if file.name not in OF_THE_MODEL:
            file.replace(target / file.name)
    written = target / "tokenizer.json"  # half of it is indentation
    content = json.dumps(json.loads(written.read_text("utf-8")), ensure_ascii=False, separators=(",", ":"))
    written.write_text(content, "utf-8")


if __name__ == "__main__":
    for given in sys.argv[1:]:
        name = shipped.PREFIX + ship(Path(given)).name
        sys.stdout.write(f"{name}  {shipped.about(shipped.card(name))}\n")
