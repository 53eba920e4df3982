"""The peers' side of `tests/bench/peer.py`: a line of JSON in, a line of JSON out."""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any


def serve(answer: Callable[..., Any]) -> None:
    """Answer `answer(**order)` for each line of standard input; whatever libraries print goes to standard error."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)
