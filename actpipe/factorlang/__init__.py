"""FactorLang: a language whose factors are known at every token, and with them the best possible cross-entropy.

generate.py   documents, each a pure function of a seed and its number
reading.py    what a reader of the words knows of their syntax, facts and sentences
bayes.py      the exact probability of every next word, by forward filtering
factors.py    the labels of every word, and which factor contains which
rows.py       the labels of the rows of a store
scores.py     units held against labels
"""

from __future__ import annotations

from .bayes import CrossEntropy, bayes_cross_entropy, predictions, surprisals
from .document import Document
from .factors import FACTORS, Factor, labels
from .generate import documents
from .language import VERSION, Language
from .rows import RowLabels, labels_of_store, token_words
from .tokenizer import word_tokenizer

__all__ = [
    "FACTORS",
    "VERSION",
    "CrossEntropy",
    "Document",
    "Factor",
    "Language",
    "RowLabels",
    "bayes_cross_entropy",
    "documents",
    "labels",
    "labels_of_store",
    "predictions",
    "surprisals",
    "token_words",
    "word_tokenizer",
]
