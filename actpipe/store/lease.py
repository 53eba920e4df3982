"""One writer at a time in an object store: a small object that its holder keeps renewing.

Who finds a lease watches it. Renewed meanwhile: its holder lives, and the newcomer stops. Not renewed for DEAD_S: it is
taken over by a write on the condition that it is still the same, which only one newcomer can win. No two clocks are
ever compared. A holder on the same machine whose process is gone is dead at once. Where the service has no conditional
writes there is no lease, as on a file system without locks: two writers of one store write the same bytes.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from actpipe.errors import ActpipeError, Failure
from actpipe.files import is_another_running

from .remote_errors import told

RENEW_S, DEAD_S, LOOK_S = 5.0, 30.0, 0.5

Version = Mapping[str, Any]  # e_tag and, with Google, version: which write of the object is meant


@contextmanager
def held(store: Any, key: str, place: str) -> Iterator[Lease]:
    lease = Lease(store, key, place)
    lease.take()
    end = threading.Event()
    thread = threading.Thread(target=lease.renew_until, args=(end,), name="actpipe-lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        end.set()
        thread.join()
        lease.give_back()


class Lease:
    def __init__(self, store: Any, key: str, place: str) -> None:
        self._store, self._key, self._place = store, key, place
        self._identity = secrets.token_hex(8)
        self._renewals = 0
        self._version: Version | None = None  # None: not held
        self._lost = False

    def require(self) -> None:
        if self._lost:
            raise Failure(
                f"Another harvest took {self._place} over, because this one did not reach it for {DEAD_S:.0f} s. "
                "Run this command again when the other has ended; nothing is lost."
            )

    def take(self) -> None:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._write("create")
        except NotImplementedError:
            return
        except AlreadyExistsError:
            self._take_over()

    def renew_until(self, end: threading.Event) -> None:
        while self._version is not None and not self._lost and not end.wait(RENEW_S):
            with suppress(ActpipeError):  # out of reach for now; the next round tries again
                if not self._replace(self._version):
                    self._lost = not self._is_ours(self._look())

    def give_back(self) -> None:
        if self._version is None or self._lost:
            return
        with suppress(ActpipeError, FileNotFoundError):  # a lease left behind is dead in DEAD_S
            if self._is_ours(self._look()):
                with told(self._place):
                    self._store.delete(self._key)

    def _take_over(self) -> None:
        first, since = self._look(), time.monotonic()
        while self._version is None:
            found = self._look()
            if found is None:
                return self.take()
            version, holder = found
            if first is None or version != first[0]:
                if self._is_ours(found):  # our own write, whose answer was lost
                    return None
                raise Failure(
                    f"Another harvest is writing {self._place} (process {holder.get('process')} on "
                    f"{holder.get('machine')}). Wait for its end, or stop it and run this command again."
                )
            if _is_gone(holder) or time.monotonic() - since > DEAD_S:
                self._replace(version)
                continue
            time.sleep(LOOK_S)
        return None

    def _replace(self, version: Version) -> bool:
        """Write on the condition that nobody wrote since that version; false where somebody did."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._write(version)
        except (PreconditionError, AlreadyExistsError, FileNotFoundError):
            return False
        return True

    def _write(self, mode: str | Version) -> None:
        self._renewals += 1
        holder = {
            "identity": self._identity,
            "renewals": self._renewals,  # so that each write differs: S3's version is a hash of the content
            "machine": socket.gethostname(),
            "process": os.getpid(),
            "processes": _processes(),
        }
        with told(self._place):
            self._version = _version(self._store.put(self._key, json.dumps(holder).encode(), mode=mode))

    def _look(self) -> tuple[Version, dict[str, Any]] | None:
        try:
            with told(self._place):
                found = self._store.get(self._key)
                content = bytes(found.bytes())
        except FileNotFoundError:
            return None
        try:
            holder = json.loads(content)
        except ValueError:
            holder = {}
        return _version(found.meta), holder if isinstance(holder, dict) else {}

    def _is_ours(self, found: tuple[Version, dict[str, Any]] | None) -> bool:
        if found is None or found[1].get("identity") != self._identity:
            return False
        self._version = found[0]
        return True


def _version(meta: Mapping[str, Any]) -> Version:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}


def _processes() -> str | None:
    """Names the set of processes that our process numbers are from: this start of this machine, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return None


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more. Our own number may be another thread."""
    process, ours = holder.get("process"), _processes()
    return (
        ours is not None
        and holder.get("processes") == ours
        and isinstance(process, int)
        and process != os.getpid()
        and not is_another_running(process)
    )
