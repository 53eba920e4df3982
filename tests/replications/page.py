"""A page of docs/replications: numbers in NAME.csv, from them the tables inside NAME.md and the figure NAME.svg.

A script of this folder says what is gathered and how it is shown; `python -m tests.replications.SCRIPT RUNS` gathers
what the commands of the page left in RUNS and writes all three; without RUNS tables and figure are made of the CSV.
A table stands between `<!-- table KEY -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import pandas as pd

FOLDER = Path(__file__).parents[2] / "docs" / "replications"
DIGITS = "%.5g"  # of a number in the CSV: more than any of them is sure of
SLOT = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Okabe and Ito's colours, told apart by colour-blind readers; dark enough on white.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]


@dataclass(frozen=True)
class Page:
    name: str
    gathered: Callable[[Path], pd.DataFrame]
    tables: Callable[[pd.DataFrame], Mapping[str, str]]
    figure: Callable[[pd.DataFrame], alt.VConcatChart | alt.HConcatChart]

    @property
    def numbers(self) -> pd.DataFrame:
        return pd.read_csv(FOLDER / f"{self.name}.csv")

    @property
    def text(self) -> str:
        return (FOLDER / f"{self.name}.md").read_text(encoding="utf-8")

    @property
    def svg(self) -> str:
        return (FOLDER / f"{self.name}.svg").read_text(encoding="utf-8")

    def command(self, about: str | None) -> None:
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("runs", type=Path, nargs="?", help="folder in which the commands of the page have run")
        runs = parser.parse_args().runs
        if runs is not None:
            self.gathered(runs).to_csv(FOLDER / f"{self.name}.csv", index=False, float_format=DIGITS)
        page, numbers = FOLDER / f"{self.name}.md", self.numbers
        page.write_text(filled(self.text, self.tables(numbers)), encoding="utf-8")
        (FOLDER / f"{self.name}.svg").write_text(drawn(self.figure(numbers)), encoding="utf-8")


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The page with its tables made anew; a slot without a table, or a table without a slot, is an error."""
    slots = [key for _, key, _ in SLOT.findall(text)]
    if sorted(slots) != sorted(tables):
        raise ValueError(f"the page has slots for the tables {slots} and there are {list(tables)}")
    return SLOT.sub(lambda slot: f"{slot[1]}{tables[slot[2]]}\n{slot[3]}", text)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def drawn(figure: alt.VConcatChart | alt.HConcatChart) -> str:
    """SVG on white, so that it can be read on a dark page; the same bytes from the same numbers."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(figure.configure(background="white").to_json())
    return svg


def marks(svg: str) -> list[str]:
    """What the marks of a figure say of themselves: its numbers in words, whatever their places."""
    return sorted(re.findall(r'aria-label="([^"]+)"', svg))
