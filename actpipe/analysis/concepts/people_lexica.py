"""Family of word lists, second part: people, feelings, mind, acts, judgement. Common words, chosen by hand."""

from __future__ import annotations

from .lexicon import lexica

PEOPLE = lexica("""
lexicon/people: person people human humans folks crowd guy guys adult adults everyone public audience viewer viewers
    stranger citizen
lexicon/men < lexicon/people: man men gentleman boy boys lad dude sir mr male
lexicon/women < lexicon/people: woman women lady ladies girl girls mrs miss ms female
lexicon/children < lexicon/people: child children kid kids baby babies boy boys girl girls toddler teenager teen teens
    infant youth
lexicon/family: family families parent parents relative cousin uncle aunt grandfather grandmother grandma grandpa twin
    twins
lexicon/mother < lexicon/family: mother mom mommy mum mama
lexicon/father < lexicon/family: father dad daddy papa
lexicon/siblings < lexicon/family: brother brothers sister sisters sibling siblings son sons daughter daughters
lexicon/marriage: husband wife marriage married marry wedding bride groom divorce divorced engaged widow affair
    honeymoon
lexicon/friendship: friend friends friendship buddy buddies pal companion partner neighbor neighbors
lexicon/first names:
lexicon/male names < lexicon/first names: john james robert michael william david richard charles joseph thomas george
    paul peter mark steven kevin brian jack harry ben sam tom tim max bob frank joe jim mike
lexicon/female names < lexicon/first names: mary elizabeth jennifer linda susan sarah karen lisa nancy anna emma lily
    lucy sue jane alice kate julia maria rachel emily amy helen
lexicon/love: love loves loved loving lover lovers romance romantic kiss kissing passion affection adore crush heart
lexicon/joy: happy happiness happily joy fun smile smiled smiles laugh laughed laughing laughs glad enjoy enjoyed
    delight cheerful excited pleasure
lexicon/sadness: sad sadness sadly cry cried crying tears tragic tragedy grief sorrow lonely depressed depressing
    miserable unhappy
lexicon/fear: fear fears afraid scared scary frightened frightening terror terrified terrifying horror panic creepy
    nightmare dread
lexicon/anger: angry anger mad furious rage hate hated hates hatred annoyed annoying upset yell yelled shout shouted
lexicon/surprise: surprise surprised surprising surprisingly shock shocked shocking amazed amazing astonished
    unexpected suddenly
lexicon/disgust: disgusting gross nasty ugly filthy vile sick stink sickening revolting
lexicon/thought: think thinks thinking thought thoughts know knows knew known believe believed understand idea ideas
    wonder imagine guess suppose consider mind
lexicon/memory: remember remembered forget forgot forgotten memory memories recall remind reminded reminds nostalgia
lexicon/desire: want wants wanted wish wished hope hoped need needs desire prefer longing dream dreams
lexicon/perception: see sees saw seen look looks looked looking watch watched watching hear heard listen feel felt
    smell sound sounded notice noticed
lexicon/speech: say says said tell tells told talk talks talked talking speak speaks spoke ask asked asks answer
    answered reply replied whisper whispered call called
lexicon/motion: go goes went going gone come comes came walk walked walking run ran running jump jumped fly flew climb
    climbed fall fell move moved follow followed
lexicon/giving: give gives gave given take takes took taken bring brought get gets got put send sent receive share
    shared
lexicon/making: make makes made making build built create created creating produce produced design designed invent
    construct
lexicon/change: begin begins began start starts started stop stopped end ends ended finish finished become becomes
    became change changed continue
lexicon/play: play played playing game games toy toys ball doll puzzle hide jump swing playground
lexicon/sleep: sleep sleeping slept asleep dream dreams awake wake woke bed tired nap
lexicon/violence: kill kills killed killing killer murder murders murdered fight fights fighting fought attack beat
    hit punch stab shoot shooting shot blood bloody torture
lexicon/weapons < lexicon/violence: gun guns knife sword bomb bombs weapon weapons bullet bullets rifle
lexicon/death: death die dies died dead dying funeral grave corpse suicide ghost buried coffin
lexicon/crime: crime crimes criminal steal stole stolen thief robbery rob gang gangster mafia drug drugs victim prison
    jail arrest arrested
lexicon/praise: good great best excellent wonderful fantastic brilliant perfect superb masterpiece beautiful amazing
    awesome outstanding incredible terrific enjoyable recommend favorite
lexicon/blame: bad worst terrible awful horrible boring stupid poor poorly waste worse dull crap garbage lame
    ridiculous pathetic mess disappointing disappointment dreadful
lexicon/beauty: beautiful beautifully beauty pretty handsome lovely gorgeous attractive cute sexy elegant
lexicon/age: old older oldest young younger youngest new newer ancient modern elderly age aged
lexicon/truth: true truth false real really reality fact facts fake lie lies lied lying honest actual
lexicon/importance: important main major key serious significant essential necessary crucial minor central
lexicon/difficulty: hard easy difficult simple tough complex complicated easily challenge problem problems trouble
""")
