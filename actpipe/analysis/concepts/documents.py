"""Family of the whole text: what kind it is, and which lists its words are from."""

from __future__ import annotations

from collections.abc import Callable

from .concept import Bools, Concept, RowConcept
from .reading import Reading

_TOPIC_SHARE, _TOPIC_WORDS = 0.03, 3  # of a text's tokens, and at least so many
_TOPICS = (
    *("film", "television", "music", "sports", "school", "war", "politics", "religion", "science", "computing"),
    *(
        "medicine",
        "money",
        "law",
        "violence",
        "family",
        "love",
        "food",
        "animals",
        "magic",
        "travel",
        "praise",
        "blame",
    ),
    "humour",
)


def _text(name: str, text: str, label: Callable[[Reading], Bools], *parents: str) -> Concept:
    return RowConcept(name=f"text/{name}", text=text, label=label, parents=parents)


def _about(name: str) -> Concept:
    def label(reading: Reading) -> Bools:
        words, share = reading.everywhere(reading.token(f"lexicon/{name}"))
        return (words >= _TOPIC_WORDS) & (share >= _TOPIC_SHARE)

    return RowConcept(name=f"topic/{name}", text=f"in a text with many words of lexicon/{name}", label=label)


def _share(name: str, least: float) -> Callable[[Reading], Bools]:
    return lambda reading: reading.everywhere(reading.token(name))[1] >= least


def _code(reading: Reading) -> Bools:
    marks = reading.occurrences("{}();=_[]<>") > 0
    return (reading.everywhere(marks)[1] >= 0.12) & (reading.everywhere(reading.token("punctuation/period"))[1] < 0.1)


def _quotes(reading: Reading) -> Bools:
    return reading.everywhere(reading.occurrences('"“') > 0)[1] >= 0.03


DOCUMENT: tuple[Concept, ...] = (
    _text("code", "in a text of program code, by its marks", _code),
    _text("dialogue", "in a text with many quotation marks", _quotes),
    _text("numbers", "in a text with many digits", _share("number/digits", 0.08)),
    _text("capitals", "in a text with many words in capitals", _share("case/all capitals", 0.05)),
    _text("questions", "in a text with many question marks", _share("punctuation/question", 0.02)),
    _text("exclamations", "in a text with many exclamation marks", _share("punctuation/exclamation", 0.02)),
    _text("first person", "in a text that says I, me, we, us often", _share("function/first person", 0.05)),
    _text("second person", "in a text that says you often", _share("function/second person", 0.03)),
    _text("names", "in a text with many words of one capital", _share("case/title", 0.2)),
    _text("lines", "in a text of many lines", _share("space/newline", 0.05)),
    _text("short", "in a text of fewer than 64 tokens here", lambda r: r.everywhere(r.index >= 0)[0] < 64),
    *(_about(name) for name in _TOPICS),
)
