"""Tasks on lists of numbers."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import condition, family, ints, one, operation
from sdar_gym.envs.draws import pick, whole


def _filter_and_change(rng: Random) -> Recipe:
    which, change = condition(rng), operation(rng)
    reason, other = change.wrong
    changed = f"(x{change.code})"
    return Recipe(
        (
            f"each {which.one} {change.words}, in order; drop the rest.",
            f"take every {which.one} {change.words}; leave out the others.",
        ),
        "xs",
        f"def f(xs): return [x{change.code} for x in xs if {which.of()}]",
        (
            *((text, f"def f(xs): return [x{change.code} for x in xs if {code}]") for text, code in which.wrongly()),
            (reason, f"def f(xs): return [x{other} for x in xs if {which.of()}]"),
            ("It tests the changed number.", f"def f(xs): return [x{change.code} for x in xs if {which.of(changed)}]"),
        ),
        one(ints),
        (([],),),
    )


def _part(rng: Random) -> Recipe:
    n = whole(rng, 2, 6)
    wording, right, wrongs = pick(
        rng,
        (
            (
                f"the {n} smallest numbers, ascending.",
                f"sorted(xs)[:{n}]",
                (("It takes the largest.", f"sorted(xs)[-{n}:]"),),
            ),
            (
                f"the {n} largest numbers, ascending.",
                f"sorted(xs)[-{n}:]",
                (("It takes the smallest.", f"sorted(xs)[:{n}]"),),
            ),
            (
                f"all but the first {n} numbers.",
                f"xs[{n}:]",
                (("It keeps the first ones.", f"xs[:{n}]"), ("It drops one too few.", f"xs[{n - 1}:]")),
            ),
            (f"all but the last {n} numbers.", f"xs[:-{n}]", (("It keeps the last ones.", f"xs[-{n}:]"),)),
            (
                f"the last {n} numbers, last one first.",
                f"xs[::-1][:{n}]",
                (("It does not reverse them.", f"xs[-{n}:]"),),
            ),
            (
                f"every number at a position divisible by {n}, from 0.",
                f"xs[::{n}]",
                (("It starts at position 1.", f"xs[1::{n}]"),),
            ),
        ),
    )
    return Recipe(
        (wording, f"return {wording}"),
        "xs",
        f"def f(xs): return {right}",
        tuple((reason, f"def f(xs): return {code}") for reason, code in wrongs),
        one(ints, -4, 12, 3, 9),
        (([],),),
    )


def _total(rng: Random) -> Recipe:
    which, n = condition(rng), whole(rng, 1, 9)
    counts = whole(rng, 0, 1)
    term, what = ("1", "the count") if counts else ("x", "the sum")
    other = "x" if counts else "1"
    return Recipe(
        (f"{what} of the {which.many}, plus {n}.", f"{what} of all {which.many}, and {n} more."),
        "xs",
        f"def f(xs): return sum({term} for x in xs if {which.of()})+{n}",
        (
            *((text, f"def f(xs): return sum({term} for x in xs if {code})+{n}") for text, code in which.wrongly()),
            ("It adds up the wrong thing.", f"def f(xs): return sum({other} for x in xs if {which.of()})+{n}"),
        ),
        one(ints),
        (([],),),
    )


def _rotate(rng: Random) -> Recipe:
    n = whole(rng, 1, 9)
    left = whole(rng, 0, 1)
    ends = ("first", "last", "end") if left else ("last", "first", "front")
    right, wrong = (
        ("xs[{k}:] + xs[:{k}]", "xs[-{k}:] + xs[:-{k}]") if left else ("xs[-{k}:] + xs[:-{k}]", "xs[{k}:] + xs[:{k}]")
    )
    body = "def f(xs):\n    if not xs:\n        return []\n    k = {n} % len(xs)\n    return {code}"
    return Recipe(
        (f"move the {ends[0]} number to the {ends[2]}, {n} times.",),
        "xs",
        body.format(n=n, code=right.format(k="k")),
        (
            ("It rotates the other way.", body.format(n=n, code=wrong.format(k="k"))),
            ("It forgets lists shorter than the rotation.", f"def f(xs):\n    return {right.format(k=n)}"),
            ("It rotates once too often.", body.format(n=n + 1, code=right.format(k="k"))),
        ),
        one(ints, -4, 12, 2, 8),
        (([],), ([5],)),
    )


def _running(rng: Random) -> Recipe:
    start, limit = whole(rng, 0, 5), whole(rng, 10, 25)
    body = (
        "def f(xs):\n    total, result = {start}, []\n    for x in xs:\n        total += x\n"
        "        if total {sign} {limit}:\n            total = {again}\n        result.append(total)\n    return result"
    )
    return Recipe(
        (f"running totals that start at {start}; a total above {limit} becomes {start} again.",),
        "xs",
        body.format(start=start, sign=">", limit=limit, again=start),
        (
            (f"A total of {limit} is reset too.", body.format(start=start, sign=">=", limit=limit, again=start)),
            (
                "It caps the total instead of starting again.",
                body.format(start=start, sign=">", limit=limit, again=limit),
            ),
            ("It never starts again.", body.format(start=start, sign=">", limit=10**6, again=start)),
        ),
        one(ints, 0, 9, 3, 9),
        (([],), ([limit - start, 1],)),
    )


def _unique(rng: Random) -> Recipe:
    which = condition(rng)
    last = whole(rng, 0, 1)
    body = (
        "def f(xs):\n    seen = []\n    for x in {order}:\n        if {test} and x not in seen:\n"
        "            seen.append(x)\n    return {result}"
    )
    order, result = ("xs[::-1]", "seen[::-1]") if last else ("xs", "seen")
    other = ("xs", "seen") if last else ("xs[::-1]", "seen[::-1]")
    return Recipe(
        (f"the {which.many}, each value once, where it occurs {'last' if last else 'first'}.",),
        "xs",
        body.format(order=order, test=which.of(), result=result),
        (
            ("It keeps the wrong one of equal numbers.", body.format(order=other[0], test=which.of(), result=other[1])),
            ("It sorts the numbers.", f"def f(xs):\n    return sorted({{x for x in xs if {which.of()}}})"),
            *((text, body.format(order=order, test=code, result=result)) for text, code in which.wrongly()),
        ),
        one(ints, 0, 9, 5, 9),
        (([],), ([6, 6, 3, 3, 6],)),
    )


def _chunks(rng: Random) -> Recipe:
    n, (name, what) = (
        whole(rng, 2, 6),
        pick(rng, (("sum", "sum"), ("max", "largest number"), ("min", "smallest number"), ("len", "length"))),
    )
    body = "def f(xs):\n    return [{name}(xs[i:i + {n}]) for i in range(0, len(xs){less}, {step})]"
    return Recipe(
        (f"cut the list into pieces of {n}, the last one may be shorter; the {what} of each piece.",),
        "xs",
        body.format(name=name, n=n, less="", step=n),
        (
            ("It forgets the last, shorter piece.", body.format(name=name, n=n, less=f" - {n - 1}", step=n)),
            ("Its pieces overlap.", body.format(name=name, n=n, less="", step=1)),
        ),
        one(ints, -4, 12, 4, 11),
        (([],), ([7],)),
    )


def _positions(rng: Random) -> Recipe:
    which, first = condition(rng), whole(rng, 0, 1)
    body = "def f(xs):\n    return [i for i, x in enumerate(xs, {first}) if {test}]"
    return Recipe(
        (f"positions of the {which.many}, counted from {first}.",),
        "xs",
        body.format(first=first, test=which.of()),
        (
            (f"It counts from {1 - first}.", body.format(first=1 - first, test=which.of())),
            *((text, body.format(first=first, test=code)) for text, code in which.wrongly()),
        ),
        one(ints),
        (([],),),
    )


def _windows(rng: Random) -> Recipe:
    n, (name, what) = whole(rng, 2, 5), pick(rng, (("sum", "sums"), ("max", "maxima"), ("min", "minima")))
    body = "def f(xs):\n    return [{name}(xs[i:i + {n}]) for i in range(len(xs) - {less})]"
    return Recipe(
        (f"the {what} of every {n} neighboring numbers, from left to right.",),
        "xs",
        body.format(name=name, n=n, less=n - 1),
        (
            ("It forgets the last window.", body.format(name=name, n=n, less=n)),
            ("It adds windows that are too short.", body.format(name=name, n=n, less=0)),
        ),
        one(ints, -4, 12, 4, 9),
        (([],), ([1],), ([2] * n,)),
    )


def _longest_run(rng: Random) -> Recipe:
    which = condition(rng)
    body = (
        "def f(xs):\n    best = run = 0\n    for x in xs:\n        run = run + 1 if {test} else 0\n"
        "        best = max(best, run)\n    return best"
    )
    late = (
        "def f(xs):\n    best = run = 0\n    for x in xs:\n        if {test}:\n            run += 1\n        else:\n"
        "            best, run = max(best, run), 0\n    return best"
    )
    return Recipe(
        (f"length of the longest run of neighboring {which.many}.",),
        "xs",
        body.format(test=which.of()),
        (
            ("It forgets a run at the end.", late.format(test=which.of())),
            ("It counts all of them.", f"def f(xs):\n    return sum(1 for x in xs if {which.of()})"),
            *((text, body.format(test=code)) for text, code in which.wrongly()),
        ),
        one(ints, 0, 9, 5, 12),
        (([],), ([6, 1, 6, 6, 6],)),
    )


def _pairs(rng: Random) -> Recipe:
    n, words, code, wrong = pick(
        rng,
        [
            (n, *rest)
            for n in range(2, 21)
            for rest in (
                ("add up to", "{a} + {b} == {n}", "{a} + {b} <= {n}"),
                ("differ by exactly", "abs({a} - {b}) == {n}", "{b} - {a} == {n}"),
            )
        ],
    )
    body = (
        "def f(xs):\n    count = 0\n    for i in range(len(xs)):\n        for j in range({start}, len(xs)):\n"
        "            if {test}:\n                count += 1\n    return count"
    )
    test, other = (text.format(a="xs[i]", b="xs[j]", n=n) for text in (code, wrong))
    return Recipe(
        (f"number of pairs of positions i < j whose numbers {words} {n}.",),
        "xs",
        body.format(start="i + 1", test=test),
        (
            ("It counts a position with itself.", body.format(start="i", test=test)),
            ("It counts each pair twice.", body.format(start=0, test=f"i != j and {test}")),
            ("It admits other pairs.", body.format(start="i + 1", test=other)),
        ),
        one(ints, 0, 9, 5, 9),
        (([],), ([n // 2, n // 2, n - n // 2, 0, n],)),
    )


def _intervals(rng: Random) -> Recipe:
    gap, least = whole(rng, 0, 6), whole(rng, 1, 8)
    body = (
        "def f(spans):\n    result = []\n    for a, b in {order}:\n        if result and a <= result[-1][1] + {gap}:\n"
        "            result[-1][1] = {end}\n        else:\n            result.append([a, b])\n"
        "    return [span for span in result if span[1] - span[0] >= {least}]"
    )

    def draw(rng: Random) -> tuple[list[list[int]]]:
        starts = ints(rng, 0, 20, 2, 6)
        return ([[a, a + whole(rng, 1, 6)] for a in starts],)

    right = {"order": "sorted(spans)", "gap": gap, "end": "max(result[-1][1], b)", "least": least}
    return Recipe(
        (
            f"merge spans [start, end] that overlap or lie at most {gap} apart; those of length {least} or more, "
            "sorted.",
        ),
        "spans",
        body.format(**right),
        (
            ("It does not sort the spans first.", body.format(**{**right, "order": "spans"})),
            ("A span inside another cuts it short.", body.format(**{**right, "end": "b"})),
            ("It merges spans that lie too far apart.", body.format(**{**right, "gap": gap + 1})),
        ),
        draw,
        (([],), ([[0, 9], [2, 4], [9 + gap, 12 + gap]],), ([[5, 9], [0, 3], [10 + gap, 19 + gap]],)),
    )


def _next_larger(rng: Random) -> Recipe:
    none, (sign, word), least = whole(rng, -5, 0), pick(rng, ((">", "larger"), ("<", "smaller"))), whole(rng, 1, 4)
    body = (
        "def f(xs):\n    result = []\n    for i, x in enumerate(xs):\n"
        "        later = [y for y in xs[i + {least}:] if y {sign} x]\n"
        "        result.append({found})\n    return result"
    )
    found = f"later[0] if later else {none}"
    away = "later" if least == 1 else f"at least {least} places later"
    return Recipe(
        (f"for each number the first {word} one {away}, or {none} if there is none.",),
        "xs",
        body.format(least=least, sign=sign, found=found),
        (
            (
                "It takes the most extreme one.",
                body.format(
                    least=least, sign=sign, found=f"{'max' if sign == '>' else 'min'}(later) if later else {none}"
                ),
            ),
            ("It admits an equal number.", body.format(least=least, sign=sign + "=", found=found)),
            ("It looks one place too far.", body.format(least=least + 1, sign=sign, found=found)),
        ),
        one(ints, 0, 9, 4, 8),
        (([],), ([3, 3, 1, 5, 5, 2, 3, 0, 9],)),
    )


def _groups(rng: Random) -> Recipe:
    step, least, rising = whole(rng, 1, 5), whole(rng, 2, 5), whole(rng, 0, 1)
    body = (
        "def f(xs):\n    groups = []\n    for x in xs:\n        if groups and {test}:\n"
        "            groups[-1].append(x)\n"
        "        else:\n            groups.append([x])\n"
        "    return [group for group in groups if len(group) {sign} {least}]"
    )
    test = f"0 <= x - groups[-1][-1] <= {step}" if rising else f"abs(x - groups[-1][-1]) <= {step}"
    other = f"abs(x - groups[-1][-1]) <= {step}" if rising else f"0 <= x - groups[-1][-1] <= {step}"
    what = f"rises by 0 to {step}" if rising else f"differs by at most {step}"
    return Recipe(
        (f"cut into groups in which each number {what} from the one before; those of {least} or more numbers.",),
        "xs",
        body.format(test=test, sign=">=", least=least),
        (
            ("It reads the rule of direction wrongly.", body.format(test=other, sign=">=", least=least)),
            (
                "It compares with the first of the group.",
                body.format(test=test.replace("[-1][-1]", "[-1][0]"), sign=">=", least=least),
            ),
            ("It drops groups of the smallest size.", body.format(test=test, sign=">", least=least)),
        ),
        one(ints, 0, 12, 4, 9),
        (([],), ([1, 2, 4, 3, 9, 9, 10, 4],), ([i * step for i in range(least)],)),
    )


LISTS = family(
    "lists",
    (_filter_and_change, _part, _total),
    (_rotate, _running, _unique, _chunks, _positions, _windows),
    (_longest_run, _pairs, _intervals, _next_larger, _groups),
)
