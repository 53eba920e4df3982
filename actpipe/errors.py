"""Every error a user can meet, drawn once.

    ActpipeError
    ├── Misuse            the request cannot be carried out as given        exit code 2
    │   ├── Missing       what it names is not there (file, hook, package)
    │   └── Mismatch      two things that do not belong together
    └── Failure           the request was fine, the world was not           exit code 1
        ├── Damaged       stored bytes are not what was written
        └── Diverged      numbers left the finite range

The text of each is one or two sentences: what is wrong, the value, the remedy. The command line prints it without a
traceback and exits with the code of the class.
"""

from __future__ import annotations

from typing import ClassVar


class ActpipeError(Exception):
    exit_code: ClassVar[int] = 1


class Misuse(ActpipeError, ValueError):
    exit_code = 2


class Missing(Misuse, LookupError):
    def __str__(self) -> str:  # LookupError's own __str__ would be fine; KeyError's would quote the sentence
        return str(self.args[0]) if self.args else ""


class Mismatch(Misuse):
    pass


class Failure(ActpipeError, RuntimeError):
    pass


class Damaged(Failure):
    pass


class Diverged(Failure):
    pass
