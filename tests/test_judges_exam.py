"""The exam certifies a judge that does what explanations say, and nobody else."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actpipe.analysis.judges import RuleJudge, take_exam
from actpipe.analysis.judges.exam_text import PER_CLASS, PLANTED, examined, passage
from actpipe.analysis.judges.judge import Judge
from actpipe.analysis.judges.machine_rules import execute, lexicon_of
from actpipe.analysis.judges.questions import (
    Answer,
    Detect,
    Explanation,
    Mark,
    Passage,
    Question,
    Simulate,
    Tell,
)
from actpipe.errors import Damaged, Failure, Misuse

# Appendix of the plan: how many planted units of each family.
FAMILIES = {
    "single word": 4,
    "word list": 4,
    "prefix or suffix": 4,
    "casing": 2,
    "digits or dates": 3,
    "after punctuation": 3,
    "inside brackets": 2,
    "language": 3,
    "topic": 6,
    "code": 2,
    "n-gram": 3,
    "polysemantic": 4,
}


class Told(Judge):
    """Answers as the rule says, with probability `right`; else as `wrong` says."""

    name = "told"
    answers = frozenset({Detect})

    def __init__(self, *, right: float = 1.0, wrong: float = 0.0, decides: bool = True) -> None:
        self.right, self.wrong, self.decides = right, wrong, decides
        self.draw = random.Random(0)

    def answer(self, question: Question) -> Answer:
        truth = RuleJudge().answer(question).values
        return Answer(tuple(v if self.draw.random() < self.right else self.wrong for v in truth))


class Coin(Told):
    def answer(self, question: Question) -> Answer:
        assert isinstance(question, Detect)
        return Answer(tuple(float(self.draw.random() < 0.5) for _ in question.passages))


def test_forty_units_of_the_twelve_families() -> None:
    assert Counter(unit.family for unit in PLANTED) == FAMILIES
    assert sum(FAMILIES.values()) == len({unit.name for unit in PLANTED}) == 40


@pytest.mark.parametrize("seed", [0, 1])
def test_passages_are_what_the_explanations_say(seed: int) -> None:
    half = PER_CLASS // 2
    for unit in PLANTED:
        paper = examined(unit, seed=seed)
        texts = [p.text for p in paper.passages]
        assert [unit.exact.holds(t) for t in texts] == list(paper.fires), unit.name
        assert sum(unit.narrow.holds(t) for t in texts) == half
        assert sum(unit.broad.holds(t) for t in texts) == 3 * half
        assert all(unit.exact.holds(t) for t in texts if unit.narrow.holds(t))


def test_executing_the_rules_is_certified() -> None:
    grade = take_exam(RuleJudge())
    assert (grade.exact, grade.paraphrase, grade.broad, grade.narrow) == (1.0, 1.0, 0.75, 0.75)
    assert 0.45 <= grade.shuffled <= 0.55
    assert (grade.auroc, grade.ranked, grade.failed) == (1.0, 1.0, 0.0)
    assert grade.certified
    assert grade.sentence.startswith("certified judge: rules")


def test_half_of_a_polysemantic_unit_is_worth_three_quarters() -> None:
    for unit in (u for u in PLANTED if u.family == "polysemantic"):
        paper = examined(unit)
        said = RuleJudge().answer(Detect(unit.narrow.explanation, paper.passages)).values
        hits = np.mean([v for v, fires in zip(said, paper.fires, strict=True) if fires])
        false = np.mean([v for v, fires in zip(said, paper.fires, strict=True) if not fires])
        assert (hits + 1 - false) / 2 == 0.75


@pytest.mark.parametrize(
    ("judge", "exact"),
    [(Told(right=0.0, wrong=0.0), 0.5), (Told(right=0.0, wrong=1.0), 0.5), (Coin(), 0.5)],
    ids=["never", "always", "coin"],
)
def test_judges_that_know_nothing_are_at_chance_and_fail(judge: Judge, exact: float) -> None:
    grade = take_exam(judge)
    assert grade.exact == pytest.approx(exact, abs=0.05)
    assert grade.score == pytest.approx(0, abs=0.07)
    assert not grade.certified
    assert "uncertified" in grade.sentence


def test_a_judge_that_answers_every_explanation_alike_fails() -> None:
    """0.93 with the truth, but as well with any other explanation: it read the texts, not the explanation."""

    asked = {examined(unit).passages: unit for unit in PLANTED}

    class Knows(Told):
        def answer(self, question: Question) -> Answer:
            assert isinstance(question, Detect)
            firing = asked[question.passages]
            return Answer(tuple(float(firing.exact.holds(p.text)) for p in question.passages))

    grade = take_exam(Knows())
    assert grade.exact == grade.shuffled == grade.broad == 1.0
    assert not grade.certified


def test_a_sloppy_judge_fails_and_a_good_one_passes() -> None:
    assert not take_exam(Told(right=0.7)).certified  # 0.85 of the truth
    assert take_exam(Told(right=0.96)).certified


def test_failed_answers_count_as_a_coins_and_too_many_fail_the_exam() -> None:
    grade = take_exam(Told(right=0.8, wrong=math.nan))
    assert grade.failed == pytest.approx(0.2, abs=0.02)
    assert grade.exact == pytest.approx(0.9, abs=0.02)
    assert not grade.certified


def test_a_judge_that_only_ranks_has_an_auroc_and_no_certificate() -> None:
    grade = take_exam(Told(decides=False))
    assert grade.auroc == 1.0
    assert not grade.certified
    assert "only ranks" in grade.sentence


def test_a_part_of_the_exam_certifies_nobody() -> None:
    grade = take_exam(RuleJudge(), units=10)
    assert grade.units == 10
    assert not grade.certified


def test_there_is_no_grade_of_an_exam_that_was_broken_off() -> None:
    class Gone(Told):
        def answer(self, question: Question) -> Answer:
            raise Failure("the endpoint is gone")

    with pytest.raises(Failure, match="the endpoint is gone"):
        take_exam(Gone())


def test_a_list_of_ngrams_is_executed_as_the_score_that_wrote_it_does() -> None:
    """Token 7 after 3 weighs 2, token 7 alone 0.5, and only what weighs 1 fires."""
    rules = [{"match": [[3, 7]], "weight": 2.0}, {"match": [[7]], "weight": 0.5}]
    rule = json.dumps({"otherwise": 0.1, "fires_from": 1.0, "rules": rules})
    both, alone = (Passage(ids, tuple(f" {i}" for i in ids)) for ids in ((1, 3, 7), (7, 1, 3)))
    explanation = Explanation("seven", rule)
    told = RuleJudge()
    assert told.answer(Detect(explanation, (both, alone))).values == (1.0, 0.0)
    assert told.answer(Simulate(explanation, both)).values == (0.1, 0.1, 2.0)
    assert told.answer(Tell(explanation, ((alone, both), (both, alone), (both, both)))).values == (0.0, 1.0, 0.5)
    assert told.answer(Mark(explanation, (replace(both, marks=(2,)), replace(both, marks=(0, 2))))).values == (1.0, 0.5)


def test_an_explanation_without_a_rule_or_with_an_unknown_one() -> None:
    one = (Passage((1,), (" a",)),)
    answer = RuleJudge().answer(Detect(Explanation("prose"), one))
    assert answer.failed == 1
    with pytest.raises(Misuse, match="kind 'magic' is not known"):
        RuleJudge().answer(Detect(Explanation("x", '{"kind": "magic"}'), one))
    with pytest.raises(Damaged, match="cannot be read"):
        RuleJudge().answer(Detect(Explanation("x", "{}"), one))


@pytest.mark.parametrize(
    ("rule", "text", "fires"),
    [
        ({"words": ["King"]}, "the king and kings", [" king"]),
        ({"words": ["old king"]}, "an old king", [" old", " king"]),
        ({"words": ["king"], "after": ["old", "young"]}, "a king, an old king", [" king"]),
        ({"words": ["c++", ":"]}, "in c++ : x", [" c", "+", "+", " :"]),
    ],
)
def test_a_lexicon_fires_on_its_words_alone(rule: dict[str, Any], text: str, fires: list[str]) -> None:
    found = passage(text)
    executed = execute(json.dumps({"kind": "lexicon"} | rule), found)
    assert [t for t, f in zip(found.texts, executed.fires, strict=True) if f] == fires


@pytest.mark.parametrize("proposed", [[], "king", [""], ["x" * 50], ["a"] * 100, [1], None, {"words": ["a"]}])
def test_a_model_may_propose_plain_words_and_nothing_else(proposed: Any) -> None:
    assert lexicon_of(proposed) is None
    assert lexicon_of(["king", "(a+)+$"]) is not None
    rule = lexicon_of(["(a+)+$"])
    assert rule is not None
    assert not execute(rule, passage("a" * 40)).fires.any()  # taken by the letter: no expression of a model is run
