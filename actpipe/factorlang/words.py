"""The words of FactorLang: English ones written by hand, and the same lexicon in two invented languages.

Every topic lists its words from the most to the least frequent. A word in the lists of two topics means both: 15 % of
the nouns, verbs and adjectives do, so a word does not give its topic away. No word form has two parts of speech.
"""

from __future__ import annotations

import hashlib

LANGUAGES = ("english", "mira", "kron")
STYLES = ("plain", "ornate", "bracketing", "talkative")
ENTITY_TYPES = ("person", "city", "pet", "club")

NOUNS = {
    "sea": "ship wave sailor harbour captain anchor shell whale island current",
    "music": "singer note melody scale drum violin record choir key pitch",
    "kitchen": "oven spoon stock soup plate cake recipe scale onion kettle",
    "war": "soldier charge sword cannon front fortress army shell rifle trench",
    "law": "judge lawyer cell prison bill verdict witness charge crime record",
    "money": "merchant bank coin loan stock tax branch debt market bill",
    "sport": "player goal pitch referee captain stadium field racket trophy runner",
    "weather": "storm cloud front rainbow blizzard thermometer breeze puddle hurricane drizzle",
    "farm": "farmer tractor field barn cow goat orchard haystack pasture rooster",
    "school": "teacher pupil classroom note pencil lesson exam textbook library headmaster",
    "medicine": "doctor nurse surgeon cell fever pill bandage hospital vaccine needle",
    "machine": "engine gear current lever mechanic crane factory robot piston battery",
    "sky": "planet star comet telescope stage rocket moon wave galaxy astronaut",
    "theatre": "actor stage curtain script star audience costume director rehearsal comedy",
    "house": "bedroom key chimney sofa roof plate cellar carpet staircase mirror",
    "forest": "tree branch wolf owl crane mushroom hunter bank squirrel meadow",
}
VERBS = {
    "sea": "sail drift swim dive sink float navigate paddle",
    "music": "sing conduct hum whistle rehearse compose tune strum",
    "kitchen": "bake boil roast fry stir treat chop taste",
    "war": "attack defend invade surrender strike ambush besiege retreat",
    "law": "accuse try convict testify arrest defend forgive confess",
    "money": "buy sell draw invest save lend borrow trade",
    "sport": "kick save throw climb sprint strike wrestle try",
    "weather": "freeze rise melt blow drift soak thunder shiver",
    "farm": "milk plant hatch sow feed reap shear graze",
    "school": "teach learn examine read spell draw revise graduate",
    "medicine": "heal operate inject treat diagnose perform prescribe examine",
    "machine": "drill weld conduct repair oil grind operate rotate",
    "sky": "shine orbit launch rise glow explode eclipse twinkle",
    "theatre": "applaud perform bow rehearse recite roast improvise audition",
    "house": "sweep furnish sink paint decorate tidy knock dust",
    "forest": "howl hunt climb hide roam hatch burrow forage",
}
ADJECTIVES = {
    "sea": "salty deep tidal calm coastal fresh nautical",
    "music": "loud sharp melodic flat rhythmic dramatic acoustic",
    "kitchen": "sweet rich spicy bitter crispy sharp delicious",
    "war": "brave heavy armed hostile fierce victorious loyal",
    "law": "guilty fair innocent legal strict honest corrupt",
    "money": "cheap costly rich wealthy poor greedy generous",
    "sport": "fast wild athletic agile strong energetic muscular",
    "weather": "cold calm windy fair foggy bitter humid",
    "farm": "fertile dry muddy fresh ripe sterile rural",
    "school": "clever strict studious bright lazy curious academic",
    "medicine": "sick sterile healthy painful contagious pale weak",
    "machine": "rusty heavy electric mechanical automatic noisy greasy",
    "sky": "distant bright lunar deep dark starry infinite",
    "theatre": "comic dry tragic dramatic famous elegant masked",
    "house": "cosy flat dusty wooden spacious narrow tall",
    "forest": "green wild leafy mossy silent shady ancient",
}
TOPICS = tuple(NOUNS)

# One each for the 8 speakers; 4 determiners and 8 adverbs for the 4 styles; 4 verbs of facts for the entity types.
OPENERS = ["well", "indeed", "honestly", "look", "listen", "frankly", "now", "truly"]
DETERMINERS = ["the", "my", "your", "our"]
QUANTIFIERS_SINGULAR = ["every", "each", "one"]
QUANTIFIERS_PLURAL = ["many", "several", "both"]
COPULAS = ("is", "are")
PREPOSITIONS = ["near", "behind", "under", "above", "beside", "without", "against"]
CONJUNCTIONS = ["and", "but"]
ADVERBS = ["quickly", "slowly", "often", "rarely", "quietly", "proudly", "sadly", "gladly"]
FACT_VERBS = ["drinks", "exports", "fears", "wears"]
QUERY_WORDS = ["recall"]

# Names and values are the same in every language.
NAMES = (
    "anna boris clara dmitri elena felix greta hugo irene jonas katya liam maria nils olga pavel",
    "athens berlin cairo dublin geneva havana jakarta kyoto lisbon madrid nairobi oslo paris quito rome sofia",
    "rover fido whiskers shadow ginger biscuit pepper smokey patch lucky daisy coco milo tango zorro simba",
    "united rangers wanderers albion harriers dynamo celtic olympic phoenix titans eagles falcons panthers sharks "
    "vikings hornets",
)
VALUES = (
    "tea coffee cocoa cider lemonade water wine beer juice rum gin brandy vodka soda",
    "silk copper cotton salt sugar timber wool iron gold silver marble rubber tobacco leather",
    "fire lightning spiders snakes ghosts mice crowds darkness heights noise wasps bees fog ice",
    "red blue yellow white black purple orange pink brown grey violet crimson turquoise beige",
)
PUNCTUATION = (".", "?", "(", ")", "[", "]", ",")

_SOUNDS = {
    "mira": (("b", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v"), ("a", "e", "i", "o", "u"), ("",)),
    "kron": (
        ("k", "kr", "st", "tr", "gl", "br", "dr", "h", "j", "w", "sk", "gr"),
        ("a", "e", "o", "u"),
        ("k", "rt", "nd", "m", "lf", "ng", "x", "p"),
    ),
}
_ENDINGS = {"mira": {"plural": "n", "singular": "s"}, "kron": {"plural": "er", "singular": "it"}}


def plural_noun(language: str, noun: str) -> str:
    return _with_s(noun) if language == "english" else noun + _ENDINGS[language]["plural"]


def singular_verb(language: str, verb: str) -> str:
    """The form that agrees with a singular subject; the other is the verb itself."""
    return _with_s(verb) if language == "english" else verb + _ENDINGS[language]["singular"]


def invented(language: str, meaning: str, attempt: int) -> str:
    """A word of an invented language: two or three syllables of its sounds, chosen by a hash of what it means."""
    digest = hashlib.sha256(f"{language} {meaning} {attempt}".encode()).digest()
    onsets, vowels, codas = _SOUNDS[language]
    syllables = [
        onsets[digest[4 * i] % len(onsets)] + vowels[digest[4 * i + 1] % len(vowels)]
        for i in range(2 + (codas == ("",)) * (digest[31] % 2))
    ]
    return "".join(syllables) + codas[digest[30] % len(codas)]


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"
