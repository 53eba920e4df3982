"""A dictionary speaks model units, keeps its record, and survives its folder."""

import dataclasses
import json
import math
import pathlib
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

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


def test_a_gated_feature_without_a_direction_stays_silent_too():
    gated, zeros = sae.get_architecture("gated")(), torch.zeros(2)
    params = {"W_enc": torch.eye(2), "b_gate": zeros + 1, "b_mag": zeros + 1, "r_mag": zeros, "b_dec": zeros}
    folded = gated.fold(
        {**params, "W_dec": torch.diag(torch.tensor([2.0, 0.0]))}, sae.Scaling.identity(2), sae.Scaling.identity(2)
    )
    assert all(p.isfinite().all() for p in folded.values())  # else nobody reads what is exported
    assert gated.encode(folded, torch.ones(1, 2), {}).tolist() == [[4, 0]]


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


def trained_transcoder(name):
    """Rows of width 6 predict rows of width 4, each with a scale and a mean of its own."""
    x = rows_with_a_large_mean().double()
    y = 30 * x[:, 2:] + x[:, :4] - 100
    reads, predicts = sae.Scaling.from_rows(x), sae.Scaling.from_rows(y)
    architecture = sae.get_architecture(name)()
    how = {"d": D, "out": 4, "width": WIDTH, "sample": reads.apply(x), "share": 0.1, "dtype": torch.float64}
    ensemble = sae.Ensemble.create(architecture, [{"l1": 0.1, "lr": 0.01}, {"l1": 0.1, "width": 7}], **how)
    pairs = [(reads.apply(x), predicts.apply(y))] * 40
    reports = list(sae.fit(ensemble, pairs, steps=40))
    assert reports[-1].fvu[0] < reports[0].fvu[0]
    return ensemble, (x, reads), (y, predicts)


@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder"])
def test_a_transcoder_answers_in_the_units_of_what_it_predicts(tmp_path, name):
    ensemble, (x, reads), (_, predicts) = trained_transcoder(name)
    dictionary = ensemble.dictionary(0, scaling=reads, target=predicts)
    expected = predicts.undo(ensemble.architecture.reconstruct(ensemble.params_of(0), reads.apply(x), {}))
    torch.testing.assert_close(dictionary.reconstruct(x), expected)
    assert (dictionary.d, dictionary.n, dictionary.out) == (D, WIDTH, 4)
    dictionary.save(tmp_path)
    loaded = sae.load(tmp_path)
    assert torch.equal(loaded.reconstruct(x), dictionary.reconstruct(x))
    assert (loaded.d, loaded.n, loaded.out, loaded.config) == (D, WIDTH, 4, dictionary.config)
    assert loaded.target is not None
    assert loaded.target.scale == predicts.scale
    assert torch.equal(loaded.target.center, predicts.center.double())


def test_what_a_transcoder_predicts_has_a_scaling_and_nothing_else_has():
    ensemble, (_, reads), (_, predicts) = trained_transcoder("transcoder")
    with pytest.raises(ValueError, match="give the scaling of these as the target"):
        sae.Dictionary.trained(
            ensemble.architecture, ensemble.params_of(0), hyper=ensemble.members[0].hyper, scaling=reads, config={}
        )
    with pytest.raises(ValueError, match="scaling is for rows of width 6, the dictionary for width 4"):
        ensemble.dictionary(0, scaling=reads, target=reads)
    with pytest.raises(ValueError, match="W_enc"):
        ensemble.dictionary(0, scaling=predicts, target=predicts)
    with pytest.raises(ValueError, match="predicts the rows it reads itself"):
        trained()[0].dictionary(0, scaling=reads, target=reads)
    with pytest.raises(ValueError, match="give them as the target"):
        ensemble.step(torch.zeros(3, D))
    with pytest.raises(ValueError, match=r"rows \[3, 4\]"):
        ensemble.step(torch.zeros(3, D), torch.zeros(3, D))
    with pytest.raises(ValueError, match="takes no target"):
        trained()[0].step(torch.zeros(3, D), torch.zeros(3, D))


def test_hooks_scaled_apart_come_back_in_their_own_units(tmp_path):
    x = rows_with_a_large_mean().double() * torch.tensor([1, 1, 1, 1, 100, 100])
    scaling = sae.Scaling.beside([sae.Scaling.from_rows(x[:, :4]), sae.Scaling.from_rows(x[:, 4:])]).to(torch.float64)
    architecture = sae.get_architecture("crosscoder")(blocks=(4, 2))
    ensemble = sae.Ensemble.create(
        architecture, [{"l1": 0.1}], d=D, width=WIDTH, sample=scaling.apply(x), share=0.1, dtype=torch.float64
    )
    list(sae.fit(ensemble, [scaling.apply(x)] * 20, steps=20))
    dictionary = ensemble.dictionary(0, scaling=scaling)
    expected = scaling.undo(architecture.reconstruct(ensemble.params_of(0), scaling.apply(x), {}))
    torch.testing.assert_close(dictionary.reconstruct(x), expected)
    dictionary.save(tmp_path)
    loaded = sae.load(tmp_path)
    assert torch.equal(loaded.reconstruct(x), dictionary.reconstruct(x))
    assert torch.equal(loaded.scaling.scale, scaling.scale)
    assert loaded.architecture == architecture
    assert loaded.config == dictionary.config


def test_features_beyond_the_width_of_a_member_are_cut_off(tmp_path):
    x = rows_with_a_large_mean().double()
    scaling = sae.Scaling.from_rows(x)
    ensemble = sae.Ensemble.create(sae.ReLU(), [{"width": 4}, {}], d=D, width=WIDTH, dtype=torch.float64)
    ensemble.step(scaling.apply(x))
    narrow = ensemble.dictionary(0, scaling=scaling)
    narrow.save(tmp_path)
    assert sae.load(tmp_path).n == 4
    assert sae.load(tmp_path).encode(x).shape == (200, 4)
    assert ensemble.dictionary(1, scaling=scaling).n == WIDTH


def test_a_folder_of_the_first_writers_is_still_read(tmp_path):
    _, _, dictionary = trained(torch.float32)
    dictionary.save(tmp_path)
    keys = {"format", "version", "architecture", "fixed", "hyper", "d", "n", "dtype", "scaling", "training"}
    assert set(json.loads((tmp_path / "config.json").read_text())) == keys  # as they wrote it: no out, no target
    assert sae.load(tmp_path).out == D


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
    """Change keys; None takes one away."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def cast(folder, dtype, *names):
    tensors = load_file(folder / "dictionary.safetensors")
    save_file(tensors | {name: tensors[name].to(dtype) for name in names or tensors}, folder / "dictionary.safetensors")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no finished dictionary"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is missing or damaged"),
        (lambda folder: (folder / "dictionary.safetensors").unlink(), "dictionary.safetensors is missing or damaged"),
        (lambda folder: edit_config(folder, architecture="gelu"), "no architecture 'gelu'; known: .*relu"),
        (lambda folder: edit_config(folder, format="sae"), "is not an actpipe-dictionary"),
        (lambda folder: edit_config(folder, version=2), "version 2; this actpipe reads version 1"),
        (lambda folder: edit_config(folder, architecture=None), "no dictionary that this actpipe wrote .*architecture"),
        (lambda folder: edit_config(folder, architecture=["relu"]), "no dictionary that this actpipe wrote"),
        (lambda folder: edit_config(folder, fixed={"x": 1}), "no dictionary that this actpipe wrote .*'x'"),
        (lambda folder: edit_config(folder, hyper={}), "no dictionary that this actpipe wrote .*l1"),
        (lambda folder: edit_config(folder, hyper=[]), "no dictionary that this actpipe wrote"),
        (lambda folder: edit_config(folder, hyper={"l1": "1"}), "has '1' for l1, which is no number"),
        (lambda folder: edit_config(folder, scaling={"scale": "1"}), "no dictionary that this actpipe wrote"),
        (lambda folder: cast(folder, torch.int32), "the numbers are torch.int32, which holds no parameters"),
        (lambda folder: cast(folder, torch.float16, "W_enc"), "'W_enc' is torch.float16, not torch.float64"),
        (lambda folder: edit_config(folder, n=11), r"tensor 'W_enc' has shape \[10, 6\], not \[11, 6\]"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, damage, sentence):
    trained()[2].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        sae.load(tmp_path)


@pytest.mark.parametrize("k", [0, 11, 2.5, -3, math.nan])
@pytest.mark.parametrize("name", ["topk", "transcoder", "skip_transcoder", "pca", "imported"])
def test_a_k_that_cannot_be_is_said_when_the_dictionary_is_loaded(tmp_path, name, k):
    cls = sae.get_architecture(name)
    fixed = {"gate": "topk"} if "gate" in {f.name for f in dataclasses.fields(cls)} else {}
    architecture = cls(**fixed, **({"k": 3} if name == "imported" else {}))
    n = D if name == "pca" else WIDTH
    shapes = architecture.shapes(sae.Size(D, n, D))
    params = {name: torch.nn.functional.normalize(torch.ones(shape), dim=-1) for name, shape in shapes.items()}
    identity = sae.Scaling.identity(D)
    target = identity if architecture.reads == "pair" else None
    hyper = architecture.hyper({"k": 3.0} if name != "imported" else {})
    sae.Dictionary.trained(architecture, params, hyper=hyper, scaling=identity, target=target, config={}).save(tmp_path)
    sae.load(tmp_path).encode(torch.zeros(2, D))
    config = json.loads((tmp_path / "config.json").read_text())
    config["fixed" if name == "imported" else "hyper"]["k"] = k
    (tmp_path / "config.json").write_text(json.dumps(config))
    if name == "pca" and k == 0:  # keeps all
        sae.load(tmp_path).encode(torch.zeros(2, D))
        return
    with pytest.raises(ValueError, match=r"cannot be used: k must be|has nan for k"):
        sae.load(tmp_path)
