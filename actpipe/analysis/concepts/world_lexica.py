"""Family of word lists, first part: nature, body, things, places, time. Common words, chosen by hand."""

from __future__ import annotations

from .lexicon import lexica

WORLD = lexica("""
lexicon/animals: animal animals beast creature creatures tiger lion elephant bear wolf fox deer monkey horse horses
    cow cows pig pigs sheep goat mouse rat rabbit fish shark whale snake spider insect turtle frog
lexicon/pets < lexicon/animals: dog dogs puppy cat cats kitten kitty hamster parrot pet pets
lexicon/birds < lexicon/animals: bird birds crow eagle owl duck ducks chicken hen goose swan dove hawk robin
lexicon/plants: tree trees flower flowers grass leaf leaves plant plants forest bush rose seed root garden wood bark
    branch weed moss oak pine
lexicon/weather: weather rain snow wind storm cloud clouds sun sunny sunshine cold hot warm thunder lightning fog ice
    frost heat hurricane rainy windy cloudy
lexicon/water: water sea ocean river lake wave waves beach shore stream pond pool flood swim swimming boat ship island
    coast
lexicon/sky: sky moon star stars planet space earth mars galaxy universe orbit comet astronaut rocket telescope sun
    solar
lexicon/landscape: mountain mountains hill hills valley desert field fields cave rock rocks cliff sand mud land ground
    soil stone stones
lexicon/food: food eat eating ate meal dinner lunch breakfast bread cheese meat soup salad rice egg eggs pizza
    sandwich butter sauce cook cooking recipe kitchen hungry taste delicious
lexicon/fruit < lexicon/food: fruit apple apples banana orange lemon grape grapes cherry peach pear berry strawberry
    tomato tomatoes
lexicon/sweets < lexicon/food: cake cakes candy chocolate cookie cookies sugar honey pie dessert sweet sweets icecream
lexicon/drink: drink drinks drinking drank coffee tea wine beer milk juice whiskey vodka alcohol bottle cup glass bar
    drunk
lexicon/body: body skin bone bones blood heart brain stomach back chest shoulder shoulders neck muscle hip belly
    breast waist
lexicon/face < lexicon/body: face eye eyes nose mouth ear ears lip lips tooth teeth tongue cheek chin hair forehead
    beard
lexicon/limbs < lexicon/body: arm arms hand hands finger fingers thumb leg legs foot feet knee knees toe toes elbow
    wrist ankle
lexicon/clothes: clothes dress shirt shoes shoe hat coat jacket pants skirt suit boots gloves wear wearing wore
    costume costumes fashion uniform scarf
lexicon/colours: colour color colors red blue green yellow orange purple pink brown black white gray grey golden
    silver
lexicon/home: house home room rooms door doors window windows wall walls floor roof kitchen bedroom bathroom stairs
    garden apartment basement
lexicon/furniture < lexicon/home: table chair chairs bed desk sofa couch lamp shelf carpet curtain mirror drawer
lexicon/tools: tool tools hammer knife rope saw nail shovel axe ladder wheel key keys lock machine engine box bag
    basket
lexicon/vehicles: car cars truck bus train trains plane planes airplane bike bicycle motorcycle ship ships boat taxi
    van helicopter vehicle drive driving drove driver
lexicon/travel: travel trip journey flight airport hotel tour tourist passport vacation holiday ticket road roads
    street highway station map luggage
lexicon/buildings: building buildings tower castle church bridge hospital prison jail office store shop mall factory
    museum library palace school
lexicon/city: city cities town towns village street streets downtown neighborhood suburb urban mayor avenue
lexicon/places:
lexicon/countries < lexicon/places: america england britain france germany spain italy russia china japan india canada
    australia mexico brazil egypt ireland scotland vietnam korea iraq iran israel poland greece sweden
lexicon/big cities < lexicon/places: london paris york chicago boston rome berlin moscow tokyo hollywood vegas angeles
    francisco washington texas california jerusalem dublin vienna
lexicon/nationalities: american english british french german spanish italian russian chinese japanese indian canadian
    australian mexican irish scottish greek swedish african asian european
lexicon/months: january february march april may june july august september october november december
lexicon/weekdays: monday tuesday wednesday thursday friday saturday sunday weekend
lexicon/seasons: spring summer autumn fall winter christmas easter halloween thanksgiving
lexicon/times of day: morning noon afternoon evening night nights midnight dawn dusk tonight sunset sunrise
lexicon/durations: second seconds minute minutes hour hours day days week weeks month months year years decade decades
    century centuries moment
lexicon/number words: zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty
    hundred hundreds thousand thousands million millions billion dozen
lexicon/ordinal words: first second third fourth fifth sixth seventh eighth ninth tenth last
lexicon/measures: inch inches feet mile miles meter meters kilometer pound pounds gram kilogram ton degree degrees
    percent gallon liter acre
lexicon/size: big large huge great giant enormous massive small little tiny short tall long wide narrow deep high low
    vast
lexicon/shape: round square circle triangle flat straight curved sharp line lines edge corner center surface angle
lexicon/direction: up down left right north south east west forward backward above below ahead behind
lexicon/materials: gold silver iron steel metal plastic paper leather cotton wool glass rubber concrete brick copper
    wooden
""")
