"""A chat endpoint on the loopback interface for tests: it answers rightly, stalls, errs and lies, as it is told to."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from actpipe.analysis.judges.exam_text import PLANTED
from actpipe.analysis.judges.exam_unit import Meaning

Body = dict[str, Any]
MEANINGS: dict[str, Meaning] = {
    text: meaning
    for unit in PLANTED
    for text, meaning in (
        (unit.exact.text, unit.exact),
        (unit.paraphrase, unit.exact),
        (unit.broad.text, unit.broad),
        (unit.narrow.text, unit.narrow),
    )
}
_STRING = r'"(?:[^"\\]|\\.)*"'


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stall_s: float = 0.0
    drip_s: float = 0.0  # between the bytes of the body


@dataclass
class JudgeServer:
    """`trouble(n, body)`: what to answer the n-th request with, from 0; None: the right answer."""

    url: str = ""
    trouble: Callable[[int, Body], Response | None] = lambda n, body: None
    logprobs: bool = True
    schema: bool = True
    echo: bool = True
    requests: list[tuple[str, Body, dict[str, str]]] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, body: Body, headers: dict[str, str]) -> Response:
        with self._lock:
            number = len(self.requests)
            self.requests.append((path, body, headers))
        return self.trouble(number, body) or self._right(path, body)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def _right(self, path: str, body: Body) -> Response:
        if path.endswith("/completions") and not path.endswith("/chat/completions"):
            return completion(body) if self.echo else Response(404, b"no such path")
        user = body["messages"][-1]["content"]
        if body.get("logprobs") and not self.logprobs:
            return Response(400, b"logprobs are not supported")
        if "response_format" in body and not self.schema:
            return Response(400, b"response_format is not supported")
        if "response_format" in body and user == "Say hello.":
            return chat(body, json.dumps({"labels": [0, 0, 0]}))
        return chat(body, said(user))


def said(user: str) -> str:
    """What a judge says that knows what the planted explanations mean."""
    if "Answer with the digit 1" in user:
        return "1"
    if user.startswith("Texts on which one unit fires"):
        return explained(user)
    if "Which text does not belong" in user:
        return "1"
    explanation = re.findall(rf"^The unit is explained so: ({_STRING})$", user, re.MULTILINE)
    if not explanation:
        return "Hello."
    texts = [json.loads(text) for text in re.findall(rf"^Text(?: \w+)?: ({_STRING})$", user, re.MULTILINE)]
    meaning = MEANINGS.get(json.loads(explanation[0]))
    holds = [_holds(meaning, text) for text in texts]
    if "Answer A or B" in user:
        return "A" if holds[0] else "B"
    if '"labels"' in user:
        return json.dumps({"labels": [int(h) for h in holds]})
    if '"activations"' in user:
        tokens = json.loads(re.findall(r"^Tokens of a text: (\[.*\])$", user, re.MULTILINE)[0])
        return json.dumps({"activations": activations(meaning, tokens)})
    return str(int(holds[0]))


def _holds(meaning: Meaning | None, text: str) -> bool:
    """Of the marked part alone, where there is one, with what stands before it."""
    if meaning is None:
        return False
    marked = re.findall(r"<<(.*?)>>", text)
    return any(meaning.holds(part) for part in marked) if marked else meaning.holds(text)


def activations(meaning: Meaning | None, tokens: list[str]) -> list[int]:
    from actpipe.analysis.judges.machine_rules import execute
    from actpipe.analysis.judges.questions import Passage

    if meaning is None or meaning.explanation.rule is None:
        return [0] * len(tokens)
    fires = execute(meaning.explanation.rule, Passage(tuple(range(len(tokens))), tuple(tokens))).fires
    return [10 * int(f) for f in fires]


def explained(user: str) -> str:
    """The planted unit whose rule holds of all that it fires on and of nothing else."""
    fires, silent = (user + "\nSimilar texts on which it is silent:").split("\nSimilar texts on which it is silent:")[
        :2
    ]
    on, off = ([_plain(t) for t in re.findall(rf"^- ({_STRING})$", part, re.MULTILINE)] for part in (fires, silent))
    wrong = [sum(not u.exact.holds(t) for t in on) + sum(u.exact.holds(t) for t in off) for u in PLANTED]
    return json.dumps({"explanation": PLANTED[wrong.index(min(wrong))].exact.text, "words": []})


def _plain(quoted: str) -> str:
    return str(json.loads(quoted)).replace("<<", "").replace(">>", "")


def chat(body: Body, text: str, *, sure: float = 0.98, usage: Any = None) -> Response:
    """With log probabilities of the first token if they are asked for."""
    choice: Body = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if body.get("logprobs"):
        other = {"0": "1", "1": "0", "A": "B", "B": "A"}.get(text, "?")
        top = [{"token": text[:1], "logprob": math.log(sure)}, {"token": other, "logprob": math.log(1 - sure)}]
        choice["logprobs"] = {"content": [{"token": text[:1], "logprob": math.log(sure), "top_logprobs": top}]}
    count = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": max(1, len(text) // 4)}
    return Response(body=json.dumps({"choices": [choice], "usage": usage or count}).encode())


def completion(body: Body) -> Response:
    """Every word costs 5 nats, or 1 if it has stood before."""
    words = re.findall(r"\s*\S+", body["prompt"])
    offsets = [sum(map(len, words[:i])) for i in range(len(words))]
    seen = [any(w.strip() == v.strip() for v in words[:i]) for i, w in enumerate(words)]
    found = {
        "tokens": words,
        "token_logprobs": [None, *(-1.0 if s else -5.0 for s in seen[1:])],
        "text_offset": offsets,
    }
    usage = {"prompt_tokens": len(words), "completion_tokens": 1}
    return Response(
        body=json.dumps({"choices": [{"text": body["prompt"], "logprobs": found}], "usage": usage}).encode()
    )


@contextmanager
def judge_server(**how: Any) -> Iterator[JudgeServer]:
    server = JudgeServer(**how)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.counted():  # not while it is sent: whoever has read the last byte may ask again
                response = server.answer(self.path, body, dict(self.headers))
                server.closing.wait(response.stall_s)
            self._send(response)

        def _send(self, response: Response) -> None:
            try:
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                for byte in (response.body[i : i + 1] for i in range(len(response.body))) if response.drip_s else ():
                    self.wfile.write(byte)
                    self.wfile.flush()
                    if server.closing.wait(response.drip_s):
                        return
                if not response.drip_s:
                    self.wfile.write(response.body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the judge has hung up

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


def wait_until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
