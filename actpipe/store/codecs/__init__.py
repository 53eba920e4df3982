"""Every codec; one file a family. The imports are the registry's content."""

from . import blosc, none
from .registry import Codec, codec_names, get_codec

__all__ = ["Codec", "blosc", "codec_names", "get_codec", "none"]
