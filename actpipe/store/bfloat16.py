"""The Zarr v3 data type `bfloat16` for zarr-python, which has none; values are `ml_dtypes.bfloat16`.

The entry point `zarr.data_type` of this package points here. zarr-python 3.1.6 collects such entry points and never
loads them, so until that is mended a program that opens a store with zarr-python calls `register` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeGuard

import ml_dtypes
import numpy as np
from zarr.core.dtype.common import HasEndianness, HasItemSize
from zarr.dtype import DataTypeValidationError, ZDType, data_type_registry

NATIVE: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


# HasEndianness, because the codec `bytes` states an endianness for it and tensorstore insists on that.
@dataclass(frozen=True, kw_only=True)
class BFloat16(ZDType[Any, Any], HasEndianness, HasItemSize):
    """Upper half of an IEEE binary32."""

    dtype_cls: ClassVar[Any] = type(NATIVE)
    _zarr_v3_name: ClassVar[str] = "bfloat16"

    @property
    def item_size(self) -> int:
        return 2

    @classmethod
    def from_native_dtype(cls, dtype: Any) -> Self:
        if dtype != NATIVE:
            raise DataTypeValidationError(f"{dtype} is not bfloat16")
        return cls()

    def to_native_dtype(self) -> Any:
        if self.endianness != "little":
            raise DataTypeValidationError("bfloat16 is read in little-endian order only")
        return NATIVE

    @classmethod
    def _from_json_v2(cls, data: Any) -> Self:
        raise DataTypeValidationError("bfloat16 exists in Zarr v3 only")

    @classmethod
    def _from_json_v3(cls, data: Any) -> Self:
        if data != cls._zarr_v3_name:
            raise DataTypeValidationError(f"{data!r} is not bfloat16")
        return cls()

    def to_json(self, zarr_format: int) -> Any:
        if zarr_format != 3:
            raise ValueError("bfloat16 exists in Zarr v3 only")
        return self._zarr_v3_name

    def _check_scalar(self, data: object) -> TypeGuard[Any]:
        return isinstance(data, int | float | np.number | ml_dtypes.bfloat16)

    def cast_scalar(self, data: object) -> Any:
        if not self._check_scalar(data):
            raise TypeError(f"{data!r} is not a number")
        return ml_dtypes.bfloat16(data)

    def default_scalar(self) -> Any:
        return ml_dtypes.bfloat16(0)

    def from_json_scalar(self, data: Any, *, zarr_format: int) -> Any:
        if isinstance(data, str) and data.startswith("0x"):  # the spec's spelling of NaNs with a payload
            return np.uint16(int(data, 16)).view(NATIVE)
        return ml_dtypes.bfloat16(_WORDS.get(data, data) if isinstance(data, str) else data)

    def to_json_scalar(self, data: object, *, zarr_format: int) -> Any:
        value = float(self.cast_scalar(data))
        if np.isfinite(value):
            return value
        return "NaN" if np.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def register() -> None:
    """Make this zarr-python know bfloat16; does nothing the second time."""
    data_type_registry.register("bfloat16", BFloat16)
