"""Planted units that fire on a form: one word, a piece of a word, casing, digits, what stands before or around."""

from __future__ import annotations

from .exam_unit import PlantedUnit, shaped

_SINGLE = (
    shaped(
        "river", "single word",
        exact=("the word river", r"\briver\b"), paraphrase="the noun that is spelled r-i-v-e-r",
        broad=("words for a body of water, such as river or lake", r"\b(?:river|lake|ocean|pond)\b"),
        narrow=("the word river directly after the word the", r"\bthe river\b"),
        inner="near the river|beside the river", outer="some river|a wide river", near="some lake|a pond|an ocean",
    ),
    shaped(
        "because", "single word",
        exact=("the word because", r"\bbecause\b"), paraphrase="the conjunction that is spelled b-e-c-a-u-s-e",
        broad=("words that give a reason or a consequence", r"\b(?:because|therefore|hence|thus)\b"),
        narrow=("the two words because of", r"\bbecause of\b"),
        inner="because of rain|because of him", outer="because they left|because she knew",
        near="therefore they left|hence she knew|thus he ran",
    ),
    shaped(
        "never", "single word",
        exact=("the word never", r"\bnever\b"), paraphrase="the adverb that means at no time",
        broad=("words that negate, such as never or nothing", r"\b(?:never|nothing|nobody|nowhere)\b"),
        narrow=("the two words never again", r"\bnever again\b"),
        inner="never again saw it|left never again", outer="never saw it|they never left",
        near="nothing was left|nobody saw it|went nowhere",
    ),
    shaped(
        "king", "single word",
        exact=("the word king", r"\bking\b"), paraphrase="the noun for a male monarch, k-i-n-g",
        broad=("words for royal persons", r"\b(?:king|queen|prince|duchess)\b"),
        narrow=("the word king directly after the word old", r"\bold king\b"),
        inner="an old king|this old king", outer="a king|another king", near="a queen|another prince|this duchess",
    ),
)  # fmt: skip

_PIECES = (
    shaped(
        "-ing", "prefix or suffix",
        exact=("words that end in -ing", r"\b\w+ing\b"), paraphrase="words whose last three letters are i, n, g",
        broad=("words that end in -ing or in -ed", r"\b\w+(?:ing|ed)\b"),
        narrow=("words that end in -ting", r"\b\w+ting\b"),
        inner="waiting|shouting", outer="walking|reading", near="walked|opened|jumped",
    ),
    shaped(
        "-ness", "prefix or suffix",
        exact=("words that end in -ness", r"\b\w+ness\b"), paraphrase="nouns that are made with the ending -ness",
        broad=("abstract nouns that end in -ness or in -ity", r"\b\w+(?:ness|ity)\b"),
        narrow=("the words happiness and sadness", r"\b(?:happiness|sadness)\b"),
        inner="happiness|sadness", outer="darkness|weakness", near="clarity|purity|rarity",
    ),
    shaped(
        "un-", "prefix or suffix",
        exact=("words that begin with un-", r"\bun\w+"), paraphrase="words whose first two letters are u and n",
        broad=("words that begin with a negating prefix: un-, dis- or im-", r"\b(?:un|dis|im)\w+"),
        narrow=("the words unhappy and unkind", r"\b(?:unhappy|unkind)\b"),
        inner="unhappy|unkind", outer="unlock|unseen", near="dislike|impolite|disagree",
    ),
    shaped(
        "-ly", "prefix or suffix",
        exact=("words that end in -ly", r"\b\w+ly\b"), paraphrase="adverbs that are made with the ending -ly",
        broad=("adverbs, with or without the ending -ly", r"\b(?:\w+ly|often|soon|seldom)\b"),
        narrow=("the words quickly and slowly", r"\b(?:quickly|slowly)\b"),
        inner="quickly|slowly", outer="gladly|softly", near="often|soon|seldom",
    ),
)  # fmt: skip

_CASING = (
    shaped(
        "capitals", "casing",
        exact=("words of two or more letters that are all capitals", r"\b[A-Z]{2,}\b"),
        paraphrase="words that are written entirely in upper case",
        broad=("words that begin with a capital letter", r"\b[A-Z]\w*"),
        narrow=("words of exactly three capital letters", r"\b[A-Z]{3}\b"),
        inner="CIA|DVD", outer="DANGER|NOTICE", near="London|Peter|Anna",
    ),
    shaped(
        "capitalised", "casing",
        exact=("words with a capital first letter followed by small letters", r"\b[A-Z][a-z]+\b"),
        paraphrase="capitalised words that are not wholly upper case",
        broad=("words that contain a capital letter anywhere", r"\b\w*[A-Z]\w*"),
        narrow=("capitalised first names of people", r"\b(?:Peter|Anna|Clara)\b"),
        inner="Peter|Anna|Clara", outer="London|Vienna", near="USB|HTML|WHO",
    ),
)  # fmt: skip

_DIGITS = (
    shaped(
        "numbers", "digits or dates",
        exact=("numbers written in digits", r"\b\d+\b"), paraphrase="a figure such as 7 or 1984, not spelled out",
        broad=("numbers, in digits or spelled out", r"\b(?:\d+|seven|twelve|ninety)\b"),
        narrow=("numbers of exactly four digits", r"\b\d{4}\b"),
        inner="1984|2500", outer="7|42|365", near="seven|twelve|ninety",
    ),
    shaped(
        "years", "digits or dates",
        exact=("years between 1900 and 2099", r"\b(?:19|20)\d\d\b"), paraphrase="a year of the last or of this century",
        broad=("numbers written in digits", r"\b\d+\b"), narrow=("years between 1900 and 1999", r"\b19\d\d\b"),
        inner="1914|1968", outer="2003|2021", near="7|42|88000",
    ),
    shaped(
        "dates", "digits or dates",
        exact=("dates: a number directly before the name of a month", r"\b\d+ (?:May|June|October|December)\b"),
        paraphrase="a day of a month, such as 3 May",
        broad=("names of months, with or without a day", r"\b(?:May|June|October|December)\b"),
        narrow=("a day in May or June", r"\b\d+ (?:May|June)\b"),
        inner="3 May|17 June", outer="12 October|24 December", near="last June|in October|every December",
    ),
)  # fmt: skip

_AFTER = (
    shaped(
        "after a colon", "after punctuation",
        exact=("the word right after a colon", r": (?P<fires>\w+)"), paraphrase="what directly follows the sign :",
        broad=("the word right after a colon, a comma or a semicolon", r"[:;,] (?P<fires>\w+)"),
        narrow=("a number right after a colon", r": (?P<fires>\d+)"),
        inner="total: 5|price: 30", outer="note: bring|answer: wait", near="well, bring|late; wait|then, wait",
    ),
    shaped(
        "after a question", "after punctuation",
        exact=("the word right after a question mark", r"\? (?P<fires>\w+)"),
        paraphrase="what directly follows the sign ?",
        broad=("the word right after a question mark or an exclamation mark", r"[?!] (?P<fires>\w+)"),
        narrow=("yes or no right after a question mark", r"\? (?P<fires>yes|no)\b"),
        inner="ready? yes|here? no", outer="when? later|who? them", near="stop! later|wait! them|go! later",
    ),
    shaped(
        "after a dash", "after punctuation",
        exact=("the word right after a dash", r"- (?P<fires>\w+)"), paraphrase="what directly follows the sign -",
        broad=("the word right after a dash or a slash", r"[-/] (?P<fires>\w+)"),
        narrow=("the word but or and right after a dash", r"- (?P<fires>but|and)\b"),
        inner="late - but here|done - and gone", outer="late - perhaps|gone - somewhere",
        near="late / perhaps|gone / somewhere|here / there",
    ),
)  # fmt: skip

_INSIDE = (
    shaped(
        "in round brackets", "inside brackets",
        exact=("words inside round brackets", r"\((?P<fires>[^()]*)\)"), paraphrase="what stands between ( and )",
        broad=("words inside brackets of any kind", r"[(\[{](?P<fires>[^()\[\]{}]*)[)\]}]"),
        narrow=("a number inside round brackets", r"\((?P<fires>\d+)\)"),
        inner="(12)|(305)", outer="(maybe)|(as before)", near="[maybe]|{as before}|[draft]",
    ),
    shaped(
        "in double quotes", "inside brackets",
        exact=("words inside double quotation marks", r'"(?P<fires>[^"]*)"'),
        paraphrase='what stands between two signs "',
        broad=("words inside quotation marks or square brackets", r'["\[](?P<fires>[^"\[\]]*)["\]]'),
        narrow=("a single short word, yes or no, inside double quotation marks", r'"(?P<fires>yes|no)"'),
        inner='"yes"|"no"', outer='"come over here"|"wait outside"', near="[come over here]|[wait]|[outside]",
    ),
)  # fmt: skip

_CODE = (
    shaped(
        "python", "code",
        exact=("keywords of Python code: def, import, return, lambda", r"\b(?:def|import|return|lambda)\b"),
        paraphrase="the Python words that define a function, load a module or give back a value",
        broad=("computer code of any kind, Python as well as HTML", r"\b(?:def|import|return|lambda)\b|</?\w+>"),
        narrow=("the Python keyword def", r"\bdef\b"),
        inner="def run(x)|def load(path)", outer="import os|return x|lambda x", near="<div>|<table>|</body>",
    ),
    shaped(
        "markup", "code",
        exact=("HTML tags", r"</?\w+>"), paraphrase="names between < and >, as web pages have them",
        broad=("computer code of any kind, HTML as well as assignments with an equals sign", r"</?\w+>|\w+ = \w+"),
        narrow=("closing HTML tags, which begin with </", r"</\w+>"),
        inner="</div>|</body>", outer="<div>|<table>", near="x = y|count = limit|a = b",
    ),
)  # fmt: skip

_NGRAMS = (
    shaped(
        "as well as", "n-gram",
        exact=("the phrase as well as", r"\bas well as\b"), paraphrase="the three words as, well, as in a row",
        broad=("any phrase of the form as ... as", r"\bas \w+ as\b"),
        narrow=("the phrase as well as followed by the", r"\bas well as the\b"),
        inner="as well as the others|as well as the rest", outer="as well as others|as well as mine",
        near="as big as mine|as far as others|as soon as ever",
    ),
    shaped(
        "of the", "n-gram",
        exact=("the two words of the", r"\bof the\b"), paraphrase="the word of directly before the word the",
        broad=("the word of, whatever follows", r"\bof\b"), narrow=("the phrase end of the", r"\bend of the\b"),
        inner="end of the garden|end of the street", outer="roof of the house|edge of the forest",
        near="cup of tea|piece of wood|kind of strange",
    ),
    shaped(
        "in order to", "n-gram",
        exact=("the phrase in order to", r"\bin order to\b"), paraphrase="the three words in, order, to in a row",
        broad=("phrases that introduce a purpose: in order to, so as to", r"\b(?:in order|so as) to\b"),
        narrow=("the phrase in order to see", r"\bin order to see\b"),
        inner="in order to see them|in order to see it", outer="in order to help|in order to rest",
        near="so as to help|so as to rest|so as to wait",
    ),
)  # fmt: skip

FORMS: tuple[PlantedUnit, ...] = (*_SINGLE, *_PIECES, *_CASING, *_DIGITS, *_AFTER, *_INSIDE, *_CODE, *_NGRAMS)
