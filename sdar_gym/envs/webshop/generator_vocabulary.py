"""Vocabulary of the generated catalog: forty product kinds in five departments, with their words and options."""

# ruff: noqa: E501 (tables)

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Department:
    """Vocabulary shared by the kinds of a department.

    Attributes:
        brands: Fictional brands.
        attributes: Possible attributes of its products.
        promises: Sentence templates for features and descriptions, with `{noun}` and `{brand}`.
    """

    brands: tuple[str, ...]
    attributes: tuple[str, ...]
    promises: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product.

    Attributes:
        department: Key of `DEPARTMENTS`.
        query: Fine-grained type, as named by goals.
        path: Category path below the department's.
        noun: Noun in titles.
        looks: Words that distinguish product families.
        parts: Accessories.
        options: Keys of `OPTION_VALUES`.
        low, high: Price range in dollars.
    """

    department: str
    query: str
    path: str
    noun: str
    looks: tuple[str, ...]
    parts: tuple[str, ...]
    options: tuple[str, ...]
    low: float
    high: float


# Option name on the page, values, and minimum and maximum number of values of a product.
OPTION_VALUES: dict[str, tuple[str, tuple[str, ...], int, int]] = {
    "color": (
        "color",
        (
            *("black", "white", "navy", "light blue", "royal blue", "army green", "mint", "heather grey", "charcoal"),
            *("burgundy", "red", "rose", "pink", "lavender", "khaki", "beige", "coffee", "mustard", "teal", "orange"),
        ),
        3,
        6,
    ),
    "finish": ("color", ("espresso", "walnut", "natural", "white", "black", "rustic brown", "grey wash"), 2, 4),
    "clothes": ("size", ("x-small", "small", "medium", "large", "x-large", "xx-large", "3x-large"), 3, 6),
    "shoes": ("size", ("6", "6.5", "7", "7.5", "8", "8.5", "9", "9.5", "10", "11", "12"), 4, 7),
    "bottle": ("size", ("1 fl oz", "2 fl oz", "4 fl oz", "8 fl oz", "13.5 fl oz (pack of 2)", "16 fl oz"), 2, 4),
    "scent": ("scent", ("lavender", "citrus", "unscented", "eucalyptus", "vanilla", "rose", "green tea"), 2, 4),
    "flavor": (
        "flavor name",
        (
            "sea salt",
            "barbecue",
            "honey",
            "chocolate",
            "vanilla",
            "strawberry",
            "original",
            "peanut butter",
            "cinnamon",
        ),
        2,
        5,
    ),
    "pack": ("size", ("1 ounce (pack of 12)", "5 ounce (pack of 6)", "12 ounce (pack of 1)", "2 pound"), 2, 3),
    "length": ("size", ("3 feet", "6 feet", "10 feet", "15 feet", "25 feet"), 2, 4),
    "storage": ("capacity", ("32gb", "64gb", "128gb", "256gb", "512gb"), 2, 4),
    "bed": ("size", ("twin", "full", "queen", "king"), 2, 4),
    "rug": ("size", ("2 ft x 3 ft", "4 ft x 6 ft", "5 ft x 8 ft", "8 ft x 10 ft"), 2, 4),
    "style": ("style", ("basic", "deluxe", "with carrying bag", "two piece set"), 2, 3),
}

DEPARTMENTS: dict[str, Department] = {
    "beauty": Department(
        ("Lumera", "Velvetine", "Oakbrook", "Purelle Garden", "Solenne", "Mistral Bay", "Harrow & Fern"),
        (
            *("cruelty free", "paraben free", "fragrance free", "long lasting", "easy use", "easy carry"),
            *("high quality", "travel size", "eco friendly", "natural ingredients", "dermatologist tested"),
        ),
        (
            "A few minutes a day with this {noun} are enough to see and feel the difference.",
            "Made in small batches by {brand} and checked before it leaves the house.",
            "The slim container fits into your bag and does not leak on a journey.",
            "Suitable for men and women of every age; test on a small spot first.",
            "A thoughtful gift for a birthday, a wedding or the end of a long week.",
        ),
    ),
    "fashion": Department(
        ("Northmere", "Calder Lane", "Juniper Row", "Ridgeline", "Fable & Thread", "Westhaven", "Mariposa"),
        (
            *("quality materials", "daily wear", "everyday wear", "teen girls", "high quality", "hand wash"),
            *("light weight", "imported fabric", "gift idea"),
        ),
        (
            "Soft to the touch and cut so that you can move, sit and stretch all day.",
            "{brand} uses fabric that keeps its shape after many washes.",
            "Goes with jeans, with a skirt or under your favourite jacket.",
            "Please look at the size chart before you order; when in doubt take the larger one.",
            "Made for the office, for travel, for evenings out and for lazy Sundays.",
        ),
    ),
    "garden": Department(
        ("Hollis Home", "Timberline", "Greyson", "Arden Works", "Casa Verano", "Larkfield", "Stillwater"),
        (
            *("eco friendly", "heavy duty", "easy clean", "long lasting", "high quality", "mid century"),
            *("living room", "home office", "small spaces"),
        ),
        (
            "This {noun} brings order and a bit of warmth to every corner of your home.",
            "All tools and a drawing are in the box; two people need about half an hour.",
            "Wipe it with a damp cloth and it looks like new.",
            "{brand} tests each model for stability well above the weight it is made for.",
            "Should anything be missing or broken, write to us and we send the part at once.",
        ),
    ),
    "grocery": Department(
        ("Millbrook Farms", "Tidewater", "Golden Acre", "Sunny Orchard", "Pine & Pepper", "Old Quay", "Bramble Hill"),
        (
            *("gluten free", "non gmo", "dairy free", "nut free", "soy free", "certified organic", "low sodium"),
            *("kosher certified", "quality ingredients", "natural flavors", "artificial colors"),
        ),
        (
            "Taste it once and your family will ask for it again.",
            "Picked, made and packed by {brand} within a few days.",
            "Keep some at your desk, in the car or in the lunch box.",
            "Store in a cool and dry place and close the bag well.",
            "Nothing in it that you could not pronounce.",
        ),
    ),
    "electronics": Department(
        ("Voltaic", "Nimbus", "Kestrel", "Axiom Audio", "Brightline", "Orbiton", "Helix Labs"),
        (
            *("easy install", "easy use", "long lasting", "heavy duty", "light weight", "high quality"),
            *("plug play", "carrying case", "one year warranty"),
        ),
        (
            "Works with phones, tablets, laptops and most televisions; no drivers needed.",
            "{brand} gives eighteen months of warranty and answers within a day.",
            "Small enough for your pocket, strong enough for daily use.",
            "The manual is short, and the package holds all you need to begin.",
            "Tested for thousands of hours so that you can forget about it.",
        ),
    ),
}

_SKIN = "Beauty & Personal Care › Skin Care"
_HAIR = "Beauty & Personal Care › Hair Care"
_WOMEN = "Clothing, Shoes & Jewelry › Women"
_MEN = "Clothing, Shoes & Jewelry › Men"
_FURNITURE = "Home & Kitchen › Furniture"
_DECOR = "Home & Kitchen › Home Décor Products"
_SNACKS = "Grocery & Gourmet Food › Snacks & Sweets"
_PANTRY = "Grocery & Gourmet Food › Pantry Staples"
_AUDIO = "Electronics › Headphones, Earbuds & Accessories"
_CAMERA = "Electronics › Camera & Photo"
_BOTTLE, _SCENT, _CLOTHES = ("bottle",), ("scent", "bottle"), ("color", "clothes")
_SHOES, _FLAVOR, _PLAIN = ("color", "shoes"), ("flavor", "pack"), ("color",)

# fmt: off
KINDS: tuple[Kind, ...] = (
    Kind("beauty", "shampoo & conditioner", f"{_HAIR} › Shampoo & Conditioner", "Shampoo", ("Repairing", "Daily Volume", "Moisture", "Herbal", "Scalp Care"), ("pump bottle", "refill pouch"), _SCENT, 9, 38),
    Kind("fashion", "women's dresses", f"{_WOMEN} › Clothing › Dresses", "Summer Dress", ("Floral", "Wrap", "Boho", "Pleated", "Ruffle"), ("pockets", "belt"), _CLOTHES, 17, 65),
    Kind("garden", "console tables", f"{_FURNITURE} › Living Room Furniture › Tables", "Console Table", ("Farmhouse", "Narrow", "Industrial", "Curved", "Two Tier"), ("drawers", "lower shelf"), ("finish",), 79, 420),
    Kind("grocery", "jerky & dried meats", f"{_SNACKS} › Jerky & Dried Meats", "Beef Jerky", ("Smoked", "Peppered", "Old Style", "Tender", "Campfire"), ("zip bag", "snack sticks"), _FLAVOR, 8, 45),
    Kind("electronics", "headphones", f"{_AUDIO} › Over-Ear Headphones", "Headphones", ("Studio", "Foldable", "Travel", "Gaming", "Deep Bass"), ("microphone", "soft ear cups"), _PLAIN, 19, 180),
    Kind("beauty", "face moisturizers", f"{_SKIN} › Face › Moisturizers", "Face Cream", ("Night", "Day", "Gel", "Rich", "Barrier"), ("glass jar", "spatula"), _BOTTLE, 11, 60),
    Kind("fashion", "men's shirts", f"{_MEN} › Clothing › Shirts", "Casual Shirt", ("Plaid", "Henley", "Linen Look", "Striped", "Western"), ("chest pocket", "roll-up cuffs"), _CLOTHES, 14, 48),
    Kind("garden", "bed frames", f"{_FURNITURE} › Bedroom Furniture › Beds", "Platform Bed Frame", ("Low Profile", "Upholstered", "Slatted", "Canopy", "Storage"), ("headboard", "center legs"), ("finish", "bed"), 129, 560),
    Kind("grocery", "granola bars", f"{_SNACKS} › Bars", "Granola Bars", ("Crunchy", "Chewy", "Oat", "Trail", "Mini"), ("seeds", "dried fruit"), _FLAVOR, 7, 34),
    Kind("electronics", "hdmi cables", "Electronics › Television & Video › Cables", "HDMI Cable", ("Braided", "Slim", "Right Angle", "In-Wall", "Flexible"), ("cable tie", "metal plugs"), ("length",), 7, 40),
    Kind("beauty", "makeup brushes", "Beauty & Personal Care › Tools & Accessories › Brushes", "Makeup Brush Set", ("Blending", "Kabuki", "Contour", "Professional", "Soft Touch"), ("roll case", "sponge"), ("color", "style"), 8, 36),
    Kind("fashion", "women's sweaters", f"{_WOMEN} › Clothing › Sweaters", "Knit Sweater", ("Oversized", "Cable", "Turtleneck", "Cropped", "Chunky"), ("side slits", "ribbed hem"), _CLOTHES, 19, 72),
    Kind("garden", "area rugs", f"{_DECOR} › Rugs", "Area Rug", ("Shaggy", "Persian Style", "Geometric", "Jute Look", "Faded"), ("felt backing", "fringes"), ("color", "rug"), 24, 210),
    Kind("grocery", "tea", "Grocery & Gourmet Food › Beverages › Tea", "Herbal Tea", ("Evening", "Morning", "Ginger", "Wild Berry", "Chamomile"), ("paper bags", "tin"), _FLAVOR, 6, 32),
    Kind("electronics", "portable speakers", "Electronics › Portable Audio & Video › Speakers", "Bluetooth Speaker", ("Outdoor", "Shower", "Party", "Pocket", "Retro"), ("strap", "light ring"), _PLAIN, 18, 150),
    Kind("beauty", "lip care", f"{_SKIN} › Lip Care", "Lip Balm", ("Tinted", "Overnight", "Honey", "Plumping", "Winter"), ("mirror cap", "brush"), ("scent",), 5, 24),
    Kind("fashion", "men's sneakers", f"{_MEN} › Shoes › Sneakers", "Sneakers", ("Canvas", "Running", "Court", "Trail", "Slip On"), ("spare laces", "padded collar"), _SHOES, 28, 110),
    Kind("garden", "office chairs", f"{_FURNITURE} › Home Office Furniture › Chairs", "Office Chair", ("Mesh", "Executive", "Armless", "Drafting", "Swivel"), ("lumbar pillow", "footrest"), _PLAIN, 69, 330),
    Kind("grocery", "nut butters", f"{_PANTRY} › Nut & Seed Butters", "Almond Butter", ("Smooth", "Crunchy", "Roasted", "Whipped", "Stone Ground"), ("wide jar", "squeeze pack"), _FLAVOR, 8, 39),
    Kind("electronics", "tablet cases", "Electronics › Computers & Accessories › Tablet Accessories", "Tablet Case", ("Folio", "Rugged", "Clear", "Keyboard", "Kids"), ("stand", "pencil holder"), ("color", "style"), 12, 58),
    Kind("beauty", "body scrubs", f"{_SKIN} › Body › Scrubs", "Body Scrub", ("Sugar", "Coffee", "Sea Salt", "Oat", "Volcanic"), ("wooden spoon", "loofah"), _SCENT, 9, 35),
    Kind("fashion", "women's leggings", f"{_WOMEN} › Clothing › Leggings", "Leggings", ("Yoga", "Fleece Lined", "Seamless", "Capri", "Running"), ("side pockets", "wide waistband"), _CLOTHES, 13, 49),
    Kind("garden", "floor lamps", f"{_DECOR} › Lighting › Lamps", "Floor Lamp", ("Arc", "Tripod", "Reading", "Torchiere", "Paper Shade"), ("foot switch", "dimmer"), ("finish", "style"), 34, 190),
    Kind("grocery", "popcorn", f"{_SNACKS} › Popcorn", "Popcorn", ("Kettle", "Microwave", "Gourmet", "Air Popped", "Movie Night"), ("seasoning", "party bags"), _FLAVOR, 6, 36),
    Kind("electronics", "memory cards", f"{_CAMERA} › Accessories › Memory Cards", "Memory Card", ("Endurance", "Pro", "Action Camera", "Gaming", "Photo"), ("adapter", "card reader"), ("storage",), 9, 95),
    Kind("beauty", "hair treatments", f"{_HAIR} › Treatments", "Hair Mask", ("Keratin", "Overnight", "Clay", "Silk", "Bond Care"), ("shower cap", "comb"), _BOTTLE, 10, 44),
    Kind("fashion", "men's jackets", f"{_MEN} › Clothing › Jackets & Coats", "Jacket", ("Bomber", "Quilted", "Denim", "Softshell", "Rain"), ("hood", "inner pockets"), _CLOTHES, 34, 140),
    Kind("garden", "throw pillows", f"{_DECOR} › Decorative Pillows", "Throw Pillow Covers", ("Velvet", "Boho Tufted", "Outdoor", "Corduroy", "Embroidered"), ("hidden zipper", "inserts"), ("color", "style"), 9, 46),
    Kind("grocery", "coffee", "Grocery & Gourmet Food › Beverages › Coffee", "Ground Coffee", ("Dark Roast", "Medium Roast", "Cold Brew", "Decaf", "Espresso"), ("valve bag", "scoop"), _FLAVOR, 9, 48),
    Kind("electronics", "smart watches", "Electronics › Wearable Technology › Smartwatches", "Smart Watch", ("Fitness", "Swim", "Round", "Slim", "Rugged"), ("spare band", "heart sensor"), ("color", "style"), 29, 260),
    Kind("beauty", "nail care", "Beauty & Personal Care › Foot, Hand & Nail Care › Nail", "Nail Polish Kit", ("Gel", "Matte", "Glitter", "Nude", "Peel Off"), ("lamp", "top coat"), ("color",), 8, 42),
    Kind("fashion", "women's sandals", f"{_WOMEN} › Shoes › Sandals", "Sandals", ("Platform", "Strappy", "Hiking", "Slide", "Wedge"), ("cork footbed", "ankle strap"), _SHOES, 19, 85),
    Kind("garden", "bookcases", f"{_FURNITURE} › Home Office Furniture › Bookcases", "Bookshelf", ("Ladder", "Corner", "Cube", "Tall", "Floating"), ("doors", "anti-tip kit"), ("finish",), 45, 280),
    Kind("grocery", "pasta sauces", f"{_PANTRY} › Sauces", "Pasta Sauce", ("Roasted Garlic", "Basil", "Spicy", "Vodka Style", "Garden"), ("glass jar", "pouch"), ("pack",), 6, 33),
    Kind("electronics", "phone chargers", "Electronics › Cell Phones & Accessories › Chargers", "Wall Charger", ("Compact", "Travel", "Desktop", "Foldable", "Four Port"), ("cable", "pouch"), ("color", "style"), 9, 55),
    Kind("beauty", "sunscreens", f"{_SKIN} › Sunscreens", "Sunscreen", ("Mineral", "Sport", "Kids", "Tinted", "Sheer"), ("carabiner", "spray cap"), _BOTTLE, 8, 39),
    Kind("fashion", "women's handbags", f"{_WOMEN} › Handbags & Wallets", "Tote Bag", ("Woven", "Convertible", "Quilted", "Work", "Bucket"), ("zip pouch", "long strap"), _PLAIN, 18, 120),
    Kind("garden", "bath towels", "Home & Kitchen › Bath › Towels", "Bath Towel Set", ("Waffle", "Hotel", "Bamboo", "Quick Dry", "Turkish"), ("hand towels", "hanging loops"), ("color", "style"), 15, 75),
    Kind("grocery", "protein powders", f"{_PANTRY} › Protein & Shakes", "Protein Powder", ("Whey Style", "Pea", "Recovery", "Breakfast", "Collagen"), ("shaker", "scoop"), _FLAVOR, 18, 70),
    Kind("electronics", "tripods", f"{_CAMERA} › Tripods & Monopods", "Tripod", ("Flexible", "Travel", "Overhead", "Table Top", "Carbon Look"), ("phone clamp", "remote"), ("style",), 14, 130),
)
# fmt: on

# Attributes of a single kind, in addition to those of its department.
# fmt: off
SPECIAL: dict[str, tuple[str, ...]] = {
    "shampoo & conditioner": ("sulfate free", "tea tree", "coconut oil", "argan oil", "damaged hair", "dry hair", "hair growth"),
    "face moisturizers": ("hyaluronic acid", "vitamin c", "alcohol free", "sensitive skin", "dry skin", "fine lines", "oil free"),
    "makeup brushes": ("synthetic hair", "non slip", "easy clean", "eye shadow", "rose gold", "double sided"),
    "lip care": ("coconut oil", "shea butter", "vitamin c", "dry skin", "sensitive skin", "dead skin"),
    "body scrubs": ("coconut oil", "tea tree", "dead skin", "dry skin", "sensitive skin", "sulfate free"),
    "hair treatments": ("argan oil", "coconut oil", "sulfate free", "damaged hair", "dry hair", "hair loss", "hair growth"),
    "nail care": ("nail art", "easy apply", "quick drying", "nail polish", "rose gold", "non toxic"),
    "sunscreens": ("water resistant", "oil free", "alcohol free", "sensitive skin", "dry skin", "vitamin c"),
    "women's dresses": ("machine wash", "short sleeve", "long sleeve", "polyester spandex", "elastic waist", "high waist", "dry clean"),
    "men's shirts": ("machine wash", "slim fit", "classic fit", "long sleeve", "short sleeve", "button closure", "regular fit"),
    "women's sweaters": ("wash cold", "tumble dry", "long sleeve", "loose fit", "relaxed fit", "polyester cotton"),
    "men's sneakers": ("rubber sole", "memory foam", "arch support", "lace closure", "moisture wicking", "ethylene vinyl"),
    "women's leggings": ("machine wash", "high waist", "moisture wicking", "cotton spandex", "tummy control", "wide leg"),
    "men's jackets": ("machine wash", "long sleeve", "zipper closure", "water resistant", "slim fit", "polyester spandex"),
    "women's sandals": ("rubber sole", "arch support", "open toe", "ankle strap", "memory foam", "non slip"),
    "women's handbags": ("faux leather", "zipper closure", "water resistant", "gold hardware", "laptop compartment"),
    "console tables": ("solid wood", "engineered wood", "steel frame", "easy assemble", "storage space", "dining room"),
    "bed frames": ("solid wood", "box spring", "steel frame", "assembly required", "storage space", "king size"),
    "area rugs": ("non slip", "machine washable", "spot clean", "high density", "dining room", "pet friendly"),
    "office chairs": ("height adjustable", "lumbar support", "faux leather", "high density", "easy assemble", "steel frame"),
    "floor lamps": ("brushed nickel", "height adjustable", "easy assemble", "clear glass", "dining room", "remote control"),
    "throw pillows": ("machine washable", "double sided", "super soft", "dining room", "zipper closure"),
    "bookcases": ("solid wood", "engineered wood", "space saving", "easy assemble", "storage space", "assembly required"),
    "bath towels": ("machine washable", "super soft", "quick drying", "high density", "spa quality"),
    "jerky & dried meats": ("high protein", "low carb", "sugar free", "grass fed", "ready eat", "keto friendly", "resealable bag"),
    "granola bars": ("high protein", "plant based", "low calorie", "individually wrapped", "sugar free", "ready eat"),
    "tea": ("caffeine free", "sugar free", "low calorie", "individually wrapped", "plant based"),
    "nut butters": ("sugar free", "plant based", "high protein", "low carb", "keto friendly", "palm oil free"),
    "popcorn": ("low calorie", "fat free", "ready eat", "plant based", "individually wrapped", "resealable bag"),
    "coffee": ("sugar free", "rain forest", "low acid", "single origin", "easy prepare", "fair trade"),
    "pasta sauces": ("fat free", "sugar free", "plant based", "low carb", "easy prepare", "keto friendly"),
    "protein powders": ("high protein", "low carb", "sugar free", "plant based", "keto friendly", "grass fed", "easy prepare"),
    "headphones": ("noise cancelling", "hands free", "stereo sound", "wireless bluetooth", "fast charging", "high definition"),
    "hdmi cables": ("high speed", "gold plated", "ultra hd", "high definition", "blu ray", "aluminum alloy"),
    "portable speakers": ("water resistant", "hands free", "stereo sound", "wireless bluetooth", "usb port", "fast charging"),
    "tablet cases": ("tempered glass", "non slip", "shock absorption", "screen protector", "auto sleep", "dust proof"),
    "memory cards": ("high speed", "ultra hd", "high resolution", "water resistant", "high performance", "shock proof"),
    "smart watches": ("water resistant", "fast charging", "wireless charging", "heart rate", "high definition", "sleep tracking"),
    "phone chargers": ("fast charging", "quick release", "usb port", "high speed", "output protection", "wireless charging"),
    "tripods": ("quick release", "aluminum alloy", "carbon fiber", "easy carry", "optical zoom", "remote control"),
}
# fmt: on
