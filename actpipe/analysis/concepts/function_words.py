"""Family of the small words: closed classes of English."""

from __future__ import annotations

from .lexicon import lexica

FUNCTION = lexica("""
function/determiner: some any each every either neither no another such both all half what which
function/article < function/determiner: a an the
function/demonstrative < function/determiner: this that these those
function/possessive < function/determiner: my your his her its our their
function/quantifier: some any each every many much few several most more less all both enough plenty
function/preposition: of to in for on with at by from into about over after under between through during against among
    within without across behind beyond along despite toward towards upon onto near off
function/place preposition < function/preposition: in on at under between behind across beyond near over above below
    beside inside outside onto upon
function/conjunction: and or but nor so yet for because although though while if unless until since whereas when as
    than that whether
function/coordinating < function/conjunction: and or but nor
function/subordinating < function/conjunction: because although though while if unless until since whereas
function/pronoun: one ones each other others another everyone everybody someone somebody anyone anybody nobody
    everything something anything nothing who whom
function/first person < function/pronoun: i me my mine myself we us our ours ourselves
function/second person < function/pronoun: you your yours yourself yourselves
function/third person < function/pronoun: they them their theirs themselves it its itself
function/he < function/third person: he him his himself
function/she < function/third person: she her hers herself
function/reflexive < function/pronoun: myself yourself himself herself itself ourselves yourselves themselves
function/indefinite < function/pronoun: everyone everybody someone somebody anyone anybody nobody everything something
    anything nothing
function/auxiliary:
function/be < function/auxiliary: am is are was were be been being
function/have < function/auxiliary: have has had having
function/do < function/auxiliary: do does did doing done
function/modal < function/auxiliary: can could will would shall should may might must
function/wh-word: who whom whose which what when where why how
function/negation: not no never none nothing nobody neither nor n't 't cannot nowhere
function/to < function/preposition: to
function/of < function/preposition: of
function/and < function/coordinating: and
function/that < function/demonstrative < function/conjunction: that
function/degree adverb: very too so quite rather really extremely fairly pretty totally completely almost nearly just
    barely hardly absolutely highly utterly incredibly
function/time adverb: now then soon later already still yet again always often sometimes usually never rarely today
    tomorrow yesterday recently once finally before after early ever
function/place adverb: here there everywhere somewhere anywhere away back home inside outside upstairs
function/linking adverb: however therefore moreover furthermore thus hence instead meanwhile otherwise nevertheless
    consequently besides also indeed additionally
function/hedge: perhaps maybe possibly probably apparently seemingly likely somewhat supposedly arguably
function/interjection: oh ah well wow hey hi hello yes yeah no ok okay please thanks alas ugh hmm
""")
