"""What a measurement is made from, loaded and checked: model, hooks, texts, packing, sentences of a topic."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from actpipe.corpora.packing import PackingPolicy
from actpipe.harvest.model import LanguageModel, load_config, load_model, load_tokenizer, resolve_device
from actpipe.harvest.provenance import numeric_versions, tokenizer_fingerprint
from actpipe.progress import Progress

from .config import VERSION, SparsityConfig
from .measuring import Reading
from .sentences import Sentences, read_sentences
from .subjects import Subject, subjects_of
from .texts import Task, open_tasks, policy_of

# Where the folder lies and how many sequences run at once change no number.
_WITHOUT_EFFECT = ("out", "overwrite", "batch_size", "device")


@dataclass(frozen=True)
class Parts:
    model: LanguageModel
    subjects: tuple[Subject, ...]
    tasks: list[Task]
    policy: PackingPolicy
    sentences: Sentences | None
    digest: str

    def reading(self, config: SparsityConfig) -> Reading:
        return Reading(self.subjects, config.eps, config.seed, config.batch_size)


def open_parts(config: SparsityConfig, progress: Progress) -> Parts:
    # All that can be refused is refused before any weight is loaded.
    resolve_device(config.device)
    tasks = open_tasks(config)
    described, tokenizer = load_config(config.model, progress), load_tokenizer(config.model)
    policy = policy_of(config, described, tokenizer)
    subjects = subjects_of(config.hook, described, tokenizer)
    sentences = read_sentences(config, tasks) if config.asks_kt else None
    model = load_model(config.model, dtype=config.model_dtype, device=config.device, progress=progress)
    return Parts(model, subjects, tasks, policy, sentences, _digest(config, model, policy, tasks, sentences))


def _digest(
    config: SparsityConfig,
    model: LanguageModel,
    policy: PackingPolicy,
    tasks: list[Task],
    sentences: Sentences | None,
) -> str:
    """Of everything the numbers come from."""
    asked = {k: str(v) for k, v in asdict(config).items() if k not in _WITHOUT_EFFECT}
    said = None if sentences is None else [*sentences.texts, *map(int, sentences.of_topic)]
    made_from = {
        "config": asked,
        "model": [model.fingerprint(), str(model.dtype), str(model.device.type)],
        "tokenizer": tokenizer_fingerprint(model.tokenizer),
        "policy": policy.describe(),
        "tasks": [[task.name, task.corpus.fingerprint()] for task in tasks],
        "sentences": said,
        "versions": [VERSION, numeric_versions()],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
