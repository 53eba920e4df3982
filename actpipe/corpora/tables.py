"""Documents from one column of a Parquet or Arrow file, a batch of records at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.errors import Damaged, Misuse

if TYPE_CHECKING:
    import pyarrow

RECORDS_PER_BATCH = 1024


def parquet_documents(file: Path, text_field: str, called: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        # As it comes, pyarrow reads ahead all row groups, or at least a whole one; some are gigabytes.
        with parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as table:
            _require_text(table.schema_arrow, text_field, called)
            yield from _texts(table.iter_batches(RECORDS_PER_BATCH, columns=[text_field]), text_field, called)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise Damaged(f"{called} cannot be read as Parquet ({_first_line(error)}). Fetch or write it again.") from error


def arrow_documents(file: Path, text_field: str, called: str) -> Iterator[str]:
    import pyarrow

    try:
        with pyarrow.OSFile(str(file)) as source, pyarrow.ipc.open_stream(source) as table:
            _require_text(table.schema, text_field, called)
            yield from _texts(table, text_field, called)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise Damaged(f"{called} cannot be read as Arrow ({_first_line(error)}). Save the dataset again.") from error


def _require_text(schema: pyarrow.Schema, text_field: str, called: str) -> None:
    from pyarrow import types

    if text_field in schema.names:
        kind = schema.field(text_field).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
        if any(test(kind) for test in tests):
            return
        raise Misuse(f"{called} has {kind} in field {text_field!r}, not text. Give --text-field.")
    raise Misuse(f"{called} has no text in field {text_field!r} (it has {', '.join(schema.names)}). Give --text-field.")


def _texts(batches: Iterable[Any], text_field: str, called: str) -> Iterator[str]:
    number = 0
    for batch in batches:
        for value in batch.column(text_field):
            number += 1
            try:
                text = value.as_py()
                yield text.decode() if isinstance(text, bytes) else text or ""
            except UnicodeDecodeError as error:
                raise Misuse(
                    f"{called}, record {number} is not UTF-8 text ({error.reason}). Write the file again from UTF-8."
                ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
