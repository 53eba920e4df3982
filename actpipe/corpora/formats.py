"""One file → its documents, by its suffix: text, JSON Lines, Parquet, or the first two packed by gzip or xz.

A text file's documents are its paragraphs (separated by blank lines), because one file is often one book or one dump. A
JSON Lines or Parquet file's documents are the values of its text field: one a record, empty where the value is null. A
suffix that says nothing is JSON Lines where the first character is `{`, else text. Files are read a line or a batch of
records at a time, never whole.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from actpipe.errors import Damaged, Misuse

from .tables import parquet_documents

TEXT_SUFFIXES = (".txt", ".md")
# How a file that was packed is read, and what its reader raises where it is not whole.
PACKED: dict[str, Callable[[Path, str], object]] = {".gz": gzip.open, ".xz": lzma.open}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
_PLAIN_SUFFIXES = (*TEXT_SUFFIXES, ".jsonl")
SUFFIXES = (*_PLAIN_SUFFIXES, ".parquet", *(f"{plain}{packed}" for packed in PACKED for plain in _PLAIN_SUFFIXES))
# Files that would be read as one long paragraph of something else.
OTHER_SUFFIXES = (".csv", ".tsv", ".html", ".pdf", ".zst", ".bz2", ".zip", ".tar", ".arrow")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def documents_of(file: Path, text_field: str, *, called: str | None = None) -> Iterator[str]:
    """The documents in order; errors name the file as `called` and the line or record."""
    called = called or str(file)
    if file.suffix in OTHER_SUFFIXES:
        raise Misuse(
            f"{called} is no text: make it a .txt, .jsonl or .parquet file (the first two also as .gz or .xz)."
        )
    suffix = Path(file.stem if file.suffix in PACKED else file.name).suffix
    if suffix == ".parquet":
        return parquet_documents(file, text_field, called)
    if suffix == ".jsonl" or (suffix not in TEXT_SUFFIXES and _begins_with_brace(file, called)):
        return _records(file, text_field, called)
    return _paragraphs(file, called)


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, PACKED[file.suffix](file, "rb")) if file.suffix in PACKED else open(file, "rb")


def _begins_with_brace(file: Path, called: str) -> bool:
    with _opened(file) as raw:
        try:
            while start := raw.read(4096):
                if text := start.removeprefix(_BYTE_ORDER_MARK).lstrip():
                    return text.startswith(b"{")
        except _BROKEN as error:
            raise _not_whole(file, called, error) from error
    return False


def _lines(file: Path, called: str) -> Iterator[str]:
    with _opened(file) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as text:  # -sig: the mark is not text
        try:
            yield from text
        except UnicodeDecodeError as error:
            raise Misuse(
                f"{called}, line {_first_line_that_is_not_utf8(file)} is not UTF-8 text ({error.reason}). "
                "Convert it first, for instance with `iconv -f LATIN1 -t UTF-8`."
            ) from None
        except _BROKEN as error:
            raise _not_whole(file, called, error) from error


def _first_line_that_is_not_utf8(file: Path) -> int:
    # The decoder works on blocks and does not know lines; looking again costs time only where there is an error.
    with _opened(file) as raw:
        for number, line in enumerate(raw, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    raise AssertionError(f"every line of {file} is UTF-8")


def _not_whole(file: Path, called: str, error: Exception) -> Damaged:
    packer = "xz" if file.suffix == ".xz" else "gzip"
    return Damaged(f"{called} is not a whole {packer} file ({error}). Fetch or pack it again.")


def _paragraphs(file: Path, called: str) -> Iterator[str]:
    lines: list[str] = []
    for line in _lines(file, called):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines).strip()
            lines = []
    if lines:
        yield "".join(lines).strip()


def _records(file: Path, text_field: str, called: str) -> Iterator[str]:
    for number, line in enumerate(_lines(file, called), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise Misuse(f"{called}, line {number} is not JSON: {error.msg}.") from None
        if not isinstance(record, dict) or not isinstance(record.get(text_field, 0), str | None):
            raise Misuse(f"{called}, line {number} {_instead(record, text_field)}. Give --text-field.")
        # JSON can spell half a surrogate pair, which is no text and which no tokenizer takes.
        yield (record[text_field] or "").encode("utf-8", "replace").decode()


def _instead(record: object, text_field: str) -> str:
    if not isinstance(record, dict):
        return f"is no object with a field {text_field!r} but {type(record).__name__}"
    if text_field in record:
        return f"has {type(record[text_field]).__name__} and no text in field {text_field!r}"
    return f"has no text in field {text_field!r} (it has {', '.join(record)})"
