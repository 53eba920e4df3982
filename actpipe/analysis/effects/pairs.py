"""Prompts and their counterfactuals: the same but for what the answer hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actpipe.harvest.model import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """P pairs, padded on the right to T tokens; a prompt and its counterfactual have the same length."""

    name: str
    tokens: Tensor  # [P, T]
    counterfactual: Tensor  # [P, T]
    last: Tensor  # [P], the row whose prediction is the answer
    right: Tensor  # [P, vocabulary] bool: answers to the prompt; those to the counterfactual are wrong here
    wrong: Tensor

    @property
    def used(self) -> Tensor:
        """[P, T]: rows that the answer can hang on."""
        return torch.arange(self.tokens.shape[1]) <= self.last[:, None]

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, chosen: slice) -> Pairs:
        return Pairs(
            name=self.name,
            tokens=self.tokens[chosen],
            counterfactual=self.counterfactual[chosen],
            last=self.last[chosen],
            right=self.right[chosen],
            wrong=self.wrong[chosen],
        )


def padded(
    name: str,
    prompts: Sequence[tuple[Sequence[int], Sequence[int]]],
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    vocabulary: int,
) -> Pairs:
    """`prompts`: (prompt, counterfactual) tokens; `answers`: tokens that are right for the one and for the other."""
    longest = max(len(prompt) for prompt, _ in prompts)
    tokens, counterfactual = (torch.zeros(len(prompts), longest, dtype=torch.int64) for _ in range(2))
    right, wrong = (torch.zeros(len(prompts), vocabulary, dtype=torch.bool) for _ in range(2))
    for i, (prompt, other) in enumerate(prompts):
        tokens[i, : len(prompt)], counterfactual[i, : len(prompt)] = torch.tensor(prompt), torch.tensor(other)
        right[i, list(answers[i][0])], wrong[i, list(answers[i][1])] = True, True
    last = torch.tensor([len(prompt) - 1 for prompt, _ in prompts])
    return Pairs(name=name, tokens=tokens, counterfactual=counterfactual, last=last, right=right, wrong=wrong)


def accuracy(model: LanguageModel, pairs: Pairs) -> float:
    """Share of prompts and counterfactuals after which the right answers are likelier than the wrong ones."""
    hits = 0
    for tokens, right, wrong in (
        (pairs.tokens, pairs.right, pairs.wrong),
        (pairs.counterfactual, pairs.wrong, pairs.right),
    ):
        with torch.inference_mode():
            logits = model.logits(model.inputs(tokens)).float().cpu()
        p = logits[torch.arange(len(tokens)), pairs.last].softmax(-1)[:, : right.shape[1]]
        hits += int(((p * right).sum(1) > (p * wrong).sum(1)).sum())
    return hits / (2 * len(pairs))
