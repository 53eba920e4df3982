"""The indirect object (Wang et al. 2211.00593), the task of figure 3 of Cunningham et al. 2309.08600.

    When Mary and John went to the shop, John gave a drink to | Mary
    When Mary and John went to the shop, Mary gave a drink to | John

Only the second subject differs; prompt and counterfactual have as many tokens because all names are one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actpipe.errors import Misuse

from .pairs import Pairs, padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NAMES = (
    "Mary", "John", "Tom", "James", "Dan", "Sarah", "Anna", "Peter", "Paul", "David", "Robert", "Alice", "Emma",
    "Jack", "Mark", "Laura", "Kevin", "Simon", "Lisa", "George",
)  # fmt: skip
PLACES = ("shop", "park", "school", "station", "office", "garden", "house", "restaurant")
THINGS = ("drink", "book", "ring", "letter", "key", "ball", "gift", "map")
TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {thing} to",
    "After {a} and {b} arrived at the {place}, {s} handed a {thing} to",
    "While {a} and {b} were at the {place}, {s} decided to give a {thing} to",
)


def indirect_object_pairs(tokenizer: PreTrainedTokenizerFast, n: int, *, vocabulary: int, seed: int = 0) -> Pairs:
    random = np.random.default_rng(seed)
    names = {name: encoded[0] for name in NAMES if len(encoded := _encoded(tokenizer, f" {name}")) == 1}
    if len(names) < 4:
        raise Misuse("This tokenizer splits English names, so the task of the indirect object cannot be posed with it.")
    prompts, answers = [], []
    for _ in range(n):
        a, b = random.permutation(list(names))[:2]
        blanks = {"a": a, "b": b, "place": random.choice(PLACES), "thing": random.choice(THINGS)}
        template = str(random.choice(TEMPLATES))
        # The first name of a text has no space before it; such tokens differ, so every prompt begins with a word.
        one, other = (_encoded(tokenizer, template.format(**blanks, s=s)) for s in (b, a))
        prompts.append((one, other))
        answers.append(([names[a]], [names[b]]))
    return padded("indirect object", prompts, answers, vocabulary=vocabulary)


def _encoded(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return found
