"""Counting: independent choices, arrangements, groups, inclusion and exclusion, paths on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, factorial
from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.math.problems import MathDraft, drafted, draw_from
from sdar_gym.envs.problems.embedded import Family

_MENU = (
    "There are {a} soups, {b} mains and {c} desserts. How many meals with one of each?",
    "Wear one of {a} hats, {b} coats and {c} scarves each. How many ways?",
    "{a} roads lead to B, then {b} to C, then {c} to D. How many routes?",
    "Pick one of {a} cups, {b} plates and {c} spoons each. How many sets?",
)
_EITHER = (
    "One of {a} red or {b} blue pens and one of {c} pads: how many choices?",
    "Take one of {a} buses or {b} trains, then one of {c} boats. How many trips?",
    "Pick one of {a} cats or {b} dogs and one of {c} names. How many ways?",
    "Choose one of {a} teas or {b} juices and one of {c} cakes. How many ways?",
)
_CLASH = (
    "{a} shirts, {b} ties, but {c} of the pairs clash. How many pairs remain?",
    "Pair {a} boys with {b} girls in every way but {c}. How many pairs?",
    "{a} pens and {b} caps; {c} of the pairs do not fit. How many fit?",
    "A grid has {a} rows and {b} columns; {c} cells are black. How many are white?",
)
_ORDERS = (
    "In how many orders can {k} of {n} people stand in line?",
    "{n} people race. In how many ways can the first {k} places be filled?",
    "How many ordered lists of {k} different books out of {n} are there?",
    "In how many ways can {k} of {n} songs be played one after another?",
)
_PAIRS = (
    "{n} people all shake hands once with each other. How many handshakes?",
    "{n} teams each play every other team once. How many games?",
    "How many pairs can be chosen from {n} people?",
    "How many lines join {n} points in pairs, no three on a line?",
)
_ADDED = "Added the choices, but each goes with each, so multiply."


def _menu(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 2, 9)
    p, s = a * b, a + b
    steps = f"{a}*{b}={p}", f"{p}*{c}={p * c}"
    added = f"{a}+{b}={s}", f"{s}+{c}={s + c}"
    return drafted(rng, f"menu {a} {b} {c}", _MENU, steps, [(1, _ADDED, added)], a=a, b=b, c=c)


def _either(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 2, 9)
    s, p = a + b, a * b
    steps = f"{a}+{b}={s}", f"{s}*{c}={s * c}"
    multiplied = f"{a}*{b}={p}", f"{p}*{c}={p * c}"
    added = f"{a}+{b}={s}", f"{s}+{c}={s + c}"
    mistakes = [(1, "Multiplied, but only one of the two kinds is taken, so add.", multiplied), (2, _ADDED, added)]
    return drafted(rng, f"either {a} {b} {c}", _EITHER, steps, mistakes, a=a, b=b, c=c)


def _clash(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 3, 9), whole(rng, 3, 9), whole(rng, 2, 9)
    if c >= a + b or c >= a * b:
        return None
    p, s = a * b, a + b
    steps = f"{a}*{b}={p}", f"{p}-{c}={p - c}"
    added = f"{a}+{b}={s}", f"{s}-{c}={s - c}"
    return drafted(rng, f"clash {a} {b} {c}", _CLASH, steps, [(1, _ADDED, added)], a=a, b=b, c=c)


def _orders(rng: Random) -> MathDraft | None:
    n, k = whole(rng, 4, 9), 3
    steps = f"{n}*{n - 1}={n * (n - 1)}", f"{n * (n - 1)}*{n - 2}={n * (n - 1) * (n - 2)}"
    again = f"{n}*{n}={n * n}", f"{n * n}*{n}={n**3}"
    reason = "Used all of them in every place, but one that is placed is not free any more."
    return drafted(rng, f"orders {k} {n}", _ORDERS, steps, [(1, reason, again)], n=n, k=k)


def _pairs(rng: Random) -> MathDraft | None:
    n = whole(rng, 4, 20)
    p = n * (n - 1)
    steps = f"{n}*{n - 1}={p}", f"{p}/2={p // 2}"
    reason = "Counted every pair twice; divide by 2."
    return drafted(rng, f"pairs {n}", _PAIRS, steps, [(2, reason, steps[:1])], n=n)


_GROUPS = (
    "How many ways are there to choose {k} of {n} boys and {j} of {m} girls for a team?",
    "A team has {k} of {n} boys and {j} of {m} girls. How many teams are possible?",
    "From {n} red and {m} blue cards, all different, {k} red and {j} blue ones are taken. How many hands are there?",
    "A box gets {k} of {n} books and {j} of {m} toys, all different. How many ways are there to fill it?",
)


def _groups(rng: Random) -> MathDraft | None:
    n, k, m, j = whole(rng, 4, 9), whole(rng, 2, 3), whole(rng, 3, 9), whole(rng, 1, 2)
    first, second = comb(n, k), comb(m, j)
    choose = *_choose(n, k), *_choose(m, j)
    steps = *choose, f"{first}*{second}={first * second}"
    added = *choose, f"{first}+{second}={first + second}"
    ordered = factorial(n) // factorial(n - k)
    lines = *_ordered(n, k), *_ordered(m, j)
    other = factorial(m) // factorial(m - j)
    in_order = *lines, f"{ordered}*{other}={ordered * other}"
    mistakes = [
        (len(choose) + 1, _ADDED, added),
        (1, "Counted the orders, but in a group the order does not matter.", in_order),
    ]
    return drafted(rng, f"groups {n} {k} {m} {j}", _GROUPS, steps, mistakes, n=n, k=k, m=m, j=j)


def _ordered(n: int, k: int) -> Sequence[str]:
    return (f"{'*'.join(str(n - i) for i in range(k))}={factorial(n) // factorial(n - k)}",)


def _choose(n: int, k: int) -> Sequence[str]:
    if k == 1:
        return ()
    ordered = factorial(n) // factorial(n - k)
    return *_ordered(n, k), f"{ordered}/{factorial(k)}={comb(n, k)}"


_BOTH = (
    "Of {n} students {a} play chess, {b} play go, and {c} play both. How many play neither?",
    "{a} of {n} guests drink tea, {b} drink coffee, {c} drink both. How many drink neither of the two?",
    "Of {n} houses {a} have a garden and {b} a garage; {c} have both. How many have neither?",
    "{n} people were asked: {a} like cats, {b} like dogs, {c} like both. How many like neither?",
)


def _neither(rng: Random) -> MathDraft | None:
    c, x, y, z = whole(rng, 1, 15), whole(rng, 1, 20), whole(rng, 1, 20), whole(rng, 0, 20)
    a, b = x + c, y + c
    n = x + y + c + z
    steps = f"{a}+{b}={a + b}", f"{a + b}-{c}={a + b - c}", f"{n}-{a + b - c}={z}"
    twice = f"{a}+{b}={a + b}", f"{n}-({a + b})={n - a - b}"
    one = *steps[:2], f"{a + b - c}+0={a + b - c}"
    mistakes = [
        (2, "Counted those with both twice; subtract them once.", twice),
        (3, "Gave the number of those with at least one; subtract it from all.", one),
    ]
    return drafted(rng, f"neither {n} {a} {b} {c}", _BOTH, steps, mistakes, n=n, a=a, b=b, c=c)


_MULTIPLES = (
    "How many whole numbers from 1 to {n} are divisible by {p} or by {q}?",
    "Count the whole numbers from 1 to {n} that are multiples of {p} or {q} (or of both).",
    "How many of the numbers 1, 2, ..., {n} are multiples of {p}, of {q}, or of both?",
    "Of the whole numbers 1 to {n}, how many can be divided by {p} or {q} without remainder?",
)


def _multiples(rng: Random) -> MathDraft | None:
    n, p, q = whole(rng, 20, 200), pick(rng, (2, 3, 5, 7)), pick(rng, (3, 5, 7, 11))
    if p >= q:
        return None
    a, b, c = n // p, n // q, n // (p * q)
    if c == 0:
        return None
    steps = (
        *(f"floor({n}/{p})={a}", f"floor({n}/{q})={b}", f"{p}*{q}={p * q}", f"floor({n}/{p * q})={c}"),
        *(f"{a}+{b}={a + b}", f"{a + b}-{c}={a + b - c}"),
    )
    twice = *steps[:2], f"{a}+{b}={a + b}"
    both = *steps[:3], f"floor({n}/{p * q})={c}"
    mistakes = [
        (6, f"Counted the multiples of both {p} and {q} twice; subtract them once.", twice),
        (5, "Counted the multiples of both numbers, but of one of them is enough.", both),
    ]
    return drafted(rng, f"multiples {n} {p} {q}", _MULTIPLES, steps, mistakes, n=n, p=p, q=q)


_THROUGH = (
    "A path on a grid goes only right or up. How many paths lead from (0, 0) to ({x}, {y}) through ({a}, {b})?",
    "Going one step right or up each time, how many ways lead from (0, 0) by ({a}, {b}) to ({x}, {y})?",
    "Count the paths from (0, 0) to ({x}, {y}) with steps right or up that pass through ({a}, {b}).",
    "A robot at (0, 0) moves right or up by 1. How many routes to ({x}, {y}) visit ({a}, {b})?",
)
_AVOID = (
    "A path on a grid goes only right or up. How many paths lead from (0, 0) to ({x}, {y}) and avoid ({a}, {b})?",
    "Going one step right or up each time, how many ways lead from (0, 0) to ({x}, {y}) without visiting ({a}, {b})?",
    "Count the paths from (0, 0) to ({x}, {y}) with steps right or up that do not pass through ({a}, {b}).",
    "A robot at (0, 0) moves right or up by 1. How many routes to ({x}, {y}) never visit ({a}, {b})?",
)


def _path_numbers(rng: Random) -> tuple[int, int, int, int, int, int, tuple[str, ...]]:
    a, b, c, d = whole(rng, 1, 5), whole(rng, 1, 5), whole(rng, 1, 5), whole(rng, 1, 5)
    first, second = comb(a + b, a), comb(c + d, c)
    lines = (
        *(f"{a}+{b}={a + b}", f"choose({a + b},{a})={first}"),
        *(f"{c}+{d}={c + d}", f"choose({c + d},{c})={second}"),
    )
    return a, b, a + c, b + d, first, second, lines


def _through(rng: Random) -> MathDraft | None:
    a, b, x, y, first, second, lines = _path_numbers(rng)
    steps = *lines, f"{first}*{second}={first * second}"
    added = *lines, f"{first}+{second}={first + second}"
    every = f"{x}+{y}={x + y}", f"choose({x + y},{x})={comb(x + y, x)}"
    mistakes = [
        (5, "Added the two parts, but each first part goes with each second one, so multiply.", added),
        (1, f"Counted all paths, not only those through ({a}, {b}).", every),
    ]
    return drafted(rng, f"through {x} {y} {a} {b}", _THROUGH, steps, mistakes, x=x, y=y, a=a, b=b)


def _avoid(rng: Random) -> MathDraft | None:
    a, b, x, y, first, second, lines = _path_numbers(rng)
    every, through = comb(x + y, x), first * second
    total = f"{x}+{y}={x + y}", f"choose({x + y},{x})={every}"
    steps = *lines, f"{first}*{second}={through}", *total, f"{every}-{through}={every - through}"
    added = *lines, f"{first}+{second}={first + second}", *total, f"{every}-{first + second}={every - first - second}"
    mistakes = [
        (5, "Added the two parts, but each first part goes with each second one, so multiply.", added),
        (8, f"Counted the paths through ({a}, {b}), which are the ones to leave out.", steps[:5]),
    ]
    return drafted(rng, f"avoid {x} {y} {a} {b}", _AVOID, steps, mistakes, x=x, y=y, a=a, b=b)


_ROWS = (
    "In how many ways can {a} red, {b} blue and {c} green beads be put in a row? Beads of one color look alike.",
    "How many different words can be made of all of {a} letters A, {b} letters B and {c} letters C?",
    "A row of flags has {a} red, {b} blue and {c} green ones, alike by color. How many different rows are there?",
    "{a} red, {b} blue and {c} green cars park in a row. How many color patterns are possible?",
)


def _rows(rng: Random) -> MathDraft | None:
    a, b, c = whole(rng, 1, 6), whole(rng, 1, 6), whole(rng, 1, 6)
    n = a + b + c
    if n > 12 or max(a, b, c) == 1:
        return None
    under = factorial(a) * factorial(b) * factorial(c)
    every = factorial(n)
    steps = (
        *(f"{a}+{b}+{c}={n}", f"{n}!={every}", f"{a}!*{b}!*{c}!={under}"),
        f"{every}/{under}={every // under}",
    )
    product = (f"{a}*{b}*{c}={a * b * c}",)
    mistakes = [
        (3, "Told apart what looks alike; divide by the orders within each color or letter.", steps[:2]),
        (1, "Multiplied the numbers of each kind, which chooses one of each.", product),
    ]
    return drafted(rng, f"rows {a} {b} {c}", _ROWS, steps, mistakes, a=a, b=b, c=c)


COUNTING: Family[MathDraft] = Family(
    "counting",
    3,
    draw_from(
        (
            (_menu, _menu, _either, _either, _clash, _clash, _orders, _pairs),
            (_groups, _neither, _multiples),
            (_through, _avoid, _rows),
        )
    ),
)
