"""k-sparse probing: how well do a few units tell labelled texts apart, beside baselines on the same rows.

labelled.py   texts with labels: film reviews, a JSONL file, FactorLang
pooled.py     a model's rows and the units' codes, averaged over each text
probe.py      choose k units, fit, measure on held-out texts
"""

from .labelled import Labelled, labelled_factors, labelled_jsonl, labelled_reviews
from .probe import PROBES, probe

__all__ = ["PROBES", "Labelled", "labelled_factors", "labelled_jsonl", "labelled_reviews", "probe"]
