"""English for synthetic reports, and tokens that try to break the page."""

from __future__ import annotations

import re

import numpy as np

SENTENCES = """
The film opens on a quiet harbour town where nothing has happened for twenty years, and the camera is in no hurry.
I expected a thriller and got something closer to a letter from an old friend, which is not a complaint.
She plays the detective as a woman who has stopped being surprised, and it is the best performance of her career.
Unfortunately the script does not trust its actors, so everything that a glance could have said is said again out loud.
There are two good jokes in the first hour, and both of them are in the trailer.
What could have been a sharp satire of the insurance business turns into a chase through a parking garage.
The score, by contrast, is wonderful: three notes on a piano, repeated until they mean something else.
By the time the villain explains his plan, half of the audience had already explained it to the other half.
It is not bad, exactly; it is simply not about anything, and at two hours and forty minutes that begins to hurt.
Director and writer worked together before on a small comedy about beekeepers, and you can feel the same patience here.
When the rain finally comes it arrives like an apology, and the whole theatre seemed to breathe out.
Nobody in this movie ever eats, sleeps, pays a bill or finishes a sentence.
The second act moves to Berlin in 1961, and the production design alone is worth the price of a ticket.
He runs, he jumps, he shouts at a telephone, and he never once looks as if he believed any of it.
If you liked the book you will miss the grandmother, who has been cut, and the ending, which has been improved.
Critics have called it slow; I would call it the only picture this summer that knows how long a silence should be.
The children are superb, especially the youngest, who appears to have wandered in from a documentary.
At $200 million it is the most expensive film ever made about the virtue of owning nothing.
You have seen this scene before: the bomb, the two wires, the sweat, and the clock that stops at one.
And yet, somewhere around the middle, I stopped taking notes and started to care.
The effects are flawless and weightless, a city falling down again without anybody getting dust in their eyes.
There is a dog. The dog is fine.
My only real objection is to the narrator, who tells us that the sea is blue while we are looking at the sea.
It was shot in 16 millimetre over nine weekends, and its roughness is not an accident but an argument.
The courtroom scenes are as good as anything since the great dramas of the fifties; the romance is an interruption.
Whether the sister forgives him is left open, and I have been arguing about it with my brother ever since.
This sequel repeats every mistake of the original, with the exception of being original.
An extraordinary debut, full of anger and full of tenderness, sometimes within a single shot.
The last twenty minutes were clearly filmed after a test screening, by people who had not seen the first eighty.
Go for the photography, stay for the funeral, leave before the song over the credits.
""".strip().splitlines()

HOSTILE = [
    "</script><img src=x onerror=\"document.title='broken'\">",
    "<!--",
    "\u202eright to left",
    "\u2028",
    "\u2066",
    "\ufffd",
    "\x00",
    "\ud83d",
    "&lt;b&gt;",
    "'\"`${1}",
    "\u05e9\u05dc\u05d5\u05dd",
    "e\u0301\u0323",
]

_PIECES = re.compile(r" ?[A-Za-z]+| ?\d| ?[^\sA-Za-z\d]|\s")


def documents(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(SENTENCES, size=int(generator.integers(6, 11)), replace=False)) for _ in range(count)
    ]


def tokenize(texts: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Ids of every document, and the vocabulary; long words fall into pieces as they do in a model's tokenizer."""
    vocabulary: dict[str, int] = {}
    encoded = []
    for text in texts:
        pieces = [
            part for word in _PIECES.findall(text) for part in ([word] if len(word) < 11 else [word[:6], word[6:]])
        ]
        encoded.append(np.array([vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces], dtype=np.int32))
    return encoded, list(vocabulary)


class Corpus:
    def __init__(self, texts: list[str]) -> None:
        encoded, self.vocabulary = tokenize(texts)
        first_hostile = len(self.vocabulary)
        self.vocabulary += HOSTILE
        for i, document in enumerate(encoded):  # one hostile token in the middle of each document
            document[len(document) // 2] = first_hostile + i % len(HOSTILE)
        self.tokens = np.concatenate(encoded)
        self.document = np.repeat(np.arange(len(encoded)), [len(document) for document in encoded])
        self.starts = np.searchsorted(self.document, np.arange(len(encoded) + 1))
        self.counts = np.bincount(self.tokens, minlength=len(self.vocabulary))
        self.distinct = int((self.counts > 0).sum())
