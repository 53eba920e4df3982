"""Windows of text as vectors."""

from .embedding import Embedder, Embedding
from .encoded_tiles import EncodedTiles
from .lexical import Lexical
from .tokens import TokenEmbeddings

_ALL: tuple[type[Embedding], ...] = (TokenEmbeddings, Lexical, EncodedTiles)
EMBEDDINGS = {embedding.name: embedding for embedding in _ALL}

__all__ = ["EMBEDDINGS", "Embedder", "Embedding", "EncodedTiles", "Lexical", "TokenEmbeddings"]
