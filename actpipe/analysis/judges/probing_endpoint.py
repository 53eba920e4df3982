"""What an endpoint can do, found out by asking it three small things; the answers are in the cache like any other."""

from __future__ import annotations

from . import parsing, prompts
from .calls import Calls
from .requests import Capabilities, Refused, Reply, Request

_NOT_KNOWN = {400, 404, 405, 415, 422, 501}  # statuses with which servers turn down an option; not 401, 403


def capabilities_of(calls: Calls, *, likelihood: bool) -> Capabilities:
    """`likelihood`: whether anybody wants that; few endpoints have it."""
    if calls.model.is_rehearsal:  # it cannot be known without asking; most have these two
        return Capabilities(choose=True, schema=True, likelihood=likelihood)
    return Capabilities(
        choose=_gives_probabilities(calls), schema=_holds_to_schema(calls), likelihood=likelihood and _scores(calls)
    )


def _gives_probabilities(calls: Calls) -> bool:
    user = "Answer with the digit 1 and nothing else."
    reply = _asked(calls, Request(kind="choose", system=prompts.SYSTEM, user=user, options=("0", "1")))
    return reply is not None and len(reply.numbers) == 2


def _holds_to_schema(calls: Calls) -> bool:
    """A server that does not know the option may ignore it, so the prompt does not say which form is wanted."""
    schema = prompts.labels_schema(3)
    reply = _asked(calls, Request(kind="generate", user="Say hello.", schema=schema, max_tokens=64))
    return reply is not None and parsing.labels(reply.text, 3) is not None


def _scores(calls: Calls) -> bool:
    reply = _asked(calls, Request(kind="likelihood", pieces=("One two three", " four five")))
    return reply is not None and len(reply.numbers) == 1


def _asked(calls: Calls, request: Request) -> Reply | None:
    try:
        return calls.ask(request)
    except Refused as refusal:
        if refusal.status in _NOT_KNOWN:
            return None
        raise
