"""Tasks by recursion and dynamic programming."""

from __future__ import annotations

from random import Random
from typing import Any

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import family, ints, one, word
from sdar_gym.envs.draws import shuffled, whole

_NEST = """def f(xs):
    total = 0
    for x in xs:
        if isinstance(x, list):
            total += {inner}
        else:
            total += {leaf}
    return total{end}"""
_STAIRS = """def f(n):
    ways = [{first}] + [0] * n
    for i in range(1, n + 1):
        ways[i] = sum(ways[i - s] for s in {steps} if s {sign} i)
    return ways[n]{end}"""
_COINS = """def f(n):
    best = [0] + [None] * n
    for i in range(1, n + 1):
        found = [best[i - c] for c in {coins} if c <= i and best[i - c] is not None]
        best[i] = {choose}(found) + 1 if found else None
    return {none} if best[n] is None else best[n]"""
_GREEDY = """def f(n):
    count = 0
    for c in sorted({coins}, reverse=True):
        count += n // c
        n %= c
    return count if n == 0 else {none}"""
_DISTANCE = """def f(a, b):
    row = [j * {insert} for j in range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        last, row = row, [i * {delete}]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + {delete}, row[j - 1] + {insert}, last[j - 1] + (0 if x == y else {change})))
    return row[-1]"""
_PATHS = """def f(g):
    ways = {{(0, 0): 1}}
    for r, row in enumerate(g):
        for c, x in enumerate(row):
            if {wall}:
                ways[r, c] = 0
            elif r or c:
                ways[r, c] = ways.get((r - 1, c), 0) + ways.get((r, c - 1), 0){diagonal}
    return ways[len(g) - 1, len(g[0]) - 1]{end}"""
_KNAPSACK = """def f(items):
    best = [0] * ({room} + 1)
    for weight, value in items:
        for w in {order}:
            best[w] = max(best[w], best[w - weight] + {value})
    return best[{room}]"""


def _recurrence(rng: Random) -> Recipe:
    start, n = whole(rng, 0, 6), whole(rng, 2, 9)
    kind = whole(rng, 0, 2)
    text, step, other = (
        (f"f(n-1) plus {n}", f"f(n-1)+{n}", f"f(n-1)*{n}"),
        (f"f(n-1) plus {n} times n", f"f(n-1)+{n}*n", f"f(n-1)+{n}"),
        (f"2 times f(n-1), plus {n}", f"2*f(n-1)+{n}", f"2*(f(n-1)+{n})"),
    )[kind]
    body = "def f(n): return {start} if n<{end} else {step}"
    return Recipe(
        (f"f(0) is {start}, f(n) is {text}.",),
        "n",
        body.format(start=start, end=1, step=step),
        (
            ("It starts one step too late.", body.format(start=start, end=2, step=step)),
            ("Its step is another one.", body.format(start=start, end=1, step=other)),
        ),
        lambda rng: (whole(rng, 2, 14),),
        ((0,), (1,)),
    )


def _two_back(rng: Random) -> Recipe:
    a, b, n = whole(rng, 0, 3), whole(rng, 1, 4), whole(rng, 1, 4)
    body = "def f(n): return {first} if n<2 else {step}"
    first = f"({a},{b})[n]"
    times = "" if n == 1 else f"{n}*"
    step, wrong = f"f(n-1)+{times}f(n-2)", f"{times}f(n-1)+f(n-2)" if n > 1 else "f(n-1)+f(n-1)"
    text = "f(n-2)" if n == 1 else f"{n} times f(n-2)"
    return Recipe(
        (f"f(0) is {a}, f(1) is {b}, f(n) is f(n-1) plus {text}.",),
        "n",
        body.format(first=first, step=step),
        (
            ("Its step is another one.", body.format(first=first, step=wrong)),
            ("It exchanges the first two values.", body.format(first=f"({b},{a})[n]", step=step)),
        ),
        lambda rng: (whole(rng, 2, 12),),
        ((0,), (1,)),
    )


def _by_parts(rng: Random) -> Recipe:
    start, n, m = whole(rng, 0, 5), whole(rng, 2, 5), whole(rng, 1, 5)
    body = "def f(n): return {start} if n<1 else f(n//{n}){step}"
    return Recipe(
        (f"f(0) is {start}, f(n) is f(n divided by {n}, rounded down) plus {m}.",),
        "n",
        body.format(start=start, n=n, step=f"+{m}"),
        (
            ("It divides by another number.", body.format(start=start, n=n + 1, step=f"+{m}")),
            ("It multiplies.", body.format(start=start, n=n, step=f"*{m + 1}")),
        ),
        lambda rng: (whole(rng, 1, 99),),
        ((0,), (1,), (n,)),
    )


def _nested(rng: Random) -> Recipe:
    factor, kind, plus = whole(rng, 2, 5), whole(rng, 0, 2), whole(rng, 0, 5)
    leaf, what = (
        ("x", "the sum of the numbers"),
        ("1", "the count of the numbers"),
        ("abs(x)", "the sum of the numbers without their sign"),
    )[kind]
    end = f" + {plus}"
    right = {"inner": f"{factor} * f(x)", "leaf": leaf, "end": end}
    each = f", plus {plus} for every list" if plus else ""
    right["end"] = end if plus else ""

    def draw(rng: Random) -> tuple[Any, ...]:
        return (_random_nest(rng, 3),)

    return Recipe(
        (f"{what} in a nested list; a list inside another counts {factor} times{each}.",),
        "xs",
        _NEST.format(**right),
        (
            ("It does not weigh inner lists.", _NEST.format(**{**right, "inner": "f(x)"})),
            (
                "It looks into the first inner level only.",
                _NEST.format(**{**right, "inner": f"{factor} * sum(y for y in x if isinstance(y, int))"}),
            ),
            ("It takes another property of the numbers.", _NEST.format(**{**right, "leaf": "1" if kind != 1 else "x"})),
        ),
        draw,
        (([],), ([[]],), ([1, [2, [3, [-4]]]],)),
    )


def _stairs(rng: Random) -> Recipe:
    steps = tuple(sorted(shuffled(rng, range(1, 7))[: whole(rng, 2, 3)]))
    plus = whole(rng, 0, 5)
    right = {"first": 1, "steps": steps, "sign": "<=", "end": f" + {plus}" if plus else ""}
    listed = " or ".join(map(str, steps))
    return Recipe(
        (
            f"number of ways to climb n stairs in steps of {listed}, where the order "
            f"counts{f', plus {plus}' if plus else ''}.",
        ),
        "n",
        _STAIRS.format(**right),
        (
            ("It finds no way to climb nothing.", _STAIRS.format(**{**right, "first": 0})),
            ("It forgets a last step to the top.", _STAIRS.format(**{**right, "sign": "<"})),
            ("It forgets one kind of step.", _STAIRS.format(**{**right, "steps": (*steps[:-2], steps[-1])})),
        ),
        lambda rng: (whole(rng, 2, 18),),
        ((0,), (1,), (steps[0],)),
    )


def _subsets(rng: Random) -> Recipe:
    goal, least = whole(rng, 8, 24), whole(rng, 1, 3)
    body = (
        "def f(xs, total=0, used=0):\n    if not xs:\n        return int(total {sign} {goal} and used >= {least})\n"
        "    return f(xs[1:], total, used) + f(xs[{next}:], total + xs[0], used + 1)"
    )
    right = {"sign": "==", "goal": goal, "least": least, "next": 1}
    return Recipe(
        (f"number of ways to choose at least {least} positions of the list whose numbers add up to {goal}.",),
        "xs",
        body.format(**right),
        (
            ("It admits smaller sums.", body.format(**{**right, "sign": "<="})),
            ("It asks for one number more.", body.format(**{**right, "least": least + 1})),
            (
                "It stops at the first number that is too large.",
                body.format(**right).replace(
                    "    if not xs",
                    f"    if total > {goal}:\n        return 0\n    if xs and xs[0] > {goal}:\n        return 0\n"
                    "    if not xs",
                ),
            ),
        ),
        one(ints, 1, 9, 3, 8),
        (([],), ([goal],), ([goal + 5, goal - 1, 1],)),
    )


def _coins(rng: Random) -> Recipe:
    coins = tuple(sorted(shuffled(rng, range(2, 12))[:3]))
    none = whole(rng, -2, -1)
    largest = whole(rng, 0, 1)
    choose, other = ("max", "min") if largest else ("min", "max")
    return Recipe(
        (
            f"the {'largest' if largest else 'least'} number of coins of {coins[0]}, {coins[1]} and {coins[2]} "
            f"with the sum n; {none} if there is none.",
        ),
        "n",
        _COINS.format(coins=coins, choose=choose, none=none),
        (
            ("It always takes the largest coin.", _GREEDY.format(coins=coins, none=none)),
            ("It looks for the other extreme.", _COINS.format(coins=coins, choose=other, none=none)),
            ("It forgets a kind of coin.", _COINS.format(coins=coins[1:], choose=choose, none=none)),
        ),
        lambda rng: (whole(rng, 4, 40),),
        ((0,), (1,), (coins[0],), (coins[0] * 3 + coins[1],)),
    )


def _distance(rng: Random) -> Recipe:
    insert, delete, change = whole(rng, 1, 5), whole(rng, 1, 5), whole(rng, 1, 6)
    right = {"insert": insert, "delete": delete, "change": change}
    return Recipe(
        (
            f"the least cost of turning text a into b: inserting a letter costs {insert}, deleting {delete}, "
            f"changing {change}.",
        ),
        "a, b",
        _DISTANCE.format(**right),
        (
            (
                "It exchanges the costs of inserting and deleting.",
                _DISTANCE.format(**{**right, "insert": delete, "delete": insert}),
            ),
            ("Every step costs 1.", _DISTANCE.format(insert=1, delete=1, change=1)),
            ("It never changes a letter.", _DISTANCE.format(**{**right, "change": insert + delete})),
        ),
        lambda rng: (word(rng, 2, 6, "abc"), word(rng, 2, 6, "abc")),
        (("", ""), ("", "abc"), ("abc", ""), ("abc", "abd")),
    )


def _paths(rng: Random) -> Recipe:
    n, diagonal, plus = whole(rng, 5, 8), whole(rng, 0, 1), whole(rng, 0, 9)
    added = " + ways.get((r - 1, c - 1), 0)"
    right = {"wall": f"x >= {n}", "diagonal": added if diagonal else "", "end": f" + {plus}" if plus else ""}
    moves = "right, down or both at once" if diagonal else "right or down"

    def draw(rng: Random) -> tuple[Any, ...]:
        rows, columns = whole(rng, 2, 5), whole(rng, 2, 5)
        return ([[whole(rng, 0, 9) if rng.random() < 0.5 else 0 for _ in range(columns)] for _ in range(rows)],)

    return Recipe(
        (
            f"number of ways from the upper left to the lower right cell, moving {moves}; no cell of the way is "
            f"{n} or more{f'. Add {plus}' if plus else ''}.",
        ),
        "g",
        _PATHS.format(**right),
        (
            ("It moves differently.", _PATHS.format(**{**right, "diagonal": "" if diagonal else added})),
            (f"It forbids only cells above {n}.", _PATHS.format(**{**right, "wall": f"x > {n}"})),
            ("It goes through all cells.", _PATHS.format(**{**right, "wall": "False"})),
        ),
        draw,
        (([[0]],), ([[n]],), ([[0, n], [0, 0]],), ([[0, 0], [0, 0]],)),
    )


def _knapsack(rng: Random) -> Recipe:
    room, repeat, plus = whole(rng, 5, 15), whole(rng, 0, 1), whole(rng, 0, 2)
    orders = f"range({room}, weight - 1, -1)", f"range(weight, {room} + 1)"
    order, other = orders[::-1] if repeat else orders
    value = f"value + {plus}" if plus else "value"

    def draw(rng: Random) -> tuple[Any, ...]:
        return ([[whole(rng, 1, 6), whole(rng, 1, 12)] for _ in range(whole(rng, 2, 6))],)

    more = f". Every item taken adds {plus}" if plus else ""
    return Recipe(
        (
            f"the largest value of items [weight, value] with a total weight of at most {room}; each item "
            f"{'any number of times' if repeat else 'at most once'}{more}.",
        ),
        "items",
        _KNAPSACK.format(room=room, order=order, value=value),
        (
            (
                f"It takes an item {'once' if repeat else 'several times'}.",
                _KNAPSACK.format(room=room, order=other, value=value),
            ),
            (
                "Its bag is too small by one.",
                _KNAPSACK.format(room=room - 1, order=order.replace(str(room), str(room - 1)), value=value),
            ),
        ),
        draw,
        (([],), ([[room, 5]],), ([[room + 1, 5]],), ([[2, 3], [3, 4]],)),
    )


def _random_nest(rng: Random, depth: int) -> list[Any]:
    return [
        _random_nest(rng, depth - 1) if depth and rng.random() < 0.4 else whole(rng, -5, 9)
        for _ in range(whole(rng, 1, 4))
    ]


RECURSION = family(
    "recursion",
    (_recurrence, _two_back, _by_parts),
    (_nested, _stairs, _subsets),
    (_coins, _distance, _paths, _knapsack),
)
