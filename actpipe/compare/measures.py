"""The metrics that arms are compared by."""

from __future__ import annotations

from actpipe.analysis.scores import SCORES, Metric

# One of each kind of score, named before any comparison was run, so that the family of claims stays small.
HEADLINE = ("rules_f1_std", "ms_c", "vendi_ratio", "concept_f1_std")


def metrics() -> list[Metric]:
    """Those with a better and a worse, headline ones first, in their order."""
    known = {metric.name: metric for score in SCORES.values() for metric in score.metrics if metric.better is not None}
    return [known[name] for name in HEADLINE] + [metric for name, metric in known.items() if name not in HEADLINE]


def role(metric: str) -> str:
    return "headline" if metric in HEADLINE else "secondary"
