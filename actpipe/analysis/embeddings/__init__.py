"""Windows of text as vectors."""

from .embedding import Embedder, Embedding
from .lexical import Lexical
from .tokens import TokenEmbeddings

_ALL: tuple[type[Embedding], ...] = (TokenEmbeddings, Lexical)
EMBEDDINGS = {embedding.name: embedding for embedding in _ALL}

__all__ = ["EMBEDDINGS", "Embedder", "Embedding", "Lexical", "TokenEmbeddings"]
