"""Explanations that a program executes: JSON with a `kind`, run on the tokens or the text of a passage.

| kind      | fields                | a token fires where                                                  |
| lexicon   | words, [after]        | it holds a piece of one of the words in any case, right behind one   |
|           |                       | of `after` if given                                                  |
| pattern   | pattern, [flags: "i"] | it holds a piece of a match (of its group `fires`, if it has one)    |
| –         | as `rules` wrote it   | the rule list of n-grams says so (actpipe.analysis.scores.rule_json) |

`pattern` is for rules of our own: a hostile regular expression takes for ever, so none is accepted from a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Damaged, Misuse

from .questions import Passage

Values = NDArray[np.float64]
_LONGEST, _MOST = 40, 64  # letters of a word, words of a rule that a model may propose


class Execution(NamedTuple):
    """[tokens] each."""

    activation: Values  # predicted; of a rule without strengths 1 where it fires
    fires: NDArray[np.bool_]


def execute(rule: str, passage: Passage) -> Execution:
    content = json.loads(rule)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind is None:
        return _ngrams(rule, passage)
    if kind not in _KINDS:
        raise Misuse(f"A rule of the kind {kind!r} is not known; there are {', '.join(_KINDS)} and lists of n-grams.")
    found = _KINDS[kind](content, passage)
    return Execution(found, found > 0)


def lexicon_of(words: Any) -> str | None:
    """A rule as a model proposes it, if it is a list of plain words; else None."""
    if not _are_words(words) or not words:
        return None
    return json.dumps({"kind": "lexicon", "words": words}, ensure_ascii=False)


def _are_words(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) <= _MOST
    return is_list and all(isinstance(word, str) and 0 < len(word.strip()) <= _LONGEST for word in value)


def _lexicon(content: dict[str, Any], passage: Passage) -> Values:
    before = _any_of(content["after"]) + r"\s*" if content.get("after") else ""
    # The words alone are marked, not what stands before them.
    return _matches(re.compile(f"{before}(?P<fires>{_any_of(content['words'])})", re.IGNORECASE), passage)


def _any_of(words: list[str]) -> str:
    """Each between word boundaries where it begins or ends with a letter."""
    return "(?:" + "|".join(rf"(?<!\w){re.escape(w.strip())}(?!\w)" for w in words) + ")"


def _pattern(content: dict[str, Any], passage: Passage) -> Values:
    flags = re.IGNORECASE if "i" in content.get("flags", "") else re.NOFLAG
    return _matches(re.compile(content["pattern"], flags), passage)


def _matches(pattern: re.Pattern[str], passage: Passage) -> Values:
    ends = np.cumsum([len(text) for text in passage.texts])
    fires = np.zeros(len(ends))
    for match in pattern.finditer(passage.text):
        start, stop = match.span("fires" if "fires" in pattern.groupindex else 0)
        if stop > start:
            first, last = np.searchsorted(ends, [start, stop - 1], side="right")
            fires[first : last + 1] = 1.0
    return fires


def _ngrams(rule: str, passage: Passage) -> Execution:
    """A window does not show what stands before it: a rule that asks for that is silent on its first tokens."""
    from actpipe.analysis.scores.rule_json import RuleList

    try:
        found = RuleList.from_json(rule).predict(passage.tokens)
    except (KeyError, TypeError) as error:
        raise Damaged(f"A rule of the report cannot be read ({error!r}): {rule[:80]}") from error
    return Execution(found.activation, found.fires)


_KINDS: dict[str, Callable[[Any, Passage], Values]] = {"lexicon": _lexicon, "pattern": _pattern}
