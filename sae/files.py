"""Safetensors files with one JSON object as metadata, whole or absent."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

METADATA_KEY = "actpipe"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then flush it to the disk and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    stored = _apart({name: t.detach().contiguous() for name, t in tensors.items()})
    # One key, because the order of several is not defined and the same state should give the same bytes.
    header = None if metadata is None else {METADATA_KEY: json.dumps(metadata, allow_nan=False)}
    write_atomically(path, lambda temporary: save_file(stored, temporary, metadata=header))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], Any]:
    """The tensors and the metadata object (None where the file has none)."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = (file.metadata() or {}).get(METADATA_KEY)
            # Cloned into torch's own memory: products on memory aligned otherwise may round differently, and a resumed
            # training must give the same bits.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, header and json.loads(header)
    except (SafetensorError, OSError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}); write it again") from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}); write it again") from error


def check_shapes(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless `tensors` holds exactly the expected names and shapes."""
    for name, shape in expected.items():
        if name not in tensors:
            raise ValueError(f"{path} lacks the tensor {name!r}; write it again")
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"in {path} the tensor {name!r} has shape {list(tensors[name].shape)}, not {list(shape)}")
    if unknown := sorted(set(tensors) - set(expected)):
        raise ValueError(f"{path} holds tensors that nothing reads: {', '.join(unknown)}")


def check_dtypes(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, torch.dtype]) -> None:
    for name, dtype in expected.items():
        if tensors[name].dtype != dtype:
            raise ValueError(f"in {path} the tensor {name!r} is {tensors[name].dtype}, not {dtype}")


def check_format(path: Path, header: Any, format: str, version: int) -> None:
    if not isinstance(header, dict) or header.get("format") != format:
        raise ValueError(f"{path} is not an {format}")
    if header.get("version") != version:
        raise ValueError(f"{path} is {format} version {header.get('version')}; this actpipe reads version {version}")


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory, as the scalings of a hook that is read and predicted do."""
    seen: set[int] = set()
    for name, t in tensors.items():
        memory = t.untyped_storage().data_ptr()
        if memory in seen:
            tensors[name] = t.clone()
        seen.add(memory)
    return tensors


def _flush(path: Path) -> None:
    """Make the bytes of a file, or a rename inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
