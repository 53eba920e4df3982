"""What a language model is sent and what comes back, whichever way it is reached."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Literal

from actpipe.errors import Failure

SCHEMA_VERSION = 1  # raise it when an answer comes to mean something else: nothing cached before is used then
OVERHEAD = 32  # tokens that a chat template adds, at most


@dataclass(frozen=True, kw_only=True)
class Request:
    """`generate`: text after the prompt, `schema` asks for JSON. `choose`: probability of each of `options` as the next
    token. `likelihood`: log probability of the last of `pieces` after the others. `scale`: after each piece an expected
    number, 0 to 10."""

    kind: Literal["generate", "choose", "likelihood", "scale"]
    system: str = ""
    user: str = ""
    schema: str = ""  # JSON schema, as text
    options: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    max_tokens: int = 1
    temperature: float = 0.0
    seed: int = 0
    logprobs: bool = False  # of generated text, too

    @property
    def text_bytes(self) -> int:
        texts = (self.system, self.user, self.schema, *self.options, *self.pieces)
        return sum(len(text.encode()) for text in texts)

    @property
    def most_input_tokens(self) -> int:
        """No tokenizer makes more than one token of a byte."""
        return self.text_bytes + OVERHEAD

    @property
    def likely_input_tokens(self) -> int:
        """Heuristic: 4 bytes a token in English prose, 3 in windows of subwords."""
        return self.text_bytes // 3 + OVERHEAD

    def key(self, model: Identity) -> str:
        content = json.dumps([SCHEMA_VERSION, asdict(model), asdict(self)], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Identity:
    """Two models with the same identity give the same answers: the address counts, since "local-model" is many."""

    backend: str
    model: str
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What the model can be sent besides `generate`; found out once by asking it."""

    choose: bool = False  # log probabilities of the next token
    schema: bool = False  # output is held to a JSON schema
    likelihood: bool = False  # log probabilities of a prompt
    scale: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    text: str = ""
    numbers: tuple[float, ...] = ()  # one an option, a piece, or empty
    input_tokens: int | None = None  # None where the model does not say, or says what cannot be
    output_tokens: int | None = None


class Transient(Exception):
    """May go away by itself: too many requests, a server error, silence, nonsense in place of a reply."""

    def __init__(self, reason: str, *, wait_s: float | None = None, billed: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s  # what the server asked for
        self.billed = billed  # the request was sent and may have been carried out


class Refused(Failure):
    """The request itself is wrong: no retry helps."""

    def __init__(self, reason: str, *, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status  # of HTTP


class TextModel(ABC):
    """`send` gives the raw response, which is what the cache keeps; `read` makes a Reply of it, today or next year."""

    concurrency: int = 1
    is_rehearsal = False  # its responses are worth nothing and are not cached

    @property
    @abstractmethod
    def identity(self) -> Identity: ...

    @abstractmethod
    def send(self, request: Request) -> str:
        """Raises Transient or Refused."""

    @abstractmethod
    def read(self, request: Request, raw: str) -> Reply:
        """Raises Transient where the response is not one: it is then neither cached nor used."""
