"""Judges on this machine: a causal language model, a sentence encoder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from actpipe.analysis.judges import JudgeConfig, judge, take_exam
from actpipe.analysis.judges.call_cache import CallCache
from actpipe.analysis.judges.calls import Calls
from actpipe.analysis.judges.encoder_judge import EncoderJudge
from actpipe.analysis.judges.exam_text import PLANTED, examined
from actpipe.analysis.judges.language_judge import LanguageJudge
from actpipe.analysis.judges.ledger import Budget, Ledger
from actpipe.analysis.judges.local_model import LocalModel
from actpipe.analysis.judges.questions import Compare, Detect, Explain, Explanation, Simulate, Tell
from actpipe.analysis.judges.requests import Capabilities, Refused, Request
from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import load_model

from .judge_reports import planted_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A small causal model of random weights that reads 2,048 tokens."""
    path = tmp_path_factory.mktemp("judge") / "llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def local(folder: Path) -> LocalModel:
    return LocalModel(load_model(str(folder), dtype="float32", device="cpu"))


def ids(model: LocalModel, text: str) -> torch.Tensor:
    return torch.tensor([model.model.tokenizer(text)["input_ids"]])


def test_a_likelihood_is_the_sum_over_the_tokens_of_the_last_piece(local: LocalModel) -> None:
    request = Request(kind="likelihood", pieces=("The king walked", " over the river."))
    (found,) = local.read(request, local.send(request)).numbers
    before, after = ids(local, request.pieces[0]), ids(local, request.pieces[1])
    whole = torch.cat([before, after], dim=1)
    logp = local.model.module(input_ids=whole).logits[0].log_softmax(-1)
    by_hand = sum(float(logp[before.shape[1] - 1 + i, token]) for i, token in enumerate(after[0]))
    assert found == pytest.approx(by_hand, rel=1e-5)


def test_options_share_what_the_model_gives_them(local: LocalModel) -> None:
    request = Request(kind="choose", system="Judge.", user="Is it so?", options=("0", "1"))
    reply = local.read(request, local.send(request))
    p = local.model.module(input_ids=ids(local, "Judge.\n\nIs it so?\nAnswer: ")).logits[0, -1].softmax(-1)
    zero, one = (float(p[ids(local, text)[0, 0]]) for text in ("0", "1"))
    assert reply.numbers == pytest.approx((zero / (zero + one), one / (zero + one)), rel=1e-4)
    assert reply.input_tokens == ids(local, "Judge.\n\nIs it so?\nAnswer: ").shape[1]


def test_what_two_questions_have_in_common_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instructions = "Does the text mention a river? " * 20
    asked = [
        Request(kind="choose", user=instructions + "The king walked.", options=("0", "1")),
        Request(kind="choose", user=instructions + "A boat went down the stream.", options=("0", "1")),
        Request(kind="likelihood", pieces=(instructions, "It did.")),
        Request(kind="generate", user=instructions + "The king", max_tokens=6),
        Request(kind="scale", pieces=(instructions, "b\t", "c\t")),
        Request(kind="choose", user=instructions, options=("0", "1")),
    ]
    one = LocalModel(load_model(str(folder), dtype="float32", device="cpu"))
    read: list[tuple[int, int]] = []  # tokens, and places with logits, of each pass
    forward = one.model.module.forward

    def counted(input_ids: torch.Tensor, **named: Any) -> Any:
        found = forward(input_ids=input_ids, **named)
        read.append((input_ids.shape[1], found.logits.shape[1]))
        return found

    with monkeypatch.context() as patched:
        reader = one._reader  # looks at the signature
        patched.setattr(one.model.module, "forward", counted)
        together = [one.read(request, one.send(request)) for request in asked]
        assert one._reader is reader
    length = together[0].input_tokens
    assert read[0] == (length, 1)
    assert read[1][0] < length / 8
    assert read[1][1] == 1
    for request, reply in zip(asked, together, strict=True):
        fresh = LocalModel(one.model)
        alone = fresh.read(request, fresh.send(request))
        assert reply.text == alone.text
        assert reply.numbers == pytest.approx(alone.numbers, rel=1e-4)


def test_a_model_without_a_memory_judges_too() -> None:
    local = LocalModel(load_model("actpipe:gpt-relu-0", device="cpu"))
    request = Request(kind="generate", user="The king", max_tokens=3)
    ids = local.model.tokenizer("\n\nThe king\nAnswer: ")["input_ids"]
    for _ in range(3):
        ids.append(int(local.model.logits({"input_ids": torch.tensor([ids])})[0, -1].argmax()))
    assert local.read(request, local.send(request)).text == local.model.tokenizer.decode(ids[-3:]).split("\n")[0]


def test_a_digit_is_expected_behind_each_piece(local: LocalModel) -> None:
    request = Request(kind="scale", pieces=("a\t", "b\t", "c\t"))
    found = local.read(request, local.send(request)).numbers
    text = ids(local, "a\t")
    p = local.model.module(input_ids=text).logits[0, -1]
    digits = [int(ids(local, str(k))[0, 0]) for k in range(10)]
    assert found[0] == pytest.approx(float((p[digits].softmax(-1) * torch.arange(10)).sum()), rel=1e-4)
    assert len(found) == 3
    assert all(0 <= k <= 9 for k in found)


def test_text_is_continued_greedily_and_begun_as_the_form_asks(local: LocalModel) -> None:
    plain = Request(kind="generate", user="The king", max_tokens=8)
    start = ids(local, "\n\nThe king\nAnswer: ")
    expected = local.model.module.generate(start, max_new_tokens=8, do_sample=False, pad_token_id=0)
    text = local.model.tokenizer.decode(expected[0, start.shape[1] :])
    assert local.read(plain, local.send(plain)).text == text.split("\n")[0].split("<|endoftext|>")[0]
    schema = json.dumps({"properties": {"explanation": {"type": "string"}}})
    formed = Request(kind="generate", user="The king", max_tokens=4, schema=schema)
    assert local.read(formed, local.send(formed)).text.startswith('{"explanation": "')


def test_what_is_too_long_for_the_model_is_one_failed_answer(local: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="reads 2048 tokens at most"):
        local.send(Request(kind="choose", user="word " * 3000, options=("0", "1")))
    cache = CallCache(tmp_path / "c.sqlite")
    told = LanguageJudge(Calls(local, cache, Ledger(Budget())), Capabilities(choose=True))
    long = Explanation("word " * 3000)
    assert told.answer(Detect(long, examined(PLANTED[0]).passages[:1])).failed == 1
    cache.close()


def test_it_answers_every_question_and_caches_the_work(local: LocalModel, tmp_path: Path) -> None:
    cache = CallCache(tmp_path / "c.sqlite")
    calls = Calls(local, cache, Ledger(Budget()))
    told = LanguageJudge(calls, Capabilities(choose=True, schema=True, likelihood=True, scale=True))
    paper = examined(PLANTED[0])
    explanation = paper.unit.exact.explanation
    first = told.answer(Detect(explanation, paper.passages[:4]))
    assert all(0 < p < 1 for p in first.values)
    assert told.answer(Detect(explanation, paper.passages[:4])) == first
    assert (calls.ledger.spent.calls, calls.ledger.spent.cached) == (4, 4)
    assert len(told.answer(Simulate(explanation, paper.passages[0])).values) == len(paper.passages[0].texts)
    assert len(told.answer(Tell(explanation, ((paper.passages[0], paper.passages[1]),))).values) == 1
    told.answer(Explain(paper.passages[:2], paper.passages[2:4]))
    cache.close()


def test_surprisal_and_simulation_run_on_a_report(folder: Path, tmp_path: Path) -> None:
    report = planted_report(tmp_path / "report", 2)
    protocols = ("surprisal", "simulation")
    result = judge(
        JudgeConfig(
            report=report, backend="hf", model=str(folder), protocols=protocols, units=2, exam_units=1,
            explanations="rules", shuffled=False,
        )
    )  # fmt: skip
    assert result.judged == 2
    assert result.grade is not None
    assert not result.grade.certified
    found = pq.read_table(report / "parquet" / "judgements.parquet").to_pylist()
    assert [row["value"] is not None for row in found if row["metric"] == "auroc"] == [True, True]
    assert {row["judge"] for row in found} == {f"hf:{folder}"}
    assert not any(row["certified"] for row in found)


def test_a_model_that_writes_nothing_is_refused(saved_models: dict[str, Path]) -> None:
    with pytest.raises(Misuse, match="does not write text"):
        LocalModel(load_model(str(saved_models["bert"])))


def test_an_encoder_ranks_and_is_never_certified() -> None:
    """An embedding that knows one word: 1 where it stands, else 0, beside a constant."""

    def encode(texts: Any) -> np.ndarray:
        has = np.array([[1.0, float("river" in text)] for text in texts], np.float32)
        return has / np.linalg.norm(has, axis=1, keepdims=True)

    told = EncoderJudge("one-word", encode)
    paper = examined(next(u for u in PLANTED if u.name == "river"))
    said = told.answer(Compare(paper.unit.exact.explanation, paper.passages)).values
    on, off = ([v for v, f in zip(said, paper.fires, strict=True) if f == fires] for fires in (True, False))
    assert min(on) > max(off)
    pair = (paper.passages[paper.fires.index(True)], paper.passages[paper.fires.index(False)])
    assert told.answer(Tell(paper.unit.exact.explanation, (pair, pair[::-1]))).values == (1.0, 0.0)
    grade = take_exam(told, units=3)
    assert not grade.certified
    assert "only ranks" in grade.sentence


def test_an_encoder_judges_a_report(saved_models: dict[str, Path], tmp_path: Path) -> None:
    report = planted_report(tmp_path / "report", 2)
    config = JudgeConfig(
        report=report, backend="encoder", model=str(saved_models["bert"]), protocols=("embedding",), exam_units=1
    )
    result = judge(config)
    assert {m.metric for m in result.means} == {"auroc", "auprc_above_chance", "pearson", "written"}
    assert not any(math.isnan(m.mean) for m in result.means if m.metric == "auroc")
    with pytest.raises(Missing):
        judge(replace(config, model=str(tmp_path / "nothing")))
