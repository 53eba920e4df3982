"""Backend `openai`: any server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, a gateway, a provider.

The key comes from an environment variable and is put into the header of a request; it is in no message, file or
representation. Redirects are refused, since the header would go along. Nothing is sent but to the address given.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, urlsplit

from actpipe.errors import Misuse

from .completions import likelihood_of, reply_of
from .requests import Identity, Refused, Reply, Request, TextModel, Transient

_LARGEST_RESPONSE = 8 << 20  # bytes; a server that streams for ever ends here
_MAY_PASS = {408, 409, 425, 429}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Secret:
    """A key that does not print itself."""

    def __init__(self, value: str) -> None:
        self._value = value.strip()
        if not (self._value.isascii() and self._value.isprintable()):  # http.client would say so and show it
            raise Misuse(
                "The judge's key holds a line break, or a character that is not ASCII, and no header can carry it. Set "
                "the environment variable to the key alone, as the endpoint gave it out."
            )

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def removed_from(self, text: str) -> str:
        """A server may send back what it was sent, and JSON may spell a character in several ways."""
        return self._spellings.sub("[key]", text) if self._value else text

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        escaped = dict.fromkeys('/"\\', r"\\?")
        each = (rf"(?:{escaped.get(c, '')}{re.escape(c)}|\\u(?i:{ord(c):04x}))" for c in self._value)
        return re.compile("".join(each))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Endpoint(TextModel):
    base_url: str  # up to and with /v1
    model: str
    key: Secret
    timeout_s: float = 60.0  # of a whole response
    concurrency: int = 8

    def __post_init__(self) -> None:
        parts = _parts(self.base_url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise Misuse(
                f"The judge's address {self.base_url!r} is no http address; give one such as http://127.0.0.1:8000/v1."
            )
        if parts.username or parts.password or parts.query:
            raise Misuse(
                f"The judge's address at {parts.hostname} holds a password or a query, which messages would show. "
                "Put the key into an environment variable and name that variable."
            )

    @property
    def identity(self) -> Identity:
        return Identity("openai", self.model, self.base_url.rstrip("/"))

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc

    def send(self, request: Request) -> str:
        path, body = _body(request, self.model)
        call = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "actpipe", **self.key.header},
        )
        try:
            with self._opener.open(call, timeout=self.timeout_s) as response:
                return self.key.removed_from(_read(response, time.monotonic() + self.timeout_s))
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from None  # the cause would show the request with its header
        except (TimeoutError, http.client.HTTPException) as error:
            raise Transient(f"{self.host} did not finish its response ({type(error).__name__})", billed=True) from None
        except urllib.error.URLError as error:
            late = isinstance(error.reason, TimeoutError)
            raise Transient(f"{self.host} cannot be reached ({error.reason})", billed=late) from None
        except OSError as error:
            raise Transient(f"The connection to {self.host} broke ({type(error).__name__})", billed=True) from None

    def read(self, request: Request, raw: str) -> Reply:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Transient(f"{self.host} answered with something that is not JSON", billed=True) from None
        reply = likelihood_of(request, body) if request.kind == "likelihood" else reply_of(request, body)
        if reply is None:
            raise Transient(f"{self.host} answered with something that is not a completion", billed=True)
        return reply

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        is_near = urlsplit(self.base_url).hostname in _LOOPBACK  # a proxy is for what is far
        return urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if is_near else []))

    def _refusal(self, error: urllib.error.HTTPError) -> Transient | Refused:
        with error:
            if error.code in _MAY_PASS or error.code >= 500:
                return Transient(f"{self.host} answered with status {error.code}", wait_s=_asked_wait_s(error))
            try:
                said = self.key.removed_from(error.read(2000).decode(errors="replace"))
            except OSError:
                said = ""
        if 300 <= error.code < 400:
            said = "redirects are not followed, because the key would go along"
        text = f"{self.host} refused the request with status {error.code}: {' '.join(said.split())[:300]}"
        return Refused(text, status=error.code)


def _parts(url: str) -> SplitResult | None:
    """None where a host, a port or a character is none."""
    try:
        parts = urlsplit(url)
        known = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        return None
    return parts if known and url.isprintable() and " " not in url else None


def _body(request: Request, model: str) -> tuple[str, dict[str, Any]]:
    if request.kind == "likelihood":  # an older endpoint, the only one that gives probabilities of what it is sent
        text = "".join(request.pieces)
        return "completions", {"model": model, "prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
    messages = [{"role": "system", "content": request.system}] if request.system else []
    body = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": request.user}],
        "temperature": request.temperature,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
    }
    if request.kind == "choose" or request.logprobs:
        body |= {"logprobs": True, "top_logprobs": 20}
    if request.schema:
        named = {"name": "answer", "strict": True, "schema": json.loads(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return "chat/completions", body


def _read(response: http.client.HTTPResponse, deadline: float) -> str:
    """The timeout of a socket is between two bytes; this one is for all of them."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline or size > _LARGEST_RESPONSE:
            raise TimeoutError
    return b"".join(parts).decode("utf-8", errors="replace")


def _asked_wait_s(error: urllib.error.HTTPError) -> float | None:
    """Retry-After: seconds or a date."""
    asked = error.headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return None
