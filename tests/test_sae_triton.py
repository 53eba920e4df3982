"""The Triton coder: its kernels in Triton's interpreter, compiled without a GPU, and on one; and what is said without.

The comparisons with `Dense` are in tests/triton_kernels.py, which runs in a process of its own.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sae.gates import ReLU
from sae.sparse.triton_coder import Triton

ROOT = Path(__file__).parent.parent
WITHOUT = "the package triton is not installed: pip install 'actpipe[gpu]'"


def kernels_pass(environment: dict[str, str]) -> None:
    """Run tests/triton_kernels.py in a process with that environment."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | environment
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/triton_kernels.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout
    assert " skipped" not in ran.stdout


@pytest.mark.timeout(900)  # 58 tests together, each of which has its own
def test_the_kernels_are_as_dense_in_the_interpreter() -> None:
    triton = pytest.importorskip("triton", reason=WITHOUT)
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip(f"the interpreter of triton {triton.__version__} fails with numpy 2.4; 3.7 does not")
    kernels_pass({"TRITON_INTERPRET": "1"})


@pytest.mark.gpu
def test_the_compiled_kernels_are_as_dense() -> None:
    pytest.importorskip("triton", reason=WITHOUT)
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here, and compiled kernels need one")
    kernels_pass({})


# Types of the arguments of all kernels; what is not here is a constant of the compilation.
TYPES = {
    **dict.fromkeys(("bias", "threshold", "bandwidth", "values_out", "out", "weight"), "*fp32"),
    **dict.fromkeys(("counts", "starts", "columns_out", "index", "i", "j", "bounds"), "*i64"),
    **dict.fromkeys(("n_rows", "n", "width", "n_entries"), "i32"),
    "only": "*i8",
    "limits": "*i32",
    "best": "*i16",
}
READ = ("product", "source", "left", "right")  # float32 or bfloat16


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("read", ["fp32", "bf16"])
def test_the_kernels_compile_for_a_gpu_without_one(
    read: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton", reason=WITHOUT)
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: kernels are interpreted and not compiled")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sae.sparse import triton_kernels as kernels

    flags: list[dict[str, Any]] = [{"ONLY": only, "JUMP": jump} for only in (False, True) for jump in (False, True)]
    cases = [(kernel, {**both, "BLOCK": 1024}) for kernel in (kernels.count, kernels.fill) for both in flags]
    cases += [(kernels.lane_maxima, {"ONLY": True, "LANES": 512})]
    cases += [(kernel, {"BLOCK": 256, "ENTRIES": 16}) for kernel in (kernels.segment_sums, kernels.row_dots)]
    for kernel, constants in cases:
        types = {name: f"*{read}" if name in READ else TYPES.get(name, "constexpr") for name in kernel.arg_names}
        source = ASTSource(kernel, types, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(kernels.LAUNCH))
        assert f".target sm_{capability}" in compiled.asm["ptx"]


def test_sae_is_imported_without_triton_and_says_what_is_missing() -> None:
    program = """
        import sys
        sys.modules["triton"] = None
        import sae
        from sae.sparse.triton_coder import Triton
        try:
            Triton()
        except ValueError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", inspect.cleandoc(program)], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "the coder 'triton' needs the package triton; install it with: pip install 'actpipe[gpu]'\n"


def test_rows_on_a_cpu_are_refused() -> None:
    triton = pytest.importorskip("triton", reason=WITHOUT)
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: the CPU is where kernels are interpreted")
    with pytest.raises(ValueError, match="computes on a GPU, and the rows are on cpu; use 'sparse' there"):
        Triton()(torch.ones(2, 3), torch.ones(4, 3), torch.zeros(4), torch.ones(4, 3), ReLU())
