"""Small real things for the tests: models saved by transformers, a tokenizer trained here, a text, and no network."""

from __future__ import annotations

import os

# Read when the libraries are imported. Two threads beside another busy process are slower than one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.errors import Missing

from .chromium import browser

__all__ = ["browser"]  # a fixture

TEXT = """
the a one some every old new small great little king queen river mountain house garden letter window morning night
walked looked said found opened wrote crossed saw and but because when near under over slowly never again café naïve
1984 42 Anna Peter London
"""
WORDS = TEXT.split()


def sentences(count: int, seed: int) -> list[str]:
    """Documents of one to four nonsense sentences."""
    draw = random.Random(seed)
    return [
        " ".join(f"{' '.join(draw.choices(WORDS, k=draw.randint(4, 12)))}." for _ in range(draw.randint(1, 4)))
        for _ in range(count)
    ]


# The files that take longest. Of several processes none should meet one of these last and alone.
LONGEST = ("test_docs", "test_guides", "test_harvest_faults", "test_training_resume", "test_cli", "test_sae_triton",
           "test_sae_ensemble", "test_training_ranks", "test_harvest_capture", "test_training_docs")  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a process of pytest-xdist, which takes one file after the other
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "nonsense.txt"
    path.write_text("\n\n".join(sentences(400, seed=1)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE of 400 tokens, trained on the nonsense, with an end-of-text token."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(sentences(200, seed=2), vocab_size=400, special_tokens=["<|endoftext|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )


# Beyond end-of-text, what the tokenizer of each kind brings.
SPECIAL_TOKENS: dict[str, dict[str, str]] = {
    "bert": {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
    "t5": {"pad_token": "<pad>", "eos_token": "</s>"},
}


def _llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )


def _gpt2(vocabulary: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(vocab_size=vocabulary, n_positions=64, n_embd=32, n_layer=3, n_head=4)


def _neox(vocabulary: int) -> Any:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
    )


def _bert(vocabulary: int) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=vocabulary - 4,  # the first of SPECIAL_TOKENS
    )


def _t5(vocabulary: int, feed_forward: str = "relu") -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=vocabulary,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=4,
        feed_forward_proj=feed_forward,
        pad_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        decoder_start_token_id=vocabulary - 2,
    )


def _t5_gated(vocabulary: int) -> Any:
    return _t5(vocabulary, "gated-gelu")


ARCHITECTURES: dict[str, Callable[[int], Any]] = {
    "llama": _llama,
    "gpt2": _gpt2,
    "neox": _neox,
    "bert": _bert,
    "t5": _t5,
    "t5-gated": _t5_gated,
}


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Path]:
    """Randomly initialised models of every family, as folders that save_pretrained wrote."""
    from actpipe.harvest.model import auto_class

    folders = {}
    for name, config in ARCHITECTURES.items():
        torch.manual_seed(0)
        folders[name] = tmp_path_factory.mktemp("models") / name
        own = copy.deepcopy(tokenizer)
        own.add_special_tokens(SPECIAL_TOKENS.get(name.split("-")[0], {}))
        described = config(len(own))
        auto_class(described).from_config(described).save_pretrained(folders[name])
        own.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The converted embedded model; tests that need it are skipped where its package is not installed."""
    from actpipe.harvest.embedded import converted_folder

    try:
        return converted_folder()
    except Missing as error:
        pytest.skip(str(error))
