"""A dry run: the real questions, the real cache, and in place of the model one that counts and answers anything."""

from __future__ import annotations

import json
from typing import Any

from .requests import Identity, Reply, Request, TextModel

_THIRTY_WORDS = " ".join(["words"] * 30)


class Rehearsal(TextModel):
    """Answers of the right form, which `Calls` does not cache."""

    is_rehearsal = True

    def __init__(self, real: TextModel) -> None:
        self._real = real

    @property
    def identity(self) -> Identity:
        return self._real.identity  # so that what is cached already is counted as free

    def send(self, request: Request) -> str:
        return "rehearsal"

    def read(self, request: Request, raw: str) -> Reply:
        if raw != "rehearsal":
            return self._real.read(request, raw)
        tokens = request.likely_input_tokens
        numbers = (0.5,) * len(request.options) if request.kind == "choose" else (0.0,) * len(request.pieces)
        return Reply(
            text=_answer(request), numbers=numbers, input_tokens=tokens, output_tokens=min(request.max_tokens, 64)
        )


def _answer(request: Request) -> str:
    """What the schema asks for."""
    properties = json.loads(request.schema)["properties"] if request.schema else {}
    return json.dumps({name: _value(part) for name, part in properties.items()})


def _value(part: dict[str, Any]) -> Any:
    if "enum" in part:
        return part["enum"][0]
    if part["type"] == "array":
        return [0] * part.get("minItems", 0)
    return _THIRTY_WORDS
