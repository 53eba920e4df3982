"""Dictionaries of other libraries in and out, exactly or not at all. One format a file; this list is what is known."""

from .actpipe_folder import ActpipeFolder
from .dictionary_learning import DictionaryLearning
from .format import Answer, Format, Formats
from .gemma_scope import GemmaScope
from .llamascopium import Llamascopium
from .openai import OpenAI
from .saelens import SAELens
from .sparsify import Sparsify

FORMATS = Formats(
    [
        ActpipeFolder(),
        SAELens(),
        DictionaryLearning(),
        Sparsify(),
        OpenAI(),
        GemmaScope(),
        Llamascopium(),
    ]
)

__all__ = ["FORMATS", "Answer", "Format", "Formats"]
