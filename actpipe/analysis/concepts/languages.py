"""Family of languages, by frequent words that the others do not share; and the words themselves."""

from __future__ import annotations

import numpy as np

from .concept import Concept, RowConcept
from .lexicon import lexica
from .reading import Ints, Reading

LEAST = 0.1  # share of a text's tokens that are frequent words of its language; English prose has 0.3

_WORDS = {
    "English": "the of and that with for was is are this it be as have from they which were would there",
    "French": "le les des est une dans pour qui que pas sur avec vous nous mais cette sont elle être aux",
    "German": "der die das und ist nicht ein eine mit auf für von dem den sich auch ich wir sie werden",
    "Spanish": "el los las una por para con está pero como más muy este cuando también donde hay sus fue del",
    "Italian": "il gli della che per sono non anche più questo nella dei delle alla come stato loro essere di una",
    "Portuguese": "os uma não mais para com são pelo pela isso você muito também quando seu sua foi dos das ao",
    "Dutch": "het een van niet voor zijn met naar dat wordt ook maar deze hebben wij door bij nog dan",
}

LANGUAGE_WORDS = lexica("\n".join(f"language word/{name}: {words}" for name, words in _WORDS.items()))


def _language(reading: Reading) -> Ints:
    """Number of each row's language, −1 where none is sure."""

    def likeliest() -> Ints:
        shares = np.stack([reading.everywhere(reading.token(f"language word/{name}"))[1] for name in _WORDS])
        ordered = np.sort(shares, axis=0)
        sure = (ordered[-1] >= LEAST) & (ordered[-1] > ordered[-2])
        return np.where(sure, shares.argmax(axis=0), -1)

    return reading.rows.once("language", likeliest)


def _is(number: int, name: str) -> Concept:
    return RowConcept(
        name=f"language/{name}", text=f"in a text in {name}", label=lambda reading: _language(reading) == number
    )


LANGUAGE: tuple[Concept, ...] = tuple(_is(i, name) for i, name in enumerate(_WORDS))
