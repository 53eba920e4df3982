"""The texts of the tasks as packed sequences, on disk, with the number of documents that count in each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actpipe.corpora import Corpus, open_corpus
from actpipe.corpora.packing import PackingPolicy, pack, policy_for
from actpipe.corpora.spool import Spool
from actpipe.errors import Misuse
from actpipe.harvest.model import LanguageModel, kind_of, longest_context, opening_token_of
from actpipe.harvest.vocabulary import require_embeddings
from actpipe.progress import Progress

from .config import SparsityConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Task:
    name: str
    corpus: Corpus


@dataclass(frozen=True)
class Text:
    """One task, packed. The arrays of the spool are [sequences, context]."""

    task: str
    spool: Spool
    documents: int  # with at least one token that counts
    tokens: int  # that count


def open_tasks(config: SparsityConfig) -> list[Task]:
    return [Task(name, open_corpus(text, text_field=config.text_field)) for name, text in config.texts().items()]


def policy_of(config: SparsityConfig, described: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> PackingPolicy:
    """As a harvest packs: an encoder reads one document a sequence, the others read documents end to end."""
    longest = longest_context(described)
    if longest is not None and config.context > longest:
        raise Misuse(f"The model {config.model} reads {longest} tokens at most; give a --context up to that.")
    style = config.packing
    if style == "auto":
        style = "documents" if kind_of(described) == "encoder" else "stream"
    return policy_for(
        tokenizer,
        config.context,
        style=style,
        first=config.first,
        separator=config.separator,
        sink_positions=config.sink_positions,
        opening=opening_token_of(described),
    )


@contextmanager
def packed(
    task: Task, model: LanguageModel, policy: PackingPolicy, config: SparsityConfig, progress: Progress
) -> Iterator[Text]:
    """The temporary files are gone when the block ends."""
    tokens, documents, last = 0, 0, -1
    with Spool(config.context) as spool:
        with progress.bar(f"Tokenising {task.name}", config.sequences * config.context, "tokens") as bar:
            for block in pack(task.corpus.documents(), model.tokenizer, policy, sequences=config.sequences):
                require_embeddings(model, block.tokens)
                spool.append(block)
                counted = np.unique(block.doc[block.mask])
                documents += len(counted) - int(last in counted[:1])  # the first may be the last of the block before
                last = int(counted[-1]) if len(counted) else last
                tokens += int(block.mask.sum())
                bar.advance(block.tokens.size)
        if not tokens:
            raise Misuse(
                f"The dataset {task.corpus.name} has no token that counts in sequences of {config.context}. "
                "Give more text or a smaller --context."
            )
        yield Text(task.name, spool, documents, tokens)
