"""Planted units that fire on words of a list: word lists, languages, topics and pairs of unrelated meanings."""

from __future__ import annotations

from .exam_unit import PlantedUnit, listed

_LISTS = (
    listed(
        "colours", "word list",
        exact="names of colours", paraphrase="words that say which colour something has",
        broad="words for how a thing looks: its colour, size or brightness", narrow="the colours red and blue",
        inner="red blue", outer="green yellow purple", near="huge tiny bright shiny",
    ),
    listed(
        "weekdays", "word list",
        exact="names of the days of the week", paraphrase="a day such as Monday or Saturday",
        broad="names of days of the week and of months", narrow="the two days of the weekend, Saturday and Sunday",
        inner="Saturday Sunday", outer="Monday Tuesday Thursday", near="January March August",
    ),
    listed(
        "body", "word list",
        exact="parts of the human body", paraphrase="words for limbs, organs and other pieces of a person's body",
        broad="parts of the body and pieces of clothing", narrow="the words hand and foot",
        inner="hand foot", outer="elbow knee stomach", near="shoe sock jacket",
    ),
    listed(
        "animals", "word list",
        exact="names of animals", paraphrase="words for beasts and birds",
        broad="names of living things, animals as well as plants", narrow="names of birds",
        inner="crow duck goose", outer="horse goat rabbit", near="oak fern tulip",
    ),
)  # fmt: skip

_LANGUAGES = (
    listed(
        "french", "language",
        exact="words in French", paraphrase="text that is written in the French language",
        broad="words in French, Spanish or Italian", narrow="French greetings and thanks",
        inner="bonjour merci salut", outer="maison jamais toujours", near="hermano gracias ragazzo",
    ),
    listed(
        "german", "language",
        exact="words in German", paraphrase="text that is written in the German language",
        broad="words in German, Dutch or Swedish", narrow="German words for members of the family",
        inner="Mutter Vater Tochter", outer="nicht immer Fenster", near="moeder altijd flicka",
    ),
    listed(
        "spanish", "language",
        exact="words in Spanish", paraphrase="text that is written in the Spanish language",
        broad="words in Spanish or French", narrow="Spanish words for animals",
        inner="perro gato caballo", outer="siempre ventana mujer", near="fromage cheval beaucoup",
    ),
)  # fmt: skip

_TOPICS = (
    listed(
        "cooking", "topic",
        exact="words about cooking and baking", paraphrase="vocabulary of preparing food in a kitchen",
        broad="words about the household: cooking, cleaning or furniture", narrow="words about baking bread and cakes",
        inner="dough yeast oven", outer="simmer saucepan garlic", near="broom sofa curtain",
    ),
    listed(
        "law", "topic",
        exact="words about courts and law", paraphrase="legal vocabulary",
        broad="words about public affairs: law or politics", narrow="people who work in a court",
        inner="judge lawyer prosecutor", outer="verdict lawsuit statute", near="parliament election senator",
    ),
    listed(
        "sport", "topic",
        exact="words about ball games", paraphrase="vocabulary of games that are played with a ball",
        broad="words about any sport", narrow="words about football",
        inner="goalkeeper penalty striker", outer="racket volley batsman", near="marathon swimmer judo",
    ),
    listed(
        "medicine", "topic",
        exact="words about medicine", paraphrase="vocabulary of doctors, illness and treatment",
        broad="words about science, medicine as well as physics", narrow="people who work in a hospital",
        inner="nurse surgeon doctor", outer="vaccine fever diagnosis", near="proton gravity magnet",
    ),
    listed(
        "music", "topic",
        exact="words about music", paraphrase="vocabulary of instruments and melodies",
        broad="words about the arts: music, painting or theatre", narrow="names of musical instruments",
        inner="violin trumpet piano", outer="melody chorus rhythm", near="sculptor canvas actress",
    ),
    listed(
        "computing", "topic",
        exact="words about computers", paraphrase="vocabulary of software and computer hardware",
        broad="words about machines, computers as well as vehicles", narrow="parts of a computer",
        inner="keyboard processor monitor", outer="software database browser", near="tractor gearbox locomotive",
    ),
)  # fmt: skip

# Broad: both meanings and more. Narrow: one of the two, so that a judge who is told half finds half.
_PAIRS = (
    listed(
        "fruit or ships", "polysemantic",
        exact="two unrelated things: fruit, and parts of a sailing ship",
        paraphrase="either something like an apple or something like the mast of a boat",
        broad="fruit, vegetables, and parts of any vehicle", narrow="fruit",
        inner="apple pear plum", outer="anchor mast rudder", near="carrot onion headlight",
    ),
    listed(
        "metals or dances", "polysemantic",
        exact="two unrelated things: metals, and dances",
        paraphrase="either a material such as iron or something one dances to, such as a waltz",
        broad="any material, and anything done at a party", narrow="metals",
        inner="iron copper zinc", outer="waltz tango polka", near="plastic cotton toast",
    ),
    listed(
        "weather or family", "polysemantic",
        exact="two unrelated things: bad weather, and relatives",
        paraphrase="either something like a storm or a person like an uncle",
        broad="any weather, and people of any kind", narrow="bad weather",
        inner="storm hail blizzard", outer="uncle niece grandmother", near="sunshine stranger neighbour",
    ),
    listed(
        "tools or jewels", "polysemantic",
        exact="two unrelated things: hand tools, and precious stones",
        paraphrase="either something like a hammer or something like a diamond",
        broad="tools, kitchen machines, and stones of any kind", narrow="hand tools",
        inner="hammer chisel screwdriver", outer="diamond ruby emerald", near="blender granite toaster",
    ),
)  # fmt: skip

WORDS: tuple[PlantedUnit, ...] = (*_LISTS, *_LANGUAGES, *_TOPICS, *_PAIRS)
