"""A language model as a judge: questions → prompts → replies → answers.

One item a decision where the model gives log probabilities: P = p(1) / (p(0) + p(1)). Otherwise 5 texts a prompt in an
order of chance, answered as JSON of checked length. An answer of the wrong form is asked for once more, with the wrong
one shown, and then recorded as failed (NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from actpipe.errors import Misuse

from . import parsing, prompts
from .calls import Calls, Unanswered
from .judge import Judge
from .questions import (
    Answer,
    Detect,
    Explain,
    Explanation,
    Mark,
    Passage,
    Question,
    Simulate,
    Spot,
    Surprise,
    Tell,
)
from .requests import Capabilities, Refused, Reply, Request

Item = TypeVar("Item")
Parsed = TypeVar("Parsed")
AT_ONCE = 5  # texts a prompt without log probabilities; more leak into each other and hurt weak judges
_ABOUT_THE_REQUEST = {400, 413, 422}  # statuses with which a server turns down one text, not the caller
UNRELATED = "Various unrelated sentences."  # what delphi's surprisal compares an explanation with


class LanguageJudge(Judge):
    def __init__(self, calls: Calls, capabilities: Capabilities, *, seed: int = 0) -> None:
        of = calls.model.identity
        self.name, self.seed = f"{of.backend}:{of.model}", seed
        self.calls, self.can = calls, capabilities
        self._pool = ThreadPoolExecutor(calls.model.concurrency, thread_name_prefix="judge-call")
        asked = {Explain, Detect, Mark, Tell, Simulate, Spot}
        self.answers = frozenset(asked | ({Surprise} if capabilities.likelihood else set()))

    def answer(self, question: Question) -> Answer:
        match question:
            case Explain():
                return self._explain(question)
            case Detect(explanation, passages):
                return self._yes_or_no(explanation, passages, prompts.detect_one, prompts.detect_many)
            case Mark(explanation, passages):
                return self._yes_or_no(explanation, passages, prompts.mark_one, prompts.mark_many)
            case Tell(explanation, pairs):
                picked = self._each(lambda pair: self._choice(prompts.tell(explanation.text, *pair), ("A", "B")), pairs)
                return _answer([p[0] if p else math.nan for p in picked])
            case Simulate(explanation, passage):
                return self._simulate(explanation, passage)
            case Surprise(explanation, passages):
                return _answer(self._each(lambda passage: self._surprise(explanation, passage), passages))
            case Spot(passages):
                options = tuple(str(i + 1) for i in range(len(passages)))
                return _answer(self._choice(prompts.spot(passages), options) or [math.nan] * len(options))
            case _:
                raise Misuse(f"The judge {self.name} cannot be asked to {type(question).__name__}.")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _each(self, of: Callable[[Item], Parsed], items: Sequence[Item]) -> list[Parsed]:
        """The items of one question side by side: units then end one after the other, not all at the end."""
        return list(self._pool.map(of, items))

    def _explain(self, question: Explain) -> Answer:
        request = self._generate(prompts.explain(question), prompts.explanation_schema(), max_tokens=300)
        found = self._asked(request, lambda reply: parsing.explanation(reply.text, self.name))
        return Answer(explanation=found, failed=int(found is None))

    def _yes_or_no(
        self,
        explanation: Explanation,
        passages: Sequence[Passage],
        one: Callable[[str, Passage], str],
        many: Callable[[str, Sequence[Passage]], str],
    ) -> Answer:
        if self.can.choose:
            said = self._each(lambda p: self._choice(one(explanation.text, p), ("0", "1")), passages)
            return _answer([p[1] if p else math.nan for p in said])
        groups = [passages[start : start + AT_ONCE] for start in range(0, len(passages), AT_ONCE)]
        found = self._each(lambda group: self._labels(many(explanation.text, group), len(group)), groups)
        return _answer([value for values in found for value in values])

    def _labels(self, user: str, n: int) -> list[float]:
        request = self._generate(user, prompts.labels_schema(n), max_tokens=32 + 8 * n)
        return list(self._asked(request, lambda reply: parsing.labels(reply.text, n)) or [math.nan] * n)

    def _choice(self, user: str, options: tuple[str, ...]) -> list[float] | None:
        """Probability of each option."""
        if not self.can.choose:
            return self._written_choice(user, options)
        request = Request(kind="choose", system=prompts.SYSTEM, user=user, options=options, seed=self.seed)
        return self._asked(request, lambda reply: list(reply.numbers) or None)

    def _written_choice(self, user: str, options: tuple[str, ...]) -> list[float] | None:
        request = self._generate(user, prompts.choice_schema(options), max_tokens=32)
        picked = self._asked(request, lambda reply: _or_none(parsing.choice(reply.text, options)))
        return None if picked is None else [float(i == picked[0]) for i in range(len(options))]

    def _simulate(self, explanation: Explanation, passage: Passage) -> Answer:
        n = len(passage.texts)
        if self.can.scale:
            pieces = prompts.simulate_pieces(explanation.text, passage)
            reply = self._reply(Request(kind="scale", pieces=pieces))
            return _answer(list(reply.numbers) if reply is not None else [math.nan] * n)
        user = prompts.simulate(explanation.text, passage)
        request = self._generate(user, prompts.activations_schema(n), max_tokens=32 + 8 * n, logprobs=self.can.choose)
        found = self._asked(request, lambda reply: _expected(reply, n))
        return _answer(list(found or [math.nan] * n))

    def _surprise(self, explanation: Explanation, passage: Passage) -> float:
        told, untold = (self._likelihood(text, passage) for text in (explanation.text, UNRELATED))
        return told - untold

    def _likelihood(self, explanation: str, passage: Passage) -> float:
        pieces = (prompts.continuation(explanation), passage.text)
        reply = self._reply(Request(kind="likelihood", pieces=pieces))
        return reply.numbers[0] if reply is not None and reply.numbers else math.nan

    def _generate(self, user: str, schema: str, *, max_tokens: int, logprobs: bool = False) -> Request:
        return Request(
            kind="generate",
            system=prompts.SYSTEM,
            user=user,
            schema=schema if self.can.schema or self.calls.model.is_rehearsal else "",
            max_tokens=max_tokens,
            seed=self.seed,
            logprobs=logprobs,
        )

    def _asked(self, request: Request, parse: Callable[[Reply], Parsed | None]) -> Parsed | None:
        """Once, and once more with what was wrong about it."""
        reply = self._reply(request)
        found = parse(reply) if reply is not None else None
        if found is not None or reply is None:
            return found
        again = self._reply(replace(request, user=prompts.repaired(request.user, reply.text)))
        return parse(again) if again is not None else None

    def _reply(self, request: Request) -> Reply | None:
        """None where this one request finds no answer: too long for the model, or time after time too slow."""
        try:
            return self.calls.ask(request)
        except Unanswered:
            return None
        except Refused as refusal:
            if refusal.status in _ABOUT_THE_REQUEST:
                return None
            raise


def _answer(values: list[float]) -> Answer:
    return Answer(tuple(values), failed=sum(math.isnan(value) for value in values))


def _or_none(index: int | None) -> tuple[int] | None:
    """0 is an answer."""
    return None if index is None else (index,)


def _expected(reply: Reply, n: int) -> tuple[float, ...] | None:
    """Written numbers, or their expectations where every one of them came with probabilities."""
    written = parsing.activations(reply.text, n)
    return reply.numbers if written is not None and len(reply.numbers) == n else written
