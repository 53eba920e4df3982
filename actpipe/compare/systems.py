"""What a system is, measured on the text that all arms share: its loss, and how few units hold what it writes.

A system is what exposes the units: a sparse model by itself, or a dense one with a dictionary's answer in place of the
rows it describes, at one layer or at all of them at once (a model that is sparse by training is sparse everywhere).

    ce         nats a token. Of a model's own units its own loss, at every place; of a stream with masks that of the
               stream; of dictionaries with their answers in place
    l0_eff     fewest units whose contributions |a|·‖w‖ hold 95 % of a row's; of all layers the mean over layers
    residual   Σ ‖x − x̂‖², and variance Σ ‖x − x̄‖², of dictionaries: FVU = residual / variance

Sums stand by document, so that arms on one text are resampled together. D documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.effects.intervention import intervene, site_of
from actpipe.analysis.effects.text import Text, sequence_order, text_of
from actpipe.analysis.units import UnitSet
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.progress import Bar
from actpipe.sparsity.measures import measure, measures

SEQUENCES = 128  # of documents of SCORE
ALL = "all"  # the place of all layers together
_L0_EFF = [each.name for each in measures(())].index("l0_eff_95")
_LOGITS_AT_ONCE = 1 << 24  # 64 MiB
_ROWS_AT_ONCE = 2048
_PREDICTED_AT_ONCE = 256  # 4 MiB of logits of the shipped models

Floats = NDArray[np.float64]
Answer = Callable[[Tensor], Tensor]


class Sums(NamedTuple):
    """By document [D] each."""

    total: Floats
    rows: Floats


class Described(NamedTuple):
    """The units of one layer of one system."""

    units: UnitSet
    answer: Answer | None  # of a dictionary


Found = dict[tuple[str, str], Sums]  # (place, quantity) → sums


def shared_text(corpus: Corpus, seed: int) -> Text:
    """The same for every model that reads this text with this tokenizer."""
    return text_of(corpus, sequence_order(corpus, seed)[:SEQUENCES])


def measured_systems(
    model: LanguageModel, corpus: Corpus, text: Text, systems: Sequence[Mapping[str, Described]], bar: Bar
) -> list[Found]:
    """`systems`: by layer. `bar` advances by one for each of them."""
    found = []
    plain: dict[str, Sums] = {}
    for layers in systems:
        one: Found = {}
        for place, described in layers.items():
            one |= {(place, name): sums for name, sums in _rows(corpus, text, described).items()}
        one[ALL, "l0_eff"] = _added([one[place, "l0_eff"] for place in layers])
        one |= {(place, "ce"): sums for place, sums in _losses(model, corpus, text, layers, plain).items()}
        found.append(one)
        bar.advance(1)
    return found


def _losses(
    model: LanguageModel, corpus: Corpus, text: Text, layers: Mapping[str, Described], plain: dict[str, Sums]
) -> dict[str, Sums]:
    """`plain` keeps the model's own loss by stream, which systems share."""
    path = next(iter(layers.values())).units.path
    if path not in plain:
        plain[path] = _loss(model, corpus, text, path, [])
    if all(each.answer is None for each in layers.values()):
        return dict.fromkeys((*layers, ALL), plain[path])
    alone = {place: _loss(model, corpus, text, path, [each]) for place, each in layers.items()}
    return {**alone, ALL: _loss(model, corpus, text, path, list(layers.values()))}


def _loss(model: LanguageModel, corpus: Corpus, text: Text, path: str, replaced: Sequence[Described]) -> Sums:
    total, count = np.zeros((2, text.n_documents))
    mask = torch.from_numpy(corpus.store.mask[text.number])
    vocabulary: int = model.config.get_text_config().vocab_size
    at_once = max(1, _LOGITS_AT_ONCE // (text.tokens.shape[1] * vocabulary))
    for start in range(0, len(text.tokens), at_once):
        part, rows = text.part(start, start + at_once), mask[start : start + at_once]
        changes = [change for each in replaced for change in _changes(model, corpus, each, rows)]
        with torch.inference_mode():
            if path == "ablated":
                logits = model.module.network.ablated_logits(part.tokens.to(model.device))  # type: ignore[operator, union-attr]
            else:
                with intervene(model, changes) as read:
                    logits = read(part.tokens, part.attention)
            nats = _nats(logits, part)
        documents = part.documents[:, 1:][part.predicted_at].numpy()
        total += np.bincount(documents, nats.double().cpu().numpy(), minlength=len(total))
        count += np.bincount(documents, minlength=len(count))
    return Sums(total, count)


def _nats(logits: Tensor, part: Text) -> Tensor:
    """Of each predicted token. In pieces that stay in the cache of a core: half of the time of all at once."""
    flat = logits.flatten(0, 1)
    sequence, position = part.predicted_at.nonzero(as_tuple=True)
    places = (sequence * logits.shape[1] + position).to(logits.device)
    wanted = part.wanted.to(logits.device)
    pieces = zip(torch.split(places, _PREDICTED_AT_ONCE), torch.split(wanted, _PREDICTED_AT_ONCE), strict=True)
    return torch.cat([cross_entropy(flat[rows].float(), to, reduction="none") for rows, to in pieces])


def _changes(
    model: LanguageModel, corpus: Corpus, each: Described, rows: Tensor
) -> Iterator[tuple[Site, Callable[[Tensor], Tensor | None]]]:
    """Rows that count are replaced by what the dictionary says of those at the hook it reads; others stay."""
    read: dict[str, Tensor] = {}
    answer = each.answer
    if answer is None:
        return

    def see(x: Tensor) -> None:
        read["x"] = x[rows.to(x.device)].float()

    def replace(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[rows.to(x.device)] = answer(read["x"]).to(x.device, x.dtype)
        return changed

    yield site_of(model, corpus.store, each.units.hook), see
    yield site_of(model, corpus.store, each.units.writes), replace


def _rows(corpus: Corpus, text: Text, described: Described) -> dict[str, Sums]:
    """Numbers of the rows of one layer."""
    units, store = described.units, corpus.store
    norms = units.directions.detach().float().norm(dim=1)
    scored, documents = text.changed.reshape(-1), text.documents[text.changed].numpy()
    x = torch.cat([store.read(units.hook, s * store.context, (s + 1) * store.context) for s in text.number.tolist()])
    x = x[scored].float().to(norms.device)

    def by_document(values: Tensor) -> Floats:
        summed = np.bincount(documents, values.double().cpu().numpy(), minlength=text.n_documents)
        return np.asarray(summed, np.float64)

    ones = by_document(torch.ones(len(x)))
    with torch.inference_mode():
        pieces = [measure(units.codes(some), norms, ())[:, _L0_EFF] for some in torch.split(x, _ROWS_AT_ONCE)]
        found = {"l0_eff": Sums(by_document(torch.cat(pieces).nan_to_num()), ones)}
        if described.answer is not None:
            answers = torch.cat([described.answer(some) for some in torch.split(x, _ROWS_AT_ONCE)])
            wanted = _target(corpus, text, units, x, scored)
            found["residual"] = Sums(by_document((wanted - answers).square().sum(1)), ones)
            found["variance"] = Sums(by_document((wanted - wanted.mean(0)).square().sum(1)), ones)
    return found


def _target(corpus: Corpus, text: Text, units: UnitSet, x: Tensor, scored: Tensor) -> Tensor:
    if units.writes == units.hook:
        return x
    store = corpus.store
    rows = [store.read(units.writes, s * store.context, (s + 1) * store.context) for s in text.number.tolist()]
    return torch.cat(rows)[scored].float().to(x.device)


def _added(parts: Sequence[Sums]) -> Sums:
    return Sums(sum((each.total for each in parts), np.zeros(1)), sum((each.rows for each in parts), np.zeros(1)))
