"""Whether the Hugging Face hub can be reached, asked once and cheaply.

Without this, the libraries retry for half a minute and print ten lines before they say that there is no network. What
is in their local cache keeps working offline.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies


@lru_cache(maxsize=1)
def use_cache_if_unreachable() -> None:
    """Switch the libraries to their offline mode when the name of the hub does not resolve."""
    if getproxies():  # then the proxy resolves names, not we
        return
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.getaddrinfo(endpoint.hostname, endpoint.port or 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported; the loop is for those that are
        for module, flag in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
            if module in sys.modules:
                setattr(sys.modules[module], flag, True)
