"""Packed text in temporary files, so that it takes no memory however much it is.

The arrays are read with ordinary reads and not mapped: mapped pages count as the process's own.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Failure

from .packing import Packed


class SpooledArray:
    """[sequences, context], growing; `array[start:stop]` reads those sequences."""

    def __init__(self, context: int, dtype: type[np.generic], folder: Path | None) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape: tuple[int, int] = (0, context)
        self.folder = folder or Path(tempfile.gettempdir())
        # Unbuffered: closing a buffer that did not fit on the disk would fail once more.
        self.file = cast(BinaryIO, tempfile.TemporaryFile(prefix="actpipe-text-", dir=folder, buffering=0))  # noqa: SIM115

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, sequences: slice) -> NDArray[Any]:
        start, stop, step = sequences.indices(len(self))
        if step != 1:
            raise ValueError(f"a spooled array is read in steps of 1, not {step}")
        values = np.empty((max(stop - start, 0), self.shape[1]), self.dtype)
        rest = memoryview(values.reshape(-1).view(np.uint8).data)
        at = start * self.shape[1] * self.dtype.itemsize
        while rest:
            read = os.preadv(self.file.fileno(), [rest], at)
            if not read:
                raise Failure("A temporary file of this run was cut short from outside. Run the same command again.")
            rest, at = rest[read:], at + read
        return values

    def append(self, values: NDArray[Any]) -> None:
        rest = memoryview(np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise Failure(f"The disk of {self.folder} is full with the tokens of the text. Make room there.") from error
        self.shape = (self.shape[0] + len(values), self.shape[1])


class Spool:
    """Tokens, doc and mask of a growing number of sequences; its files go when it is closed or the process ends."""

    def __init__(self, context: int, *, folder: Path | None = None) -> None:
        """`folder` should be on the disk of the store: a system's own temporary folder may be memory."""
        self.tokens, self.doc, self.mask = (
            SpooledArray(context, dtype, folder) for dtype in (np.int32, np.int32, np.bool_)
        )

    @property
    def sequences(self) -> int:
        return len(self.mask)

    def append(self, block: Packed) -> None:
        self.tokens.append(block.tokens)
        self.doc.append(block.doc)
        self.mask.append(block.mask)

    def close(self) -> None:
        for array in (self.tokens, self.doc, self.mask):
            array.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
