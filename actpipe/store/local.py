"""Objects as files: written under a temporary name, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from actpipe.errors import Failure
from actpipe.files import atomic_file, is_another_running, sync_folder, sync_tree

from .direct import DirectWriter
from .objects import Objects, Parts, Reader

# What flock answers on a file system without locks, and on NFS to who may only read.
NO_LOCKS = (errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.ENOSYS, errno.EBADF)


class LocalObjects(Objects):
    def __init__(self, place: Path) -> None:
        self.place: Path = place.resolve() if place.is_symlink() else place
        self._folder = _Folder(self.place)
        self._writers: list[DirectWriter] = []  # that no thread uses now

    def put(self, key: str, parts: Parts) -> None:
        target = self.place / key
        self._make_folder(target.parent)
        writer = self._writers.pop() if self._writers else DirectWriter()
        with atomic_file(target) as file:
            writer.write(file.fileno(), parts)
            # A worker may outlive its harvest: what it wrote must not end up in the store that came after.
            self._folder.require()
        self._writers.append(writer)

    def get(self, key: str) -> bytes:
        return (self.place / key).read_bytes()

    def size(self, key: str) -> int | None:
        try:
            return (self.place / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        found = {}
        for root, _, names in os.walk(self.place / prefix):
            for name in names:
                with suppress(FileNotFoundError):  # renamed or removed since
                    found[Path(root, name).relative_to(self.place).as_posix()] = os.stat(Path(root, name)).st_size
        return found

    def names(self, prefix: str) -> list[str]:
        try:
            return os.listdir(self.place / prefix)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        self._folder.require()
        (self.place / key).unlink(missing_ok=True)

    def reader(self, key: str) -> Reader:
        return _OpenFile(self.place / key)

    @contextmanager
    def building(self) -> Iterator[Path]:
        _make_durable(self.place.parent)
        self._remove_stale()
        temporary = self._beside()
        try:
            temporary.mkdir()
            yield temporary
            sync_tree(temporary)
            self._publish(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(self.place.parent)

    def zarr(self) -> Any:
        return str(self.place)

    def clear_litter(self) -> None:
        for key in self.sizes():
            if key.endswith(".partial"):
                self.delete(key)

    @contextmanager
    def claim(self) -> Iterator[None]:
        # The lock belongs to the open file: the kernel takes it away from a process that dies.
        with _for_locking(self.place / "zarr.json") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(
                    f"Another harvest is writing {self.place}. Wait for its end, or stop it and run this command again."
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            yield

    def remove(self) -> None:
        aside = self._beside()
        with self.claim() if self.exists() else nullcontext():
            os.rename(self.place, aside)
        sync_folder(self.place.parent)
        shutil.rmtree(aside)  # a killed one leaves what the next creation clears

    def _beside(self) -> Path:
        return self.place.with_name(f"{self.place.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")

    def _make_folder(self, folder: Path) -> None:
        """Create the folder so that its name survives a power cut; the store's own must be there."""
        if not self.place.exists():
            raise Failure(f"The store {self.place} was removed or moved away while it was written.")
        _make_durable(folder)

    def _remove_stale(self) -> None:
        """What a killed process left beside the store: its number is gone, or ours, as in a restarted container."""
        # Process numbers end at 2^22.
        pattern = re.compile(re.escape(self.place.name) + r"\.(\d{1,7})-[0-9a-f]{8}\.partial")
        for sibling in self.place.parent.iterdir():
            match = pattern.fullmatch(sibling.name)
            if match and not is_another_running(int(match[1])):
                shutil.rmtree(sibling, ignore_errors=True)

    def _publish(self, temporary: Path) -> None:
        try:
            os.rename(temporary, self.place)  # replaces an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise Failure(
                f"Another harvest began {self.place} at the same moment. Run the same command again to continue it."
            ) from None


class _OpenFile(Reader):
    """Closed when the last thread that uses it lets go."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self.descriptor).st_size

    def __del__(self) -> None:
        if self.descriptor >= 0 and os is not None:  # None when the interpreter ends
            os.close(self.descriptor)

    def read(self, offset: int, parts: Sequence[Any]) -> bool:
        wanted = sum(memoryview(part).nbytes for part in parts)
        return os.preadv(self.descriptor, parts, offset) == wanted or self._read_slowly(offset, parts)

    def announce(self, offset: int, length: int) -> None:
        _advise(self.descriptor, offset, length, "POSIX_FADV_WILLNEED")

    def _read_slowly(self, offset: int, parts: Sequence[Any]) -> bool:
        """Part by part, for a call that returned less than asked for; false at the end of the file."""
        for view in (memoryview(part).cast("B") for part in parts):
            while view:
                count = os.preadv(self.descriptor, [view], offset)
                if count == 0:
                    return False
                offset, view = offset + count, view[count:]
        return True


class _Folder:
    """Which folder a path was when it was opened: held open, because the number of a removed one is given out again."""

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, -1
        with suppress(FileNotFoundError, NotADirectoryError):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self._descriptor >= 0 and os is not None:
            os.close(self._descriptor)

    def require(self) -> None:
        """Raise Failure where the path leads elsewhere now."""
        if self._descriptor < 0:
            self.__init__(self._path)  # type: ignore[misc]  # it was made since
        try:
            same = os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            same = False
        if not same:
            raise Failure(f"The store {self._path} was removed or replaced while it was written.")


def _make_durable(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def _for_locking(path: Path) -> IO[bytes]:
    """Open for writing, which NFS asks of who locks, though nothing is written; a store on a read-only disk is read."""
    try:
        return open(path, "r+b")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return open(path, "rb")


def _advise(descriptor: int, offset: int, length: int, advice: str) -> None:
    """Only a hint."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        os.posix_fadvise(descriptor, offset, length, getattr(os, advice))
