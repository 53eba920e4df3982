"""What obstore raises → sentences. It has few types, so the service's own code or the cause is read from the text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from actpipe.errors import ActpipeError, Failure, Missing, Misuse

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
PREFIX = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|The specified bucket does not exist", re.IGNORECASE)
# Asked for where the environment names no key: instance metadata of Amazon, Google and Azure, and a token exchange.
_NO_CREDENTIALS = re.compile(r"169\.254\.|metadata\.google|token request|MissingAccessKey|MissingSecretAccessKey")


_process: int | None = None  # the one that began to use obstore


@contextmanager
def told(place: str) -> Iterator[None]:
    """Errors inside become sentences; what callers decide by goes through: a missing object, a condition not met."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    _refuse_fork(place)
    try:
        yield
    except (AlreadyExistsError, PreconditionError, NotImplementedError):
        raise
    except FileNotFoundError as error:
        if not _NO_BUCKET.search(str(error)):
            raise
        raise sentence(place, error) from error
    except BaseError as error:
        raise sentence(place, error) from error


def _refuse_fork(place: str) -> None:
    """The threads of obstore stay behind in the parent; a call in the child would wait for them forever."""
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise Misuse(
            f"{place} cannot be used in a process forked from one that used an object store; start processes with "
            'the method "spawn" (multiprocessing_context="spawn" of a DataLoader).'
        )


def sentence(place: str, error: Exception) -> ActpipeError:
    text = str(error)
    scheme, bucket = place.split("://", 1)[0], place.split("/")[2]
    short = _short(text)
    if _NO_BUCKET.search(text):
        return Missing(f"There is no bucket {bucket!r} for {place}; create it, or name another one.")
    if "Config error" in text:
        return Misuse(f"A setting of the environment for {place} is wrong ({short}); look at {PREFIX[scheme]}_….")
    if "BadScheme" in text:
        return Misuse(f"The endpoint of {place} is plain http; set {PREFIX[scheme]}_ALLOW_HTTP=true to permit that.")
    if _NO_CREDENTIALS.search(text):
        return Missing(f"There are no credentials for {place} ({short}); set {CREDENTIALS[scheme]}.")
    if re.search("status code: 40[13]|AccessDenied|Unauthenticated", text):
        return Failure(
            f"Access to {place} was refused ({short}): the credentials are wrong, or do not permit to list, read, "
            "write and delete there."
        )
    if "without LOCATION" in text:
        return Misuse(f"The bucket of {place} lies in another region; set {PREFIX[scheme]}_REGION.")
    if "NotImplemented" in text:
        return Failure(f"The service of {place} does not know a request ({short}); docs/how-to/object-stores.md helps.")
    if "kind: Timeout" in text:
        return Failure(
            f"{place} did not answer in time ({short}). Run the same command again to continue; "
            f"{PREFIX[scheme]}_TIMEOUT=120s allows slower answers."
        )
    if "kind: Connect" in text or "error sending request" in text:
        return Failure(
            f"The service of {place} cannot be reached ({short}). Check the endpoint and the network, and run the same "
            "command again to continue."
        )
    return Failure(f"{place}: {short}.")


def _short(text: str) -> str:
    """The service's own words, without the dump and the advice that follow them."""
    code, message = re.search(r"<Code>(\w+)</Code>", text), re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    if code and message:
        return f"{code[1]}: {message[1].strip().rstrip('.')}"
    return " ".join(text.split("Debug source")[0].split()).rstrip(".: ")[:300]
