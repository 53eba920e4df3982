"""A unit of a report and the texts on which it fires, as they show themselves in a terminal and in a notebook.

Token text is data: in HTML it is escaped, and isolated so that a mark of direction in it turns nothing but itself.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from .tables import Row


@dataclass(frozen=True)
class Window:
    """A stretch of text around the place where a unit fires most in a document."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int  # index into both
    document: int
    sequence: int  # row of the store = sequence · context + position
    position: int

    def __str__(self) -> str:
        """The text on one line, its strongest token between « »."""
        marked = [f"«{token}»" if i == self.peak else token for i, token in enumerate(self.tokens)]
        return "".join(marked).replace("\n", "⏎")

    def _repr_html_(self) -> str:
        """Each token the darker the more it fires; isolated, so that marks of direction cannot leave it."""
        top = max(self.activations) or 1.0
        spans = [
            f'<span style="unicode-bidi:isolate;background:rgba(217,115,31,{max(a, 0.0) / top:.2f})" title="{a:.3g}">'
            f"{html.escape(token)}</span>"
            for token, a in zip(self.tokens, self.activations, strict=True)
        ]
        return f'<div style="white-space:pre-wrap">{"".join(spans)}</div>'


@dataclass(frozen=True)
class Unit:
    """One feature, neuron or direction of a report."""

    member: str
    feature: int
    sign: int  # −1: the negative half of a feature whose codes may be negative
    activity: Row  # of units.parquet
    scores: dict[str, float | None]  # metric → value; None where it is not defined
    explanations: dict[str, str]  # who said it (rules, a judge) → text
    windows: list[Window]  # strongest first, one a document

    def __repr__(self) -> str:
        lines = [f"<Unit {self._name}, fires on {self.activity['density']:.2%} of tokens>"]
        lines += [f"  {source}: {text}" for source, text in self.explanations.items()]
        return "\n".join([*lines, *(f"  {window}" for window in self.windows[:5])])

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(who)}: {html.escape(text)}</li>" for who, text in self.explanations.items())
        shown = "".join(window._repr_html_() for window in self.windows[:10])
        head = f"{html.escape(self._name)}, fires on {self.activity['density']:.2%} of tokens"
        return f"<p><b>{head}</b></p><ul>{said}</ul>{shown}"

    @property
    def _name(self) -> str:
        return f"{self.member}/{self.feature}{'' if self.sign > 0 else '−'}"
