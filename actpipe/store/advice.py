"""Sentences about a hook's rows, each only where something will hurt training, with the number and the remedy."""

from __future__ import annotations

from collections.abc import Iterator

from actpipe.quantities import readable_count

from .dtypes import largest
from .health import SINK_RATIO, Health, Sinks

# Heuristics, except for γ: latents begin to die of the mean at about γ = 1 (arXiv 2605.31518).
MUCH_MEAN = 1.0
MUCH_IN_A_CHANNEL = 0.5  # of the variance
MUCH_IN_SINKS = 0.01  # of Σ‖x‖²
LEADING = 8  # positions that are worth giving up in every sequence
FEW_DIRECTIONS = 0.01  # of the width
FEW_DOCUMENTS = 100
MANY_CONSTANT = 0.1  # of the channels
MANY_ZEROS = 0.01  # of the rows
NEAR_LIMIT = 0.25  # of the largest float16
MUCH_LOST = 0.01  # of the variance


def advice(health: Health) -> list[str]:
    """Empty for a hook on which nothing is known to go wrong."""
    return [*_text(health), *_mean(health), *_sinks(health), *_directions(health), *_dead(health), *_numbers(health)]


def _text(health: Health) -> Iterator[str]:
    if health.rows == 0 and not health.slabs:
        yield "No rows are there yet. Finish the harvest, or train without them: train-sae --from-model."
    elif health.rows == 0:
        yield "No row counts: there is nothing to train on. Harvest more, or with fewer --sink-positions."
    elif health.documents < FEW_DOCUMENTS:
        yield (
            f"The rows come from {health.documents} documents, so the held-out ones say little about other text. "
            "Harvest more text (--tokens, --dataset)."
        )


def _mean(health: Health) -> Iterator[str]:
    if health.gamma is not None and health.gamma > MUCH_MEAN:
        yield (
            f"The mean is {health.gamma:.3g} times as long as the spread (γ): without centring many latents would die. "
            "train-sae subtracts the mean; another trainer must be told to."
        )


def _sinks(health: Health) -> Iterator[str]:
    if health.sinks is None or health.sinks.energy < MUCH_IN_SINKS:
        return
    yield (
        f"{_rows(health.sinks.rows)} that count are more than {SINK_RATIO:g} times as long as the median row and hold "
        f"{health.sinks.energy:.1%} of Σ‖x‖², so they weigh that much in the loss. {_remedy(health.sinks)}"
    )


def _remedy(sinks: Sinks) -> str:
    leading = [position for position in sinks.positions if position < LEADING]
    if leading:
        last = max(leading)
        return f"Those at positions up to {last} go with `actpipe harvest --sink-positions {last + 1}`."
    return (
        "They are at no leading position, so --sink-positions does not reach them; leave them out with "
        "`store.batches(select=…)`, or choose another hook."
    )


def _directions(health: Health) -> Iterator[str]:
    if health.channels and (top := max(health.channels, key=lambda each: each.variance)).variance > MUCH_IN_A_CHANNEL:
        yield (
            f"Channel {top.channel} has {top.variance:.0%} of the variance, so an FVU says little about the other "
            f"{health.width - 1}. Judge dictionaries by the loss recovered."
        )
    elif health.spread is not None and health.spread.directions <= FEW_DIRECTIONS * health.width:
        yield (
            f"{health.spread.directions} of {health.width} directions hold 90 % of the variance, so an FVU says little "
            "about the others. Judge dictionaries by the loss recovered."
        )


def _dead(health: Health) -> Iterator[str]:
    if health.rows and health.constant_channels == health.width:
        yield "All rows are the same: there is nothing to learn. Choose another hook."
    elif health.constant_channels > MANY_CONSTANT * health.width:
        yield (
            f"{health.constant_channels} of {health.width} channels never change; dictionaries need no latents for "
            "them, so a smaller --expansion may do."
        )
    if health.norms is not None and health.norms.zeros > MANY_ZEROS * health.rows:
        yield (
            f"{_rows(health.norms.zeros)} that count are zero and teach nothing. Harvest another hook, or more tokens."
        )


def _numbers(health: Health) -> Iterator[str]:
    limit = largest("float16")
    if health.dtype == "float16" and health.reach is not None and health.reach > NEAR_LIMIT * limit:
        yield (
            f"The largest value is {health.reach:,.0f} and float16 ends at {limit:,.0f}: more text may not fit. "
            "Harvest with --dtype bfloat16."
        )
    if health.dtype == "int8" and health.spread is not None and health.spread.int8_loss > MUCH_LOST:
        yield (
            f"int8 loses about {health.spread.int8_loss:.1%} of the variance, which bounds every FVU from below. "
            "Harvest with --dtype bfloat16."
        )


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{readable_count(n)} rows"
