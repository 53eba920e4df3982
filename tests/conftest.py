"""Small real things for the tests: models saved by transformers, a tokenizer trained here, a text, and no network."""

from __future__ import annotations

import os

# Read when the libraries are imported. Two threads beside another busy process are slower than one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.errors import Missing

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


ARCHITECTURES: dict[str, Callable[[int], Any]] = {"llama": _llama, "gpt2": _gpt2, "neox": _neox}


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Path]:
    """Randomly initialised models of three families, as folders that save_pretrained wrote."""
    from transformers import AutoModelForCausalLM

    folders = {}
    for name, config in ARCHITECTURES.items():
        torch.manual_seed(0)
        folders[name] = tmp_path_factory.mktemp("models") / name
        AutoModelForCausalLM.from_config(config(len(tokenizer))).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The converted embedded model; tests that need it are skipped where its package is not installed."""
    from actpipe.harvest.embedded import converted_folder

    try:
        return converted_folder()
    except Missing as error:
        pytest.skip(str(error))
