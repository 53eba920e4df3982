"""Family of word lists, third part: work, state, arts, sciences. Common words, chosen by hand."""

from __future__ import annotations

from .lexicon import lexica

SOCIETY = lexica("""
lexicon/film: movie movies film films cinema scene scenes script screen screenplay plot sequel trailer camera
    cinematography editing hollywood footage documentary theater theatre dvd video
lexicon/film makers < lexicon/film: director directors directed producer producers writer writers filmmaker filmmakers
    cinematographer studio
lexicon/acting < lexicon/film: actor actors actress actresses acting cast role roles performance performances star
    stars starring character characters
lexicon/genres: comedy comedies drama horror thriller romance western fantasy action adventure mystery musical
    animation animated parody satire suspense
lexicon/television: tv television show shows episode episodes series season channel network broadcast sitcom cartoon
lexicon/story: story stories tale tales plot narrative novel book books chapter character ending legend myth fairy
    hero villain
lexicon/reading: book books novel read reads reading author page pages write writes written writing wrote poem poetry
    letter word words
lexicon/music: music song songs sing sings singing sang singer band guitar piano drum drums violin melody soundtrack
    album concert dance dancing rock jazz
lexicon/art: art artist artists paint painted painting paintings picture pictures draw drawing drew sculpture gallery
    photo photograph image
lexicon/sports: sport sports football baseball basketball soccer tennis golf boxing wrestling hockey team teams player
    players coach match race championship olympic
lexicon/winning: win wins won winner winning lose loses lost loser losing victory defeat defeated score award awards
    prize oscar
lexicon/school: school schools student students teacher teachers class classroom lesson study studied college
    university exam homework learn learned learning education
lexicon/work: work works worked working job jobs worker workers boss office career employee company business hire
    hired fired
lexicon/professions: doctor nurse lawyer teacher engineer farmer cook chef driver pilot soldier scientist detective
    artist writer secretary waiter
lexicon/money: money dollar dollars cent cents pay paid price cost costs buy bought sell sold rich poor cash cheap
    expensive budget worth
lexicon/finance < lexicon/money: bank banks stock stocks market loan debt tax taxes profit investment fund interest
    insurance
lexicon/law: law laws legal court judge jury trial lawyer attorney guilty innocent justice sentence evidence witness
    rights contract
lexicon/police: police cop cops officer detective sheriff fbi agent agents investigation investigate arrest suspect
lexicon/war: war wars battle army soldier soldiers military enemy enemies troops general captain navy tank marine
    marines invasion nazi nazis vietnam veteran
lexicon/politics: president government political politics politician election vote voted party congress senate
    minister democracy republican democrat leader policy
lexicon/royalty: king queen prince princess royal throne crown kingdom emperor duke knight knights castle
lexicon/religion: god church religion religious jesus christ christian bible pray prayer priest faith holy heaven soul
    catholic jewish muslim angel
lexicon/evil < lexicon/religion: devil demon demons satan hell evil sin
lexicon/magic: magic magical witch wizard spell fairy ghost ghosts vampire vampires zombie zombies monster monsters
    dragon werewolf supernatural curse
lexicon/science: science scientist scientists scientific experiment research theory physics chemistry biology
    laboratory lab energy evolution atom cell cells
lexicon/mathematics: math mathematics number numbers equation sum add multiply divide minus plus algebra geometry
    formula calculate equal probability
lexicon/computing: computer computers software program code data internet web website file files user online digital
    server email network hacker algorithm
lexicon/programming < lexicon/computing: def return import class function int string const void else elif print self
    null true false var public static
lexicon/technology: technology machine machines robot robots phone telephone radio electric electricity device engine
    laser camera
lexicon/medicine: doctor doctors nurse hospital patient patients medicine medical drug drugs surgery disease diseases
    cancer virus treatment pill therapy vaccine
lexicon/illness < lexicon/medicine: sick ill illness pain fever injury wound wounded infection cough
lexicon/mind's illness: crazy insane mad madness psycho psychotic mental psychiatrist asylum depression disorder
    autistic
lexicon/sex: sex sexual sexy nude nudity naked gay lesbian rape erotic porn prostitute virgin seduce
lexicon/swearing: damn hell crap shit fuck fucking ass bitch bastard bloody suck sucks
lexicon/humour: funny funnier funniest hilarious humor humour joke jokes comic comedian laugh laughs witty silly
    comedy ironic
lexicon/groups: group groups team club gang band crew class community society organization union party association
lexicon/communication: letter phone message news newspaper magazine interview report article press journalist reporter
    media advertisement
lexicon/comparison: like than similar same different compare compared comparison unlike resemble difference equal
    another other
lexicon/cause: because reason reasons why cause caused result results effect effects therefore due consequence
lexicon/parts: part parts piece pieces half whole rest bit bits section end middle beginning top bottom side
lexicon/viewing: see watch watched watching viewing rent rented saw seen review reviews rating stars
""")
