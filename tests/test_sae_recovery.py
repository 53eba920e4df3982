"""On rows made of known features, dictionaries find the features: the toy of systems with a known answer."""

import pytest
import torch

import sae


def recovery(mixture, *, width, l1s, steps, batch_size, lr=3e-3):
    """For each l1: how well the true directions are found, and the scores on rows never trained on."""
    generator = torch.Generator().manual_seed(1)
    scaling = sae.Scaling.from_rows(mixture.rows(20_000, generator))
    d = mixture.directions.shape[1]
    ensemble = sae.Ensemble.create(
        sae.ReLU(),
        [{"l1": l1, "lr": lr} for l1 in l1s],
        d=d,
        width=width,
        sample=scaling.apply(mixture.rows(4096, generator)),
        schedule=sae.Schedule.over(steps),
    )
    batches = (scaling.apply(mixture.rows(batch_size, generator)) for _ in range(steps))
    for _ in sae.fit(ensemble, batches, steps=steps):
        pass
    dictionaries = [ensemble.dictionary(i, scaling=scaling) for i in range(len(l1s))]
    scores = sae.evaluate(dictionaries, [mixture.rows(2000, generator) for _ in range(2)])
    return [sae.mmcs(mixture.directions, one.directions) for one in dictionaries], scores


def test_a_dictionary_recovers_the_features_of_a_mixture():
    mixture = sae.Mixture.create(d=32, n_features=64, n_active=3.0, seed=0)
    found, scores = recovery(mixture, width=128, l1s=(0.03, 2.0, 100.0), steps=400, batch_size=256)
    assert found[1] > 0.97
    assert found[1] > found[0] + 0.02  # too little pressure mixes features,
    assert scores[2].fvu > 0.9  # too much silences them
    assert scores[1].fvu < 0.2
    assert 1 < scores[1].l0 < 8  # 2.2 features are active on a row
    assert scores[0].l0 > scores[1].l0 > scores[2].l0


@pytest.mark.slow
def test_the_full_toy_is_recovered():
    mixture = sae.Mixture.create(d=256, n_features=512, n_active=5.0, seed=0)
    found, scores = recovery(mixture, width=512, l1s=(1.0, 3.0), steps=4000, batch_size=1024, lr=2e-3)
    assert max(found) > 0.9  # 0.95 at l1 = 1
    assert scores[0].fvu < 0.02
