"""What other libraries leave is read exactly: compared with their own formulas, computed apart from the reading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sae
from actpipe.convert import FORMATS
from actpipe.convert.stage import convert
from actpipe.convert.verification import TOLERANCE
from tests.foreign import FOREIGN


@pytest.fixture(params=FOREIGN, ids=lambda name: name.replace(" ", "-"))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, str]:
    name, make, architecture = FOREIGN[request.param]
    return name, make(tmp_path / "source"), architecture


def test_it_becomes_ours_and_both_say_the_same(case: tuple[str, Path, str], tmp_path: Path) -> None:
    name, source, architecture = case
    done = convert(source, tmp_path / "ours", verify=True)
    assert (done.source.name, done.target.name) == (name, "actpipe")
    compared = done.compared["random rows"]
    assert compared.l0 > 1
    assert max(compared.codes, compared.reconstructions) < TOLERANCE / 10
    assert compared.otherwise <= 1
    loaded = sae.load(tmp_path / "ours")
    assert loaded.config["architecture"] == architecture
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded.directions.norm(dim=1), torch.ones(loaded.n))
    assert loaded.config["source"]["format"] == name
    assert set(loaded.config["units"]) == {"rows", "codes"}


def test_exactly_one_format_recognises_it(case: tuple[str, Path, str]) -> None:
    name, source, _ = case
    assert [each.name for each in FORMATS if each.detect(source)] == [name]
