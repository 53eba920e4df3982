"""What T5 is trained on: span corruption, translation, classification, as batches of encoder and decoder."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import actpipe
from actpipe.antehoc.hugging_face import load
from actpipe.antehoc.t5 import T5
from actpipe.errors import Misuse
from actpipe.pretraining.tasks import IGNORED, TASKS, Classification, SpanCorruption, Translation, get_task
from actpipe.pretraining.texts import Examples, Texts, Vocabulary, examples_at
from tests.command_line import run
from tests.conftest import WORDS
from tests.test_docs import ROOT, commands

DATA = Path(__file__).parent.parent.parent / "shared/data"
PAD, END, FIRST_SENTINEL = 1, 0, 900
VOCABULARY = Vocabulary(
    1000, END, {"<pad>": PAD, **{f"<extra_id_{number}>": FIRST_SENTINEL + number for number in range(100)}}
)


def running_text(count: int = 5000) -> Texts:
    """Documents of 50 tokens, each closed by the end; no token of text is special."""
    tokens = np.random.default_rng(0).integers(2, FIRST_SENTINEL, count).astype(np.uint16)
    tokens[49::50] = END
    bounds = np.arange(0, count + 1, 50)
    return Texts(tokens, np.stack([bounds[:-1], bounds[1:]], axis=1))


def pairs(*documents: tuple[list[int], list[int]]) -> Texts:
    tokens, bounds = [], []
    for parts in documents:
        places = [len(tokens)]
        for part in parts:
            tokens += [*part, END]
            places.append(len(tokens))
        bounds.append(places)
    return Texts(np.array(tokens, np.uint16), np.array(bounds))


def first(count: int) -> Examples:
    return Examples(np.arange(count), np.zeros(count, np.int64), seed=5)


# Span corruption


def filled_in(read: list[int], said: list[int]) -> tuple[list[int], list[int]]:
    """The text that input and labels tell together, and the lengths of the spans."""
    spans: dict[int, list[int]] = {}
    for token in said[:-1]:
        if token >= FIRST_SENTINEL:
            spans[token] = []
        else:
            spans[max(spans)].append(token)
    text = [each for token in read[:-1] for each in (spans[token] if token >= FIRST_SENTINEL else [token])]
    return text, [len(span) for span in spans.values()]


def test_input_and_labels_together_are_the_text() -> None:
    texts, task = running_text(), SpanCorruption()
    n = task.n_examples(texts, 64)
    assert n == 5000 // 70
    batch = task.batch(texts, first(n), VOCABULARY, context=64)
    for row in range(n):
        read, said = batch["input_ids"][row].tolist(), batch["labels"][row].tolist()
        text, spans = filled_in(read, said)
        assert text == texts.tokens[70 * row : 70 * row + 70].tolist()
        assert (len(spans), sum(spans)) == (3, 10)  # 15 % of 70 tokens, in spans of about three
        assert min(spans) >= 1
        assert read[-1] == said[-1] == END
        assert [token for token in read if token >= FIRST_SENTINEL] == [900, 901, 902]
        assert [token for token in said if token >= FIRST_SENTINEL] == [900, 901, 902]
        assert batch["decoder_input_ids"][row].tolist() == [PAD, *said[:-1]]
    assert batch["input_ids"].shape == (n, 64)
    assert bool((batch["attention_mask"] == 1).all())


def test_windows_have_the_lengths_of_t5() -> None:
    # seqio's random_spans_helper(512, 0.15, 3.0) is (568, 114).
    task = SpanCorruption()
    assert task.window(512) == 568
    batch = task.batch(running_text(), first(2), VOCABULARY, context=512)
    assert batch["input_ids"].shape == (2, 512)
    assert batch["labels"].shape == (2, 114)


@pytest.mark.parametrize("share", [0.01, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("mean_span", [1.0, 3.0, 20.0])
@pytest.mark.parametrize("context", [4, 17, 100])
def test_nothing_is_longer_than_the_context(share: float, mean_span: float, context: int) -> None:
    task = SpanCorruption(share=share, mean_span=mean_span)
    batch = task.batch(running_text(), first(3), VOCABULARY, context=context)
    assert context - 2 <= max(batch["input_ids"].shape[1], batch["labels"].shape[1]) <= context
    for read, said in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert len(filled_in(read, said)[0]) == task.window(context)


def test_spans_lie_anywhere_between_a_begin_that_stays_and_an_end_that_goes() -> None:
    """As seqio's do."""
    task, generator = SpanCorruption(), np.random.default_rng(1)
    noise = np.mean([task._noise(70, generator) for _ in range(4000)], axis=0)
    assert noise.mean() == pytest.approx(10 / 70)
    assert (noise[0], noise[-1]) == (0, 1)
    assert 0.05 < noise[2:64].min() < noise[2:64].max() < 0.2


def test_a_batch_is_a_function_of_seed_epoch_and_index() -> None:
    texts, task = running_text(), SpanCorruption()

    def read(examples: Examples) -> torch.Tensor:
        return task.batch(texts, examples, VOCABULARY, context=64)["input_ids"]

    whole = examples_at(60, 20, n_examples=71, seed=5)  # from the first pass into the second
    halves = [examples_at(60, 7, n_examples=71, seed=5), examples_at(67, 13, n_examples=71, seed=5)]
    assert torch.equal(read(whole), torch.cat([read(half) for half in halves]))
    one = Examples(np.array([3]), np.array([0]), seed=5)
    assert not torch.equal(read(one), read(Examples(one.index, one.epoch, seed=6)))
    assert not torch.equal(read(one), read(Examples(one.index, one.epoch + 1, seed=5)))


@pytest.mark.parametrize(
    ("fields", "context", "said"),
    [
        ({"share": 1.0}, 64, "share of span-corruption is between 0 and 1, not 1"),
        ({"mean_span": 0.5}, 64, "at least 1"),
        ({"sentinels": 2}, 64, "A context of 64 tokens has 3 spans, and there are 2 sentinels"),
        ({}, 2, "A context of 2 tokens is too short"),
    ],
)
def test_spans_that_cannot_be_are_a_sentence(fields: dict[str, float], context: int, said: str) -> None:
    with pytest.raises(Misuse, match=said):
        SpanCorruption(**fields).window(context)  # type: ignore[arg-type]


# Pairs


def test_pairs_by_hand() -> None:
    texts = pairs(([5, 6, 7], [8]), ([9], [10, 11]))
    batch = Translation().batch(texts, Examples(np.array([1, 0]), np.zeros(2, np.int64), 0), VOCABULARY, context=64)
    assert batch["input_ids"].shape == (2, 16)
    assert batch["input_ids"][:, :5].tolist() == [[9, END, PAD, PAD, PAD], [5, 6, 7, END, PAD]]
    assert batch["attention_mask"][:, :5].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert batch["labels"][:, :4].tolist() == [[10, 11, END, IGNORED], [8, END, IGNORED, IGNORED]]
    assert batch["decoder_input_ids"][:, :4].tolist() == [[PAD, 10, 11, END], [PAD, 8, END, PAD]]
    assert not bool((batch["decoder_input_ids"] < 0).any())


def test_what_is_longer_than_the_context_is_cut() -> None:
    texts = pairs((list(range(2, 40)), list(range(40, 80))))
    batch = Classification().batch(texts, first(1), VOCABULARY, context=10)
    assert batch["input_ids"].tolist() == [list(range(2, 12))]
    assert batch["labels"].tolist() == [list(range(40, 50))]


def test_padding_of_a_batch_does_not_change_its_loss() -> None:
    texts = pairs((list(range(2, 30)), [8]), ([9], list(range(10, 40))))
    network = T5(vocabulary=1000, d_model=16, n_layers=1, n_heads=2, d_mlp=16).build()

    def total(index: list[int]) -> float:
        batch = Translation().batch(
            texts, Examples(np.array(index), np.zeros(len(index), int), 0), VOCABULARY, context=64
        )
        n = int((batch["labels"] != IGNORED).sum())
        return n * float(network.losses(batch)["ce"].detach())

    assert total([0, 1]) == pytest.approx(total([0]) + total([1]), rel=1e-5)


def test_columns_are_the_fields_of_the_dataset() -> None:
    assert SpanCorruption().columns("body") == ("body",)
    assert Translation(source="fr", target="pt").columns("body") == ("fr", "pt")
    assert Classification(label="mood").columns("body") == ("body", "mood")


def test_every_task_says_what_it_reads() -> None:
    assert {name: get_task(name).reads for name in TASKS} == {
        "language-modelling": "decoder",
        "span-corruption": "encoder-decoder",
        "translation": "encoder-decoder",
        "classification": "encoder-decoder",
    }


# Real text, read as train-lm reads it


def zipped(name: str, *members: str) -> list[str]:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not there; tests of real pairs need it")
    with zipfile.ZipFile(DATA / name) as archive:
        return [archive.read(member).decode("latin-1") for member in members]


def tokenised_pairs(rows: list[dict[str, str]], folder: Path, task: Translation | Classification):
    """Rows → JSON Lines → a tokenizer trained on them and token files, by what train-lm itself calls."""
    from actpipe.pretraining.config import TrainLMConfig
    from actpipe.pretraining.source import Source
    from actpipe.pretraining.tokenise import tokens_of
    from actpipe.pretraining.tokenizers import tokenizer_for, vocabulary_of
    from actpipe.progress import silent

    file = folder / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    config = TrainLMConfig(architecture="t5", dataset=str(file), vocabulary=600, context=96, out=folder / "lm")
    source = Source.of(config, task)
    tokenizer = tokenizer_for(config, task, source, silent)
    vocabulary = vocabulary_of(tokenizer, task)
    tokens = tokens_of(source, tokenizer, end=vocabulary.end, share=0.05, cache=config.cache, progress=silent)
    return tokenizer, vocabulary, tokens.texts("train")


def test_verses_of_two_languages_are_pairs(tmp_path: Path) -> None:
    french, portuguese = zipped("genesis.zip", "genesis/french.txt", "genesis/portuguese.txt")
    portuguese = portuguese.encode("latin-1").decode("utf-8")
    verses = list(zip(french.splitlines()[:300], portuguese.splitlines()[:300], strict=True))
    task = Translation(source="fr", target="pt")
    tokenizer, vocabulary, texts = tokenised_pairs([{"fr": fr, "pt": pt} for fr, pt in verses], tmp_path, task)
    assert 250 < task.n_examples(texts, 96) < 300
    batch = task.batch(texts, first(8), vocabulary, context=96)
    known = dict(verses)
    for row in range(8):
        read = tokenizer.decode(batch["input_ids"][row][batch["attention_mask"][row] == 1])
        said = tokenizer.decode(batch["labels"][row][batch["labels"][row] != IGNORED])
        if read.endswith("<|endoftext|>"):
            assert known[read.removesuffix("<|endoftext|>")].startswith(said.removesuffix("<|endoftext|>"))
    assert int(batch["attention_mask"].sum()) < batch["attention_mask"].numel()


def test_a_t5_learns_the_mood_of_sentences_it_has_read(tmp_path: Path) -> None:
    negative, positive = zipped(
        "sentence_polarity.zip", "sentence_polarity/rt-polarity.neg", "sentence_polarity/rt-polarity.pos"
    )
    rows = [
        {"text": line.strip(), "label": label}
        for bad, good in zip(negative.splitlines()[:60], positive.splitlines()[:60], strict=True)
        for line, label in ((bad, "negative"), (good, "positive"))
    ]
    task = Classification()
    tokenizer, vocabulary, texts = tokenised_pairs(rows, tmp_path, task)
    network = T5(vocabulary=vocabulary.size, d_model=32, n_layers=1, n_heads=4, d_mlp=64, attention="entmax").build()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        batch = task.batch(texts, examples_at(step * 32, 32, n_examples=len(texts), seed=0), vocabulary, context=64)
        optimizer.zero_grad()
        loss = network.losses(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    words = {tokenizer.decode(row[row != IGNORED]) for row in batch["labels"]}
    assert words == {"negative<|endoftext|>", "positive<|endoftext|>"}
    assert np.mean(losses[-5:]) < 0.4 < np.mean(losses[:5])


# The guide


@pytest.mark.slow
def test_the_commands_of_the_guide_run(tmp_path: Path) -> None:
    """In order, on a little text and small models."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=30)) for _ in range(200)]
    (tmp_path / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    for file, fields in (("verses.jsonl", ("fr", "pt")), ("moods.jsonl", ("sentence", "mood"))):
        rows = [dict(zip(fields, (text, draw.choice(WORDS)), strict=True)) for text in texts]
        (tmp_path / file).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    small = ["--tokens", "1k", "--context", "32", "--batch-size", "8", "--vocabulary", "400"]
    small += ["--set", "d_model=16", "--set", "n_layers=1"]
    ran = [command for command in commands(ROOT / "docs/how-to/t5.md") if command[0] == "actpipe"]
    assert len(ran) == 9
    for command in ran:
        done = run(
            tmp_path, *command[1:], *(small if command[1] == "train-lm" else ["--tokens", "1k", "--context", "32"])
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    counts = {
        name: sum(weight.numel() for weight in load(tmp_path / name)[1].parameters())
        for name in ("softmax-dense", "entmax-dense", "softmax-topk", "entmax-topk", "annealed")
    }
    assert len(set(counts.values())) == 1
    rows = actpipe.open_store(tmp_path / "actpipe-out" / "store.zarr").read("encoder_blocks.0.mlp.hook_post", 0, 200)
    assert 0 < int((torch.as_tensor(rows) != 0).sum(1).max()) <= 32
