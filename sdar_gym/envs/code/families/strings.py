"""Tasks on texts."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import LETTERS, family, one, word, words
from sdar_gym.envs.draws import pick, whole

_SEPARATORS = "-_+/"


def _cut(rng: Random) -> Recipe:
    n, mark = whole(rng, 2, 7), pick(rng, ("", *_SEPARATORS))
    end = f"+'{mark}'" if mark else ""
    tail = f", then '{mark}'" if mark else ""
    text, right, reason, wrong = pick(
        rng,
        (
            (f"the first {n} letters{tail}.", f"s[:{n}]", "It takes the last letters.", f"s[-{n}:]"),
            (f"the last {n} letters{tail}.", f"s[-{n}:]", "It takes the first letters.", f"s[:{n}]"),
            (f"all but the first {n} letters{tail}.", f"s[{n}:]", "It keeps the first letters.", f"s[:{n}]"),
            (f"all but the last {n} letters{tail}.", f"s[:-{n}]", "It keeps the last letters.", f"s[-{n}:]"),
            (f"the last {n} letters backwards{tail}.", f"s[::-1][:{n}]", "They are in their old order.", f"s[-{n}:]"),
            (f"the first {n} letters backwards{tail}.", f"s[:{n}][::-1]", "It takes the last ones.", f"s[::-1][:{n}]"),
        ),
    )
    return Recipe(
        (text, f"return {text}"),
        "s",
        f"def f(s): return {right}{end}",
        ((reason, f"def f(s): return {wrong}{end}"),),
        one(word, 3, 9),
        (("",), ("a",)),
    )


def _letters(rng: Random) -> Recipe:
    letter, other = pick(rng, LETTERS), pick(rng, "xyz")
    text, right, wrongs = pick(
        rng,
        (
            (
                f"replace every '{letter}' by '{other}'.",
                f"s.replace('{letter}','{other}')",
                (
                    ("It replaces the first one only.", f"s.replace('{letter}','{other}',1)"),
                    ("It replaces the other way round.", f"s.replace('{other}','{letter}')"),
                ),
            ),
            (
                f"remove every '{letter}' and add '{other}' at the end.",
                f"s.replace('{letter}','')+'{other}'",
                (("It adds it at the front.", f"'{other}'+s.replace('{letter}','')"),),
            ),
            (
                f"how often '{letter}' or '{other}' occurs.",
                f"s.count('{letter}')+s.count('{other}')",
                (("It counts them one after the other.", f"s.count('{letter}{other}')"),),
            ),
            (
                f"'{other}' before and '{letter}' after the text.",
                f"'{other}'+s+'{letter}'",
                (("They are exchanged.", f"'{letter}'+s+'{other}'"),),
            ),
        ),
    )
    return Recipe(
        (text,),
        "s",
        f"def f(s): return {right}",
        tuple((reason, f"def f(s): return {code}") for reason, code in wrongs),
        one(word, 3, 9, LETTERS + other),
        (("",), (letter + other,)),
    )


def _words(rng: Random) -> Recipe:
    mark, n, letter = pick(rng, _SEPARATORS), whole(rng, 2, 5), pick(rng, LETTERS)
    text, right, reason, wrong = pick(
        rng,
        (
            (
                f"the words in reverse order, joined by '{mark}'.",
                f"'{mark}'.join(s.split()[::-1])",
                "It reverses the letters.",
                f"'{mark}'.join(s[::-1].split())",
            ),
            (
                f"the words longer than {n}, joined by '{mark}'.",
                f"'{mark}'.join(w for w in s.split() if len(w)>{n})",
                f"It takes words of length {n}.",
                f"'{mark}'.join(w for w in s.split() if len(w)>={n})",
            ),
            (
                f"the words that begin with '{letter}', joined by '{mark}'.",
                f"'{mark}'.join(w for w in s.split() if w[0]=='{letter}')",
                "It looks at the last letter.",
                f"'{mark}'.join(w for w in s.split() if w[-1]=='{letter}')",
            ),
            (
                f"the words that end with '{letter}', joined by '{mark}'.",
                f"'{mark}'.join(w for w in s.split() if w[-1]=='{letter}')",
                "It looks at the first letter.",
                f"'{mark}'.join(w for w in s.split() if w[0]=='{letter}')",
            ),
            (
                f"the first {n} letters of each word, joined by '{mark}'.",
                f"'{mark}'.join(w[:{n}] for w in s.split())",
                "It takes the first words.",
                f"'{mark}'.join(w for w in s.split()[:{n}])",
            ),
        ),
    )
    return Recipe(
        (text,),
        "s",
        f"def f(s): return {right}",
        ((reason, f"def f(s): return {wrong}"),),
        one(words, 3, 5),
        (("",), ("bed",)),
    )


def _caesar(rng: Random) -> Recipe:
    n = whole(rng, 1, 25)
    body = (
        "def f(s):\n    result = ''\n    for c in s:\n        if 'a' <= c <= 'z':\n"
        "            c = {code}\n        result += c\n    return result"
    )
    return Recipe(
        (f"move each lower-case letter {n} places on in the alphabet, after 'z' comes 'a'; other characters stay.",),
        "s",
        body.format(code=f"chr((ord(c) - 97 + {n}) % 26 + 97)"),
        (
            ("It goes on after 'z'.", body.format(code=f"chr(ord(c) + {n})")),
            ("It moves back.", body.format(code=f"chr((ord(c) - 97 - {n}) % 26 + 97)")),
        ),
        one(word, 3, 8, "abcxyz AB-"),
        (("",), ("z",), ("Az-9",)),
    )


def _count_letters(rng: Random) -> Recipe:
    kind, some = pick(rng, (("vowels", "aeiou"), ("letters of 'best'", "best"), ("letters of 'cat'", "cat")))
    n, weight = whole(rng, 3, 8), whole(rng, 2, 4)
    body = "def f(s):\n    return [w for w in s.split() if {test}]"
    test = f"sum(c in '{some}' for c in w{{case}}) * {weight} {{sign}} {n}"
    return Recipe(
        (f"the words in which {weight} times the number of {kind} (either case) is at least {n}.",),
        "s",
        body.format(test=test.format(case=".lower()", sign=">=")),
        (
            ("It forgets capital letters.", body.format(test=test.format(case="", sign=">="))),
            ("It leaves out the limit itself.", body.format(test=test.format(case=".lower()", sign=">"))),
            (
                "It counts each letter once.",
                body.format(test=f"sum(c in w.lower() for c in '{some}') * {weight} >= {n}"),
            ),
        ),
        lambda rng: (" ".join(word(rng, 2, 6, "abEsTAicO") for _ in range(whole(rng, 3, 6))),),
        (("",), ("A ba AEIO tattat BEST see",)),
    )


def _runs(rng: Random) -> Recipe:
    least, mark = whole(rng, 1, 4), pick(rng, ("", *_SEPARATORS))
    body = (
        "def f(s):\n    runs = []\n    for c in s:\n        if runs and runs[-1][0] == c:\n"
        "            runs[-1][1] += 1\n"
        "        else:\n            runs.append([c, 1])\n    return '{mark}'.join({code})"
    )
    code = f"c + str(n) if n > {least} else c * n for c, n in runs"
    joined = f"; all joined by '{mark}'" if mark else ""
    return Recipe(
        (
            f"shorten each run of more than {least} equal letters to the letter and its length; other runs "
            f"stay{joined}.",
        ),
        "s",
        body.format(mark=mark, code=code),
        (
            ("It shortens runs of the limit too.", body.format(mark=mark, code=code.replace(">", ">="))),
            ("It writes the length first.", body.format(mark=mark, code=code.replace("c + str(n)", "str(n) + c"))),
            ("It loses letters of short runs.", body.format(mark=mark, code=code.replace("c * n", "c"))),
        ),
        lambda rng: ("".join(pick(rng, "abc") * whole(rng, 1, 6) for _ in range(whole(rng, 2, 5))),),
        (("",), ("a",), ("aabbbaaaacccccb",)),
    )


def _every_nth(rng: Random) -> Recipe:
    n, first, how = whole(rng, 2, 6), whole(rng, 0, 5), pick(rng, ("upper", "swapcase", "title", "lower"))
    verb = {
        "lower": "write in small letters",
        "upper": "write in capitals",
        "swapcase": "exchange upper and lower case in",
        "title": "write with a capital first letter and small others",
    }
    body = "def f(s):\n    return ' '.join({code} for i, w in enumerate(s.split()))"
    code = f"w.{how}() if i % {n} == {first % n} else w"
    return Recipe(
        (f"{verb[how]} every word whose position (from 0), divided by {n}, leaves the rest {first % n}.",),
        "s",
        body.format(code=code),
        (
            ("It counts positions from 1.", body.format(code=code.replace("i %", "(i + 1) %"))),
            ("It changes all the other words.", body.format(code=code.replace("==", "!="))),
        ),
        lambda rng: (" ".join(word(rng, 2, 5, "abEsTAicO") for _ in range(whole(rng, 4, 9))),),
        (("",), ("one Two three fOUR five sIx seven",)),
    )


def _brackets(rng: Random) -> Recipe:
    pairs = pick(rng, ("()", "[]", "<>", "()[]", "()[]{}", "[]<>", "()<>", "{}[]", "{}<>"))
    limit = whole(rng, 1, 6)
    body = (
        "def f(s):\n    pairs = {pairs}\n    stack, deepest = [], 0\n    for c in s:\n        if c in pairs.values():\n"
        "            stack.append(c)\n            deepest = max(deepest, len(stack))\n        elif c in pairs:\n"
        "            if not stack or stack.pop() != pairs[c]:\n                return False\n    return {result}"
    )
    table = {pairs[i + 1]: pairs[i] for i in range(0, len(pairs), 2)}
    counted = " and ".join(f"s.count('{b}') == s.count('{a}')" for a, b in table.items())

    def draw(rng: Random) -> tuple[str]:
        text = ""
        for _ in range(whole(rng, 1, 5)):
            opened, closed = pick(rng, [(b, a) for a, b in table.items()])
            place = whole(rng, 0, len(text))
            text = text[:place] + opened + (text[place:] + closed if rng.random() < 0.6 else closed + text[place:])
        place = whole(rng, 0, len(text) - 1)
        return (text if rng.random() < 0.6 else text[:place] + text[place + 1 :] + pick(rng, pairs),)

    return Recipe(
        (f"True if the brackets {' '.join(pairs)} are closed in order and nested at most {limit} deep, else False.",),
        "s",
        body.format(pairs=table, result=f"not stack and deepest <= {limit}"),
        (
            ("It forgets brackets that stay open.", body.format(pairs=table, result=f"deepest <= {limit}")),
            ("It forgets the limit of depth.", body.format(pairs=table, result="not stack")),
            ("It is one off in the depth.", body.format(pairs=table, result=f"not stack and deepest < {limit}")),
            ("It only counts the brackets.", f"def f(s):\n    return {counted}"),
        ),
        draw,
        (
            ("",),
            (pairs[1] + pairs[0],),
            (pairs[0],),
            (pairs[0] * limit + pairs[1] * limit,),
            (pairs[0] * (limit + 1) + pairs[1] * (limit + 1),),
        ),
    )


def _no_repeat(rng: Random) -> Recipe:
    most, letters = whole(rng, 1, 4), whole(rng, 0, 9)
    body = (
        "def f(s):\n    best = 0\n    for i in range(len(s)):\n        for j in range(i + 1, len(s) + {end}):\n"
        "            part = s[i:j]\n            if all(part.count(c) {sign} {most} for c in part):\n"
        "                best = max(best, len(part))\n    return best {sum}"
    )
    plus = f"+ {letters}"
    return Recipe(
        (
            f"length of the longest piece of neighboring letters in which none occurs more than {most} times, "
            f"plus {letters}.",
        ),
        "s",
        body.format(end=1, sign="<=", most=most, sum=plus),
        (
            ("It forgets pieces at the end.", body.format(end=0, sign="<=", most=most, sum=plus)),
            ("It allows one occurrence too few.", body.format(end=1, sign="<", most=most, sum=plus)),
            ("It counts different letters.", f"def f(s):\n    return len(set(s)) + {letters}"),
        ),
        one(word, 4, 12, "abcd"),
        (("",), ("a",), ("aaaa",), ("ab" * 5,)),
    )


def _expand(rng: Random) -> Recipe:
    times, back = whole(rng, 1, 5), whole(rng, 0, 1)
    mark = pick(rng, ("", *_SEPARATORS))
    body = (
        "def f(s):\n    result, number = '', ''\n    for c in s:\n        if c.isdigit():\n"
        "            number {digits} c\n"
        "        else:\n            result {add} c * ({times} * int(number or {none})) {mark}\n"
        "            number = ''\n"
        "    return result{order}"
    )
    right = {
        **{"digits": "+=", "add": "+=", "times": times, "none": 1, "mark": f"+ '{mark}'" if mark else ""},
        "order": "[::-1]" if back else "",
    }
    extra = f", times {times}" if times > 1 else ""
    after = f", with '{mark}' after it" if mark else ""

    def draw(rng: Random) -> tuple[str]:
        parts = [
            f"{whole(rng, 1, 12) if rng.random() < 0.6 else ''}{pick(rng, 'abc')}" for _ in range(whole(rng, 2, 4))
        ]
        return ("".join(parts),)

    return Recipe(
        (
            f"write each letter as often as the number before it says (without a number: once){extra}{after}"
            f"{'; then turn the whole text around' if back else ''}.",
        ),
        "s",
        body.format(**right),
        (
            ("It reads only the last digit of a number.", body.format(**{**right, "digits": "="})),
            ("It drops letters without a number.", body.format(**{**right, "none": 0})),
            ("It has the wrong direction.", body.format(**{**right, "order": "" if back else "[::-1]"})),
        ),
        draw,
        (("",), ("a",), ("12ab3c",)),
    )


def _frequent(rng: Random) -> Recipe:
    n, late, least = whole(rng, 1, 5), whole(rng, 0, 1), whole(rng, 1, 3)
    body = (
        "def f(s):\n    counts = {{}}\n    for w in s{case}.split():\n        counts[w] = counts.get(w, 0) + 1\n"
        "    kept = [w for w in counts if counts[w] >= {least}]\n"
        "    return sorted({source}, key={key}{reverse})[:{n}]"
    )
    right = {
        **{"case": ".lower()", "least": least, "n": n, "reverse": "", "key": "lambda w: -counts[w]"},
        "source": "sorted(kept, reverse=True)" if late else "sorted(kept)",
    }
    return Recipe(
        (
            f"the {n} most frequent words (case ignored) that occur at least {least} "
            f"time{'s' if least > 1 else ''}, the most frequent first; "
            f"of equally frequent ones the alphabetically {'last' if late else 'first'} first.",
        ),
        "s",
        body.format(**right),
        (
            ("It leaves ties in the order of the text.", body.format(**{**right, "source": "kept"})),
            ("It tells upper from lower case.", body.format(**{**right, "case": ""})),
            ("It has the rarest words first.", body.format(**{**right, "key": "lambda w: counts[w]"})),
        ),
        lambda rng: (" ".join(pick(rng, ("a", "b", "A", "c", "dd", "C", "e")) for _ in range(whole(rng, 6, 14))),),
        (("",), ("b a b a c c A",)),
    )


STRINGS = family(
    "strings",
    (_cut, _letters, _words),
    (_caesar, _count_letters, _runs, _every_nth),
    (_brackets, _no_repeat, _expand, _frequent),
)
