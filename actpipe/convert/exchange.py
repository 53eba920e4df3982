"""Two folders that take each other's name, so that there is no moment at which one of the names leads nowhere."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # from fcntl.h and stdio.h of Linux
# Where the system or the file system cannot.
UNABLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> None:
    """In one step where the system can, which Linux does; elsewhere in three renames, undone if one fails."""
    try:
        _at_once(one, other)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        _one_by_one(one, other)


def _at_once(one: Path, other: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def _one_by_one(one: Path, other: Path) -> None:
    aside = one.with_name(f"{one.name}.aside")
    os.replace(other, aside)
    try:
        os.replace(one, other)
    except BaseException:
        os.replace(aside, other)
        raise
    os.replace(aside, one)
