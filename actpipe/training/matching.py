"""How much of each dictionary is found in the others, beside what chance gives: matching.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise
from typing import Any

from torch import Tensor

import sae
from actpipe.progress import Progress
from sae.matching import above_chance, chance_matched, chance_mmcs, match, mmcs

from .run_folder import RunFolder, finite

FORMAT, VERSION = "actpipe-matching", 1
THRESHOLD = 0.9  # a pair with a larger cosine counts as the same direction
# Cosines n · m · d and assignments n³ grow fast: pairs beyond these budgets are left out, the most telling ones last.
COSINES = 2e12  # multiplications; a minute of one core
ASSIGNMENTS = 1e12  # n³ summed over pairs; half a minute of one core (3 s at n 4608)

Entry = dict[str, Any]


def compared(run: RunFolder, members: Sequence[Entry], progress: Progress) -> Entry:
    """Pairs of members of one hook, from their saved directions."""
    pairs = list(ordered_pairs(members))
    chosen = list(_affordable(pairs))
    found = []
    with progress.bar("Matching dictionaries", len(chosen), "pairs") as bar:
        for (one, other), assigned in chosen:
            directions = [sae.load(run.path / entry["path"]).directions for entry in (one, other)]
            # Codes of baselines such as PCA have both signs: a direction and its opposite are the same.
            absolute = any(issubclass(sae.get_architecture(e["architecture"]), sae.Fitted) for e in (one, other))
            found.append(
                {"a": one["path"], "b": other["path"], **_comparison(directions[0], directions[1], absolute, assigned)}
            )
            bar.advance(1)
    return {
        "format": FORMAT,
        "version": VERSION,
        "threshold": THRESHOLD,
        "pairs": found,
        "pairs_left_out": len(pairs) - len(chosen),
    }


def ordered_pairs(members: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Each pair with rows in common once: first those that differ in the seed alone, then neighbours of a grid."""
    by_rows: dict[Any, list[Entry]] = {}
    for member in members:
        if not member["diverged"]:
            by_rows.setdefault((member["hook"], member["target_hook"]), []).append(member)
    pairs = [pair for alike in by_rows.values() for pair in combinations(alike, 2)]
    neighbours = {(a["path"], b["path"]) for alike in by_rows.values() for a, b in pairwise(alike)}

    def rank(pair: tuple[Entry, Entry]) -> int:
        if _but_for_the_seed(pair[0]) == _but_for_the_seed(pair[1]):
            return 0
        return 1 if (pair[0]["path"], pair[1]["path"]) in neighbours else 2

    yield from sorted(pairs, key=rank)


def _but_for_the_seed(entry: Entry) -> list[Any]:
    return [entry[key] for key in ("architecture", "width", "hyper", "fixed", "lr")]


def _affordable(pairs: Sequence[tuple[Entry, Entry]]) -> Iterator[tuple[tuple[Entry, Entry], bool]]:
    """The pairs within the budget, and whether each is matched one to one."""
    cosines, assignments = COSINES, ASSIGNMENTS
    for one, other in pairs:
        n, m = one["width"], other["width"]
        cosines -= 2.0 * n * m * one["out"]
        if cosines < 0:
            return
        cost = float(min(n, m)) ** 2 * max(n, m)
        assigned = cost <= assignments
        assignments -= cost if assigned else 0.0
        yield (one, other), assigned


def _comparison(one: Tensor, other: Tensor, absolute: bool, assigned: bool) -> Entry:
    d = one.shape[1]
    forward, backward = mmcs(one, other, absolute=absolute), mmcs(other, one, absolute=absolute)
    chance_forward = chance_mmcs(len(other), d, absolute=absolute)
    chance_backward = chance_mmcs(len(one), d, absolute=absolute)
    numbers = {
        "forward": forward,
        "backward": backward,
        "chance_forward": chance_forward,
        "chance_backward": chance_backward,
        "forward_above_chance": above_chance(forward, chance_forward),
        "backward_above_chance": above_chance(backward, chance_backward),
        "matched": None,
        "chance_matched": None,
        "matched_above_chance": None,
        "share_matched": None,
    }
    if assigned:
        matching = match(one, other, absolute=absolute)
        chance = _chance_matched(len(one), len(other), d, absolute)
        numbers |= {
            "matched": matching.mean,
            "chance_matched": chance,
            "matched_above_chance": above_chance(matching.mean, chance),
            "share_matched": matching.share_above(THRESHOLD),
        }
    return {"absolute": absolute, **{key: finite(value) for key, value in numbers.items()}}


@cache
def _chance_matched(n: int, m: int, d: int, absolute: bool) -> float:
    """Once for all pairs of these widths, because it costs as much as matching one."""
    return chance_matched(n, m, d, absolute=absolute)
