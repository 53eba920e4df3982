"""Responses that were paid for, in SQLite: sha256 of the whole request → the raw response."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from actpipe.errors import Damaged, Failure

_TABLE = """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, backend TEXT, model TEXT, kind TEXT, response TEXT,
    input_tokens INTEGER, output_tokens INTEGER, unix_time REAL)"""
_INSERT = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Row(NamedTuple):
    """Of the table, without its time."""

    key: str
    backend: str
    model: str
    kind: str
    response: str
    input_tokens: int | None
    output_tokens: int | None


class CallCache:
    """Usable from several threads and, through SQLite's own locks, from several processes."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(_TABLE)
            self._database.commit()
        except sqlite3.DatabaseError as error:
            raise Damaged(f"The judge's cache {path} cannot be opened: {error}. Move it away to begin anew.") from error

    def get(self, key: str) -> str | None:
        with self._lock:
            found = self._database.execute("SELECT response FROM calls WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def put(self, row: Row) -> None:
        """Durable when it returns: what is paid for must survive the next line."""
        with self._lock:
            try:
                self._database.execute(
                    "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, time.time())
                )
                self._database.commit()
            except sqlite3.Error as error:
                raise Failure(f"The judge's cache {self.path} cannot be written: {error}.") from error

    def close(self) -> None:
        with self._lock:
            self._database.close()
