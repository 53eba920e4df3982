"""The JSON of a completion → a Reply, believing nothing: counts may lie, lists may be short, probabilities above 1."""

from __future__ import annotations

import math
from typing import Any

from .requests import Reply, Request

_LEAST = -1e6  # a log probability; some servers say −9999 of what is not among the likeliest
_LEVELS = {str(level) for level in range(11)}


def reply_of(request: Request, body: Any) -> Reply | None:
    """None where `body` is no completion at all."""
    choice = _first_choice(body)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        return None
    text = message.get("content")
    tokens = _logprobs(choice)
    numbers: tuple[float, ...] = ()
    if request.kind == "choose":
        numbers = _of_options(tokens, request.options)
    elif request.logprobs:
        numbers = _expectations(tokens)
    return Reply(text=text if isinstance(text, str) else "", numbers=numbers, **_usage(body))


def likelihood_of(request: Request, body: Any) -> Reply | None:
    """Sum over the tokens of the last piece. No numbers where the server does not give them."""
    choice = _first_choice(body)
    if choice is None or not isinstance(choice.get("text"), str):
        return None
    found = choice.get("logprobs")
    columns = [found.get(name) for name in ("token_logprobs", "text_offset")] if isinstance(found, dict) else [None]
    if not all(isinstance(column, list) for column in columns):
        return Reply(**_usage(body))
    start, stop = len("".join(request.pieces[:-1])), len("".join(request.pieces))
    inside = [p for p, offset in zip(*columns, strict=False) if isinstance(offset, int) and start <= offset < stop]
    if not inside or not all(_is_logprob(p) for p in inside):
        return Reply(**_usage(body))
    return Reply(numbers=(float(sum(inside)),), **_usage(body))


def _first_choice(body: Any) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    return dict(choices[0])


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    usage = body.get("usage")
    told = usage if isinstance(usage, dict) else {}
    taken, given = told.get("prompt_tokens"), told.get("completion_tokens")
    is_possible = type(taken) is int and type(given) is int and 0 < taken < 10**8 and 0 <= given < 10**8
    return {"input_tokens": taken, "output_tokens": given} if is_possible else {}


def _logprobs(choice: dict[str, Any]) -> list[list[tuple[str, float]]]:
    """Of each generated token: its alternatives and their log probabilities."""
    found = choice.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return [_alternatives(token) for token in content] if isinstance(content, list) else []


def _alternatives(token: Any) -> list[tuple[str, float]]:
    top = token.get("top_logprobs") if isinstance(token, dict) else None
    pairs: list[tuple[Any, Any]] = []
    if isinstance(top, list):
        pairs = [(a.get("token"), a.get("logprob")) for a in top if isinstance(a, dict)]
    return [(text, float(p)) for text, p in pairs if isinstance(text, str) and _is_logprob(p)]


def _is_logprob(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST <= value <= 1e-3


def _of_options(tokens: list[list[tuple[str, float]]], options: tuple[str, ...]) -> tuple[float, ...]:
    """Probability of each option as the first token, however spaced; empty when none is among the likeliest."""
    if not tokens:
        return ()
    said = [sum(math.exp(p) for text, p in tokens[0] if text.strip() == option) for option in options]
    total = sum(said)
    return tuple(p / total for p in said) if total > 0 else ()


def _expectations(tokens: list[list[tuple[str, float]]]) -> tuple[float, ...]:
    """Σ_k k·P(k) over 0 … 10 at each generated token whose likeliest alternative is such a number."""
    found = []
    for alternatives in tokens:
        if alternatives and _number(max(alternatives, key=lambda a: a[1])[0]) is not None:
            scale = [(k, math.exp(p)) for text, p in alternatives if (k := _number(text)) is not None]
            total = sum(p for _, p in scale)
            if total > 0:
                found.append(sum(k * p for k, p in scale) / total)
    return tuple(found)


def _number(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped) if stripped in _LEVELS else None
