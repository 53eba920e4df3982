"""Backend `hf`: a causal language model on this machine. Probabilities of options and texts are read from its logits.

Small models write no JSON, so their answer is begun for them (`{"labels": [`) and ended where the value ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from actpipe.errors import Misuse

from .prefix_reader import PrefixReader
from .requests import Identity, Refused, Reply, Request, TextModel, Transient

if TYPE_CHECKING:
    from torch import Tensor

    from actpipe.harvest.model import LanguageModel

_TURN = "<|im_end|>"
_UNKNOWN = "unknown\n"  # what stands in the prompt where a simulated activation would


@dataclass(frozen=True)
class LocalModel(TextModel):
    model: LanguageModel

    def __post_init__(self) -> None:
        if self.model.kind != "decoder" or not self.model.predicts_tokens:
            raise Misuse(f"{self.model.name} does not write text; give a causal language model, or another backend.")

    @cached_property
    def identity(self) -> Identity:
        return Identity("hf", self.model.name, self.model.fingerprint())

    def send(self, request: Request) -> str:
        """The work is done here, so that the cache holds what took the time."""
        return json.dumps(getattr(self, f"_{request.kind}")(request))

    def read(self, request: Request, raw: str) -> Reply:
        try:
            found = json.loads(raw)
            numbers = tuple(float(x) for x in found["numbers"])
            return Reply(text=found["text"], numbers=numbers, input_tokens=found["in"], output_tokens=found["out"])
        except (ValueError, KeyError, TypeError) as error:
            raise Transient(f"a cached answer of {self.model.name} cannot be read ({error})") from None

    def _generate(self, request: Request) -> dict[str, Any]:
        begun, end = _beginning(request.schema)
        ids = self._ids(self._prompt(request) + begun)
        text = self._continued(ids, end, request.max_tokens)
        return _found(begun + text + _closing(end), [], len(ids), request.max_tokens)

    def _choose(self, request: Request) -> dict[str, Any]:
        ids = self._ids(self._prompt(request))
        p = self._logits(ids, [len(ids) - 1])[0].softmax(-1)
        said = [float(p[self._ways_to_write(option)].sum()) for option in request.options]
        total = sum(said)
        return _found("", [x / total for x in said] if total > 0 else [], len(ids), 1)

    def _likelihood(self, request: Request) -> dict[str, Any]:
        before, after = self._ids("".join(request.pieces[:-1])), self._ids(request.pieces[-1], opens=False)
        ids = [*before, *after]
        logp = self._logits(ids, range(len(before) - 1, len(ids) - 1)).log_softmax(-1)
        total = sum(float(logp[i, token]) for i, token in enumerate(after))
        return _found("", [total], len(ids), 0)

    def _scale(self, request: Request) -> dict[str, Any]:
        """E[k] of digits 0 … 9 behind each piece; "unknown" follows there, whatever the model expected."""
        ids: list[int] = []
        places = []
        for piece in request.pieces:
            ids += self._ids(piece, opens=not ids)
            places.append(len(ids) - 1)
            ids += self._ids(_UNKNOWN, opens=False)
        digits = [self._ways_to_write(str(k))[0] for k in range(10)]
        p = self._logits(ids, places)[:, digits].softmax(-1)
        return _found("", [sum(k * float(x) for k, x in enumerate(row)) for row in p], len(ids), 0)

    def _logits(self, ids: list[int], places: Sequence[int]) -> Tensor:
        """[places, vocabulary], float32: what is said of the token after each of `places`."""
        self._check(len(ids))
        return self._reader.logits(ids, places)

    @cached_property
    def _reader(self) -> PrefixReader:
        return PrefixReader(self.model)

    def _continued(self, ids: list[int], end: str, most: int) -> str:
        """Greedy, up to the sign that ends the value."""
        self._check(len(ids) + most)
        written: list[int] = []
        text = ""
        for _ in range(most):
            whole = [*ids, *written]
            token = int(self._reader.logits(whole, [len(whole) - 1])[0].argmax())
            if token == self.model.tokenizer.eos_token_id:
                break
            written.append(token)
            text = str(self.model.tokenizer.decode(written))
            if end in text or _TURN in text:
                break
        return text.split(end)[0].split(_TURN)[0]

    def _check(self, tokens: int) -> None:
        from actpipe.harvest.model import longest_context

        longest = longest_context(self.model.config)
        if longest is not None and tokens > longest:
            raise Refused(f"{self.model.name} reads {longest} tokens at most, not {tokens}.", status=413)

    def _prompt(self, request: Request) -> str:
        """The model's own form of a conversation, else ChatML if it knows its signs, else plain text."""
        tokenizer = self.model.tokenizer
        if tokenizer.chat_template:
            turns = [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]
            return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        if _TURN in tokenizer.get_vocab():
            return (
                f"<|im_start|>system\n{request.system}<|im_end|>\n<|im_start|>user\n{request.user}<|im_end|>\n"
                "<|im_start|>assistant\n"
            )
        return f"{request.system}\n\n{request.user}\nAnswer: "

    def _ids(self, text: str, *, opens: bool = True) -> list[int]:
        tokenizer = self.model.tokenizer
        ids: list[int] = tokenizer(text, add_special_tokens=opens)["input_ids"]
        return ids or [tokenizer.eos_token_id or 0]

    def _ways_to_write(self, option: str) -> list[int]:
        """First tokens of the option, with and without a space before it."""
        spelled = [self._ids(text, opens=False) for text in (option, f" {option}")]
        return sorted({ids[0] for ids in spelled if len(ids) == 1} or {spelled[0][0]})


def _beginning(schema: str) -> tuple[str, str]:
    """How a JSON answer with the first property of the schema begins, and the sign that ends the property's value."""
    if not schema:
        return "", "\n"
    name, part = next(iter(json.loads(schema)["properties"].items()))
    return (f'{{"{name}": "', '"') if part["type"] == "string" else (f'{{"{name}": [', "]")


def _closing(end: str) -> str:
    return "" if end == "\n" else end + "}"


def _found(text: str, numbers: list[float], taken: int, given: int) -> dict[str, Any]:
    return {"text": text, "numbers": numbers, "in": taken, "out": given}
