"""A dictionary speaks model units, keeps its record, and survives its folder."""

import json
import pathlib
import re

import pytest
import torch

import sae

D, WIDTH = 6, 10


def rows_with_a_large_mean(n_rows=200):
    generator = torch.Generator().manual_seed(3)
    return 0.02 * torch.randn(n_rows, D, generator=generator) + torch.tensor([50.0, -3.0, 0.0, 0.0, 1.0, 7.0])


def trained(dtype=torch.float64, config=None):
    x = rows_with_a_large_mean().to(dtype)
    scaling = sae.Scaling.from_rows(x)
    z = scaling.apply(x)
    ensemble = sae.Ensemble.create(
        sae.ReLU(),
        [{"l1": 0.1}, {"l1": 0.5, "seed": 7, "lr": 0.01}],
        d=D,
        width=WIDTH,
        sample=z,
        share=0.1,
        dtype=dtype,
    )
    list(sae.fit(ensemble, [z] * 30, steps=30))
    return ensemble, scaling, ensemble.dictionary(1, scaling=scaling, config=config)


def test_a_dictionary_gives_in_model_units_what_training_gave_in_its_own():
    ensemble, scaling, dictionary = trained()
    x = rows_with_a_large_mean().double()
    params = {name: p[1] for name, p in ensemble.params.items()}
    codes = sae.ReLU().encode(params, scaling.apply(x), {})
    answer = sae.ReLU().decode(params, codes, {}) / scaling.scale + scaling.center.double()
    torch.testing.assert_close(dictionary.decode(dictionary.encode(x)), answer)
    norm = params["W_dec"].norm(dim=1)
    torch.testing.assert_close(dictionary.encode(x), codes * norm / scaling.scale)
    assert codes.any()


def test_directions_have_length_one_and_decoding_is_codes_times_directions_plus_a_bias():
    _, _, dictionary = trained()
    torch.testing.assert_close(dictionary.directions.norm(dim=1), torch.ones(WIDTH, dtype=torch.float64))
    codes = torch.rand(4, WIDTH, dtype=torch.float64)
    bias = dictionary.decode(torch.zeros(1, WIDTH, dtype=torch.float64))
    torch.testing.assert_close(dictionary.decode(codes), codes @ dictionary.directions + bias)


def test_rows_of_any_leading_shape_and_narrow_dtype_are_encoded():
    _, _, dictionary = trained(torch.float32)
    x = rows_with_a_large_mean(6)
    assert torch.allclose(dictionary.encode(x.view(2, 3, D)).view(6, WIDTH), dictionary.encode(x), atol=1e-5)
    assert dictionary.encode(x.bfloat16()).dtype == torch.float32
    with pytest.raises(ValueError, match="rows must have width 6, not 5"):
        dictionary.encode(x[:, :5])


def test_a_feature_without_a_direction_stays_silent():
    params = {"W_enc": torch.eye(2), "b_enc": torch.zeros(2), "W_dec": torch.eye(2), "b_dec": torch.zeros(2)}
    params["W_dec"][1] = 0
    folded = sae.ReLU().fold(params, sae.Scaling.identity(2), sae.Scaling.identity(2))
    assert folded["W_dec"].tolist() == [[1, 0], [0, 0]]
    assert sae.ReLU().encode(folded, torch.ones(1, 2), {}).tolist() == [[1, 0]]


def test_a_saved_dictionary_loads_with_the_same_bits_and_its_record(tmp_path):
    _, scaling, dictionary = trained(config={"hook": "blocks.9.hook_resid_post", "store": {"fingerprint": "ab"}})
    dictionary.save(tmp_path / "members" / "001")
    loaded = sae.load(tmp_path / "members" / "001")
    x = rows_with_a_large_mean()
    assert torch.equal(loaded.encode(x), dictionary.encode(x))
    assert torch.equal(loaded.decode(loaded.encode(x)), dictionary.decode(dictionary.encode(x)))
    assert loaded.config == dictionary.config
    assert loaded.config["hook"] == "blocks.9.hook_resid_post"
    assert loaded.config["store"] == {"fingerprint": "ab"}
    assert loaded.config["hyper"] == {"l1": 0.5}
    assert loaded.config["training"] == {"seed": 7, "lr": 0.01, "clip": None, "steps": 30, "rows": 6000}
    assert (loaded.config["d"], loaded.config["n"], loaded.config["dtype"]) == (D, WIDTH, "float64")
    assert loaded.scaling.scale == scaling.scale
    assert torch.equal(loaded.scaling.center, scaling.center.double())
    assert sorted(p.name for p in (tmp_path / "members" / "001").iterdir()) == ["config.json", "dictionary.safetensors"]


def test_the_documented_recipe_reads_a_folder_without_this_package(tmp_path, monkeypatch):
    _, _, dictionary = trained(torch.float32)
    dictionary.save(tmp_path / "actpipe-out/sae/members/000")
    page = pathlib.Path(__file__).parent.parent / "docs/reference/dictionary-format.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"x": rows_with_a_large_mean()}
    exec(snippet, names)
    assert torch.allclose(names["codes"], dictionary.encode(names["x"]), atol=1e-6)


def test_the_format_page_names_every_key_of_a_configuration():
    _, _, dictionary = trained()
    page = (pathlib.Path(__file__).parent.parent / "docs/reference/dictionary-format.md").read_text()
    assert [key for key in dictionary.config if f"`{key}`" not in page] == []


def test_a_caller_cannot_overwrite_what_the_dictionary_answers_for():
    with pytest.raises(ValueError, match="sets architecture itself"):
        trained(config={"architecture": "mine"})


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no finished dictionary"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is missing or damaged"),
        (lambda folder: (folder / "dictionary.safetensors").unlink(), "dictionary.safetensors is missing or damaged"),
        (lambda folder: edit_config(folder, architecture="gelu"), "no architecture 'gelu'; known: .*relu"),
        (lambda folder: edit_config(folder, format="sae"), "is not an actpipe-dictionary"),
        (lambda folder: edit_config(folder, version=2), "version 2; this actpipe reads version 1"),
        (lambda folder: edit_config(folder, n=11), r"tensor 'W_enc' has shape \[10, 6\], not \[11, 6\]"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, damage, sentence):
    trained()[2].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        sae.load(tmp_path)
