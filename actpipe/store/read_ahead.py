"""An object behind a network, read with requests in flight: what was announced, and what continues a run of reads.

A request to an object store takes tens of milliseconds however little it asks for; the bytes must be on their way
before the reader wants them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from .objects import Reader

AHEAD_BYTES = 256 * 2**20  # of one store; a stream of batches keeps two blocks of 16 MiB announced
REQUESTS = 32  # in flight
PIECE_BYTES = 4 * 2**20  # of one request
SEQUENTIAL_BYTES = 16 * 2**20  # ahead of a reader that goes straight on
STREAMS = 4  # places of one object that are read from at once, a thread each

Fetch = Callable[[int, int], Any]  # start, length → a buffer


class Ahead:
    """The threads and the bytes that all readers of one store share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, fetch: Fetch, start: int, length: int) -> Future[Any] | None:
        """None where too much is under way already."""
        with self._lock:
            if self._bytes + length > AHEAD_BYTES:
                return None
            self._bytes += length
            self._pool = self._pool or ThreadPoolExecutor(REQUESTS, thread_name_prefix="actpipe-ahead")
            return self._pool.submit(fetch, start, length)

    def end(self, length: int) -> None:
        with self._lock:
            self._bytes -= length


class _Piece(NamedTuple):
    start: int
    stop: int
    content: Future[Any]


class ReadAhead(Reader):
    def __init__(self, fetch: Fetch, size: int, ahead: Ahead) -> None:
        self.size = size
        self._fetch, self._ahead = fetch, ahead
        self._lock = threading.Lock()
        self._pieces: list[_Piece] = []
        self._runs: deque[tuple[int, int]] = deque(maxlen=STREAMS)  # (end, length) of what was read in one go

    def __del__(self) -> None:
        for piece in self._pieces:
            self._ahead.end(piece.stop - piece.start)

    def read(self, offset: int, parts: Sequence[Any]) -> bool:
        views = [memoryview(part).cast("B") for part in parts]
        stop = offset + sum(map(len, views))
        if stop > self.size:
            return False
        window = min(self._continued(offset, stop), SEQUENTIAL_BYTES)
        if window > stop - offset and self._under_way(stop) < window // 2:  # else many small requests
            self.announce(stop, window)
        return _fill(views, self._contents(offset, stop))

    def announce(self, offset: int, length: int) -> None:
        stop = min(offset + length, self.size)
        offset += self._under_way(offset)
        with self._lock:
            while offset < stop:
                end = min(offset + PIECE_BYTES, stop)
                content = self._ahead.begin(self._fetch, offset, end - offset)
                if content is None:
                    return
                self._pieces.append(_Piece(offset, end, content))
                offset = end

    def _under_way(self, offset: int) -> int:
        """Bytes that are already on their way, from `offset` on."""
        with self._lock:
            end = offset
            while (piece := self._piece_at(end)) is not None:
                end = piece.stop
            return end - offset

    def _continued(self, offset: int, stop: int) -> int:
        """Bytes read in one go up to `stop`."""
        with self._lock:
            before = next((run for run in self._runs if run[0] == offset), None)
            if before is not None:
                self._runs.remove(before)
            length = stop - offset + (before[1] if before else 0)
            self._runs.append((stop, length))
            return length

    def _contents(self, offset: int, stop: int) -> list[memoryview]:
        """The bytes in pieces, from requests under way where there are some."""
        contents = []
        while offset < stop:
            with self._lock:
                piece = self._piece_at(offset)
                end = min([stop, *(other.start for other in self._pieces if other.start > offset)])
            if piece is not None:
                end = min(stop, piece.stop)
                contents.append(self._from_piece(piece, offset, end))
            else:
                contents.append(self._direct(offset, end))
            offset = end
        return contents

    def _from_piece(self, piece: _Piece, offset: int, end: int) -> memoryview:
        try:
            content = memoryview(piece.content.result())[offset - piece.start : end - piece.start]
        except Exception:  # the request is made again, and says what is wrong
            content = self._direct(offset, end)
        if end == piece.stop:
            self._drop(piece)
        return content

    def _direct(self, offset: int, end: int) -> memoryview:
        try:
            return memoryview(self._fetch(offset, end - offset))
        except FileNotFoundError:  # removed since it was opened
            return memoryview(b"")

    def _piece_at(self, offset: int) -> _Piece | None:
        return next((piece for piece in self._pieces if piece.start <= offset < piece.stop), None)

    def _drop(self, piece: _Piece) -> None:
        with self._lock:
            if piece in self._pieces:
                self._pieces.remove(piece)
                self._ahead.end(piece.stop - piece.start)


def _fill(views: list[memoryview], contents: list[memoryview]) -> bool:
    """Copy the contents into the views; false where they are too few."""
    for content in contents:
        while len(content) and views:
            count = min(len(content), len(views[0]))
            views[0][:count] = content[:count]
            content, views[0] = content[count:], views[0][count:]
            if not len(views[0]):
                views.pop(0)
    return not any(map(len, views))
