"""Columns without which the page cannot be written, of each table of a report that is there."""

from __future__ import annotations

from collections.abc import Mapping

_UNIT = ("member", "feature", "sign")
_WINDOW = (*_UNIT, "document", "tokens", "activations", "peak")
_INTERVAL = ("metric", "value", "low", "high")

NEEDED: Mapping[str, tuple[str, ...]] = {
    "members": (
        *("member", "hook", "architecture", "width", "units", "seed"),
        *("l0", "fvu", "dead", "delta_ce", "loss_recovered"),
        *("alive_units", "dead_units", "dense_units", "token_units", "median_token_r2", "random_token_r2"),
    ),
    "units": (
        *_UNIT,
        *("alive", "count", "density", "std_active", "skew_active", "kurtosis_active", "max", "distinct_tokens"),
        *("token_entropy", "purity", "specificity", "token_r2"),
        *("top_tokens", "top_token_share"),
        *("top_logit_tokens", "top_logits", "bottom_logit_tokens", "bottom_logits"),
    ),
    "controls": ("member", "control", "unit", "density", "token_entropy", "token_r2"),
    "examples": (*_WINDOW, "rank"),
    "samples": (*_WINDOW, "stratum"),
    "histograms": (*_UNIT, "bins"),
    "positions": (*_UNIT, "bins"),
    "neighbours": (*_UNIT, "kind", "rank", "other_feature", "other_sign", "value"),
    "interference": (*_UNIT, "lowest", "recall"),
    "scores": (*_UNIT, "control", "metric", "value"),
    "means": (
        *("member", "level", "metric", "weighting", "stratum", "mean", "low", "high", "n", "undefined", "seeds"),
        *("few_seeds", "control", "control_mean", "delta", "delta_low", "delta_high", "verdict"),
    ),
    "explanations": (*_UNIT, "source", "text", "rule"),
    "concepts": (*_UNIT, "rank", "concept", "f1_std"),
    "effects": (*_UNIT, *_INTERVAL),
    "judgements": (*_UNIT, "protocol", "judge", "source", "control", *_INTERVAL, "exam_grade", "certified"),
    "seeds": (*_UNIT, "seeds", "by_direction", "by_direction_chance", "seeds_by_function"),
    "seed_matches": (*_UNIT, "other", "other_feature", "other_sign", "by", "cosine"),
    "seed_pairs": (
        *("member", "other", "mmcs_forward", "functional_forward", "chance_forward", "functional_chance_forward"),
        *("mcc", "mcc_chance", "shared_share", "shared_chance", "functional_shared", "functional_shared_chance"),
    ),
}
