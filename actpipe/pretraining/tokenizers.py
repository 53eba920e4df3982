"""Tokenizers: one trained on the dataset, kept for the next run on the same text, or one that is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from actpipe.errors import Mismatch, Misuse
from actpipe.files import write_bytes
from actpipe.harvest.model import load_tokenizer
from actpipe.harvest.provenance import tokenizer_fingerprint
from actpipe.progress import Progress

from .config import TrainLMConfig
from .source import Source
from .tasks import PAD, Task
from .texts import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
ALPHABET = 256  # bytes, which every byte-level vocabulary has
RECIPE = 1  # raise it when training below changes, so that kept tokenizers are not used
MOST_CHARACTERS = 400_000_000  # pairs of bytes are counted in; more text changes hardly any of some thousand merges


def tokenizer_for(config: TrainLMConfig, task: Task, source: Source, progress: Progress) -> PreTrainedTokenizerFast:
    """The given tokenizer, that of the model it begins with, the kept one, or a fresh one."""
    if config.start_from is not None:
        return _of_the_beginning(config.start_from, config.tokenizer, task)
    if config.tokenizer is not None:
        return _given(config.tokenizer, task)
    special = special_of(config, task)
    recipe = json.dumps([RECIPE, source.fingerprint(), config.vocabulary, special])
    path = config.cache / f"tokenizer-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_bytes(path, trained(_texts(source, progress), config.vocabulary, special).encode())
    return opened(path.read_text(encoding="utf-8"), special, config.context)


def special_of(config: TrainLMConfig, task: Task) -> tuple[str, ...]:
    """Special tokens of a tokenizer that is trained; Misuse where --vocabulary has no room for them."""
    special = (END, *task.special_tokens())
    least = ALPHABET + len(special)
    if config.vocabulary < least:
        raise Misuse(f"--vocabulary {config.vocabulary} is too small: bytes and special tokens are {least} already.")
    return special


def trained(texts: Iterable[str], vocabulary: int, special: tuple[str, ...]) -> str:
    """tokenizer.json of a byte-level BPE; the same texts give the same bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=True)


def opened(text: str, special: tuple[str, ...], context: int) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    rest = [token for token in special if token not in (END, PAD)]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(text),
        bos_token=END,
        eos_token=END,
        pad_token=PAD if PAD in special else END,
        additional_special_tokens=rest or None,
        model_max_length=context,
    )


def vocabulary_of(tokenizer: PreTrainedTokenizerFast, task: Task) -> Vocabulary:
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise Misuse(
            f"The tokenizer {tokenizer.name_or_path!r} has no token that ends a text; give another --tokenizer."
        )
    known = {token: _number(tokenizer, token) for token in task.special_tokens()}
    return Vocabulary(
        len(tokenizer), int(end), {token: number for token, number in known.items() if number is not None}
    )


def _of_the_beginning(model: str, asked: str | None, task: Task) -> PreTrainedTokenizerFast:
    tokenizer = _given(model, task)
    if asked is not None and tokenizer_fingerprint(load_tokenizer(asked)) != tokenizer_fingerprint(tokenizer):
        raise Mismatch(f"--start-from {model} brings its own tokenizer, and {asked} is another; leave --tokenizer out.")
    return tokenizer


def _given(name: str, task: Task) -> PreTrainedTokenizerFast:
    tokenizer = load_tokenizer(name)
    lacking = [token for token in task.special_tokens() if _number(tokenizer, token) is None]
    if lacking:
        raise Misuse(
            f"The tokenizer {name!r} has no token {lacking[0]!r}, which the task {task.name} needs. "
            "Leave --tokenizer out to train one that has."
        )
    return tokenizer


def _number(tokenizer: PreTrainedTokenizerFast, token: str) -> int | None:
    if token == PAD and tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    number = tokenizer.backend_tokenizer.token_to_id(token)
    return None if number is None else int(number)


def _texts(source: Source, progress: Progress) -> Iterator[str]:
    with progress.bar("Reading text for the tokenizer", None, "characters") as bar:
        read = 0
        for document in source.documents():
            for text in document:
                yield text
                read += len(text)
                bar.advance(len(text))
            if read > MOST_CHARACTERS:
                return
