"""The words of the mini data set: subjects by domain, colours by palette, skin tones, backgrounds.

A subject is written ``word``, or ``word=name`` where the caption's word is not the drawing's Unicode short name.
"""

from __future__ import annotations

DOMAINS = ("people", "nature", "things")
PALETTES = ("natural", "warm", "cool")

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "cream": (255, 232, 160),
    "grey": (190, 190, 196),
    "mint": (180, 232, 200),
    "sky": (176, 214, 250),
}

COLOURS: dict[str, dict[str, tuple[int, int, int]]] = {
    "warm": {"red": (224, 36, 36), "orange": (248, 136, 16), "pink": (244, 112, 176)},
    "cool": {"blue": (36, 88, 224), "green": (32, 156, 64), "purple": (128, 56, 192)},
}

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")

# People whose drawings exist in five skin tones beside the yellow one.
TONED = """
baby; boy; girl; man; woman; old man; old woman; woman with headscarf; princess; prince; Santa Claus; angel=baby angel; woman
fairy; mermaid; mage; man vampire; superhero; man police officer; woman police officer; guard=man guard; builder=construction
worker; detective; ninja; woman farmer; man cook; woman scientist; man astronaut; woman artist; man firefighter; woman health
worker; man judge; woman pilot; man student; woman singer; woman dancing; man dancing; person running; person in lotus
position; woman raising hand; woman shrugging; man with turban=man wearing turban; bride=woman with veil; thumbs up; thumbs
down; victory hand; raised fist; OK hand; waving hand; biceps=flexed biceps; ear; nose; raised hand; folded hands; call me
hand; foot; pointing finger=index pointing up; crossed fingers
"""

UNTONED = """
grinning face; winking face; smiling face with sunglasses; smiling face with heart-eyes; loudly crying face; angry face;
sleeping face; nerd face; clown face; cowboy hat face; partying face; star-struck; face with tongue; neutral face; face with
medical mask; smiling face with halo; smiling face with horns; astonished face; hot face; cold face; thinking face; zany face;
alien; ghost; skull; ogre; goblin; eyes; mouth; tooth; man with beard=man beard; bald man=man bald
"""

NATURE = """
dog face; cat face; mouse face; hamster; rabbit face; fox; bear; panda; koala; tiger face; lion; cow face; pig face; frog;
monkey face; wolf; horse face; unicorn; chicken; penguin; bird; baby chick; duck; eagle; owl; bat; boar; honeybee; bug;
butterfly; snail; lady beetle; ant; spider; scorpion; turtle; snake; lizard; octopus; squid; shrimp; crab; blowfish; tropical
fish; fish; dolphin; whale=spouting whale; shark; crocodile; zebra; gorilla; elephant; hippopotamus; rhinoceros; camel;
giraffe; kangaroo; ox; pig; ewe; llama; goat; deer; dog; cat; rooster; turkey; peacock; parrot; swan; flamingo; hedgehog;
raccoon; sloth; T-Rex; sauropod; dragon face; cactus; evergreen tree; deciduous tree; palm tree; seedling; herb; four leaf
clover; maple leaf; fallen leaf; mushroom; tulip; rose; hibiscus; sunflower; cherry blossom; blossom; sheaf of rice; potted
plant; coral; grapes; melon; watermelon; tangerine; lemon; banana; pineapple; apple=red apple; pear; peach; cherries;
strawberry; kiwi fruit; tomato; coconut; avocado; eggplant; potato; carrot; corn=ear of corn; hot pepper; cucumber; broccoli;
garlic; onion; bread; croissant; pretzel; pancakes; cheese=cheese wedge; meat on bone; poultry leg; hamburger; french fries;
pizza; hot dog; taco; egg; cooking; popcorn; rice ball; fried shrimp; ice cream=soft ice cream; doughnut; cookie; birthday
cake; shortcake; cupcake; pie; chocolate bar; candy; lollipop; honey pot
"""

THINGS = """
heart=red heart; broken heart; star; glowing star; sun; sun with face; crescent moon; full moon face; cloud; rainbow; high
voltage; fire; droplet; snowflake; snowman; umbrella; tornado; ringed planet; globe=globe showing Americas; volcano;
mountain=snow-capped mountain; comet; water wave; house; house with garden; castle; church; tent; factory; fountain; ferris
wheel; office building; hospital; Tokyo tower; mosque; car=automobile; taxi; bus; police car; fire engine; ambulance; delivery
truck; tractor; racing car; bicycle; motor scooter; locomotive; airplane; helicopter; rocket; flying saucer; sailboat; ship;
anchor; speedboat; traffic light=vertical traffic light; stop sign; construction; soccer ball; basketball; american football;
baseball; tennis; volleyball; bowling; trophy; medal=sports medal; bullseye; video game; game die; puzzle piece; teddy bear;
kite; balloon; wrapped gift; jack-o-lantern; Christmas tree; party popper; guitar; trumpet; violin; drum; saxophone;
accordion; microphone; headphone; bell; loudspeaker; crown; top hat; graduation cap; glasses; sunglasses; necktie; t-shirt;
jeans; dress; bikini; handbag; backpack; running shoe; high-heeled shoe; woman’s boot; lipstick; ring; gem stone; gloves;
socks; scarf; billed cap; light bulb; bomb; key; lock=locked; scissors; hammer; axe; wrench; magnet; gear; telephone; mobile
phone; laptop; television; camera; radio; battery; alarm clock; watch; hourglass=hourglass done; candle; closed book;
envelope; package; money bag; coin; pencil; crayon; paintbrush; magnifying glass=magnifying glass tilted left; syringe; pill;
shopping cart; toilet; bathtub; bed; chair; door; teapot; hot beverage; wine glass; beer mug; cocktail glass; shield; pool
ball=pool 8 ball; yin yang; peace symbol; check mark; cross mark; question mark=red question mark; exclamation mark=red
exclamation mark; recycling symbol; no entry; warning; musical note; speech balloon; pile of poo; robot; moai; flag of
France=France; flag of Italy=Italy; flag of Germany=Germany; flag of Japan=Japan; flag of Brazil=Brazil; flag of Chile=Chile;
flag of Canada=Canada; flag of Switzerland=Switzerland; flag of Sweden=Sweden; flag of Britain=United Kingdom; flag of
Jamaica=Jamaica; flag of Ukraine=Ukraine; rainbow flag; pirate flag
"""

# Subjects that stay legible at half the size: the figures of two-object scenes.
SCENIC: dict[str, str] = {
    "people": """
    baby; boy; girl; man; woman; old man; princess; Santa Claus; superhero; grinning face; smiling face with sunglasses;
    loudly crying face; angry face; clown face; cowboy hat face; alien; ghost; skull; thumbs up; raised hand; biceps; foot;
    woman dancing; person running; eyes
    """,
    "nature": """
    dog face; cat face; rabbit face; panda; lion; pig face; frog; monkey face; penguin; owl; honeybee; butterfly; turtle;
    octopus; crab; fish; elephant; duck; cactus; evergreen tree; palm tree; mushroom; tulip; sunflower; banana; apple;
    strawberry; watermelon; carrot; hamburger; pizza; ice cream; doughnut; cupcake
    """,
    "things": """
    heart; star; sun; crescent moon; cloud; fire; snowman; umbrella; house; castle; car; bus; rocket; airplane; sailboat;
    soccer ball; basketball; trophy; balloon; wrapped gift; Christmas tree; guitar; drum; bell; crown; top hat; t-shirt;
    dress; gem stone; light bulb; bomb; key; alarm clock; pencil; flag of France; flag of Japan; flag of Chile; flag of
    Canada; robot; musical note
    """,
}


def words(text: str) -> dict[str, str]:
    """``word=name; word`` -> {word: name of the drawing}."""
    entries = (entry.strip() for entry in " ".join(text.split()).split(";"))
    pairs = (entry.partition("=") for entry in entries if entry)
    return {word: name or word for word, _, name in pairs}


def subjects() -> dict[str, dict[str, str]]:
    """Domain -> {word of the caption: name of the drawing}."""
    return {"people": words(TONED) | words(UNTONED), "nature": words(NATURE), "things": words(THINGS)}
