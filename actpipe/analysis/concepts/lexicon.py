"""Word lists → concepts: a list with sublists contains their words."""

from __future__ import annotations

from .concept import Concept, Lexicon


def lexica(lists: str) -> tuple[Concept, ...]:
    """A list a heading; lines that go on are indented:

    family/list: word word
        word
    family/sublist < family/list: word     every word of it is one of the list above, which may stand empty itself
    """
    words: dict[str, frozenset[str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for entry in lists.strip().replace("\n    ", " ").split("\n"):
        heading, listed = entry.split(":")
        name, *above = (part.strip() for part in heading.split("<"))
        words[name], parents[name] = frozenset(listed.split()), tuple(above)
    for name in reversed(words):  # sublists stand behind their lists
        for parent in parents[name]:
            words[parent] |= words[name]
    return tuple(
        Lexicon(name=name, text=f"a word of the list {name.split('/')[1]}", words=words[name], parents=parents[name])
        for name in words
    )
