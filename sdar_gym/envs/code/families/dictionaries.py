"""Tasks on dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import condition, family, one, operation, table, word
from sdar_gym.envs.draws import pick, whole


def _values(rng: Random) -> Recipe:
    which, change = condition(rng), operation(rng)
    reason, other = change.wrong
    body = "def f(d): return {{k:v{change} for k,v in d.items() if {test}}}"
    return Recipe(
        (f"keep entries whose value is {_a(which.one)}, each value {change.words}.",),
        "d",
        body.format(change=change.code, test=which.of("v")),
        (
            *((text, body.format(change=change.code, test=code)) for text, code in which.wrongly("v")),
            (reason, body.format(change=other, test=which.of("v"))),
        ),
        one(table),
        (({},),),
    )


def _lookup(rng: Random) -> Recipe:
    key, default, n = pick(rng, "abcde"), whole(rng, -5, 9), whole(rng, 0, 4)
    body = "def f(d): return {code}"
    plus = f"+{n}" if n else ""
    return Recipe(
        (f"the value of '{key}', or {default} without one{f'; plus {n}' if n else ''}.",),
        "d",
        body.format(code=f"d.get('{key}',{default}){plus}"),
        (
            ("It fails without the key.", body.format(code=f"d['{key}']{plus}")),
            ("It replaces a value of 0.", body.format(code=f"(d.get('{key}') or {default}){plus}")),
        ),
        one(table),
        (({},), ({key: 0},), ({key: 3},)),
    )


def _keys(rng: Random) -> Recipe:
    which, down = condition(rng), whole(rng, 0, 1)
    body = "def f(d): return sorted((k for k,v in d.items() if {test}){order})"
    order = (",reverse=True", "") if down else ("", ",reverse=True")
    return Recipe(
        (f"keys of the {which.many}, sorted{' from z to a' if down else ''}.",),
        "d",
        body.format(test=which.of("v"), order=order[0]),
        (
            *((text, body.format(test=code, order=order[0])) for text, code in which.wrongly("v")),
            ("It sorts the other way.", body.format(test=which.of("v"), order=order[1])),
        ),
        one(table),
        (({},),),
    )


def _count(rng: Random) -> Recipe:
    least, start = whole(rng, 1, 4), whole(rng, 0, 9)
    kind, expression, other = pick(
        rng,
        (
            ("each word", "w", "w[0]"),
            ("the words of each first letter", "w[0]", "w[-1]"),
            ("the words of each last letter", "w[-1]", "w[0]"),
            ("the words of each length (the key is its text)", "str(len(w))", "w"),
        ),
    )
    body = (
        "def f(words):\n    counts = {{}}\n    for w in words:\n"
        "        counts[{key}] = counts.get({key}, {start}) + 1\n"
        "    return {{k: n for k, n in counts.items() if n {sign} {limit}}}"
    )
    right = {"key": expression, "start": start, "sign": ">=", "limit": least + start}
    return Recipe(
        (f"count {kind}, starting from {start}; the counts of at least {least + start}.",),
        "words",
        body.format(**right),
        (
            ("It starts from another number.", body.format(**{**right, "start": start + 1})),
            ("It drops counts at the limit.", body.format(**{**right, "sign": ">"})),
            ("It counts something else.", body.format(**{**right, "key": other})),
        ),
        lambda rng: ([word(rng, 1, 3, "abc") for _ in range(whole(rng, 4, 9))],),
        (([],), (["a"] * least,)),
    )


def _merge(rng: Random) -> Recipe:
    default, (verb, code, other) = (
        whole(rng, 0, 9),
        pick(
            rng,
            (
                ("the sum", "a + b", "b"),
                ("the larger one", "max(a, b)", "min(a, b)"),
                ("the difference, d minus e,", "a - b", "b - a"),
                ("the product", "a * b", "a + b"),
            ),
        ),
    )
    body = (
        "def f(d, e):\n    result = {{}}\n    for k in {keys}:\n        a, b = d.get(k, {none}), e.get(k, {none})\n"
        "        result[k] = {code}\n    return result"
    )
    right = {"keys": "d.keys() | e.keys()", "none": default, "code": code}
    return Recipe(
        (f"for every key of either dictionary {verb} of its two values; a missing value counts as {default}.",),
        "d, e",
        body.format(**right),
        (
            ("It forgets keys of the second one.", body.format(**{**right, "keys": "d"})),
            ("It forgets keys that only one of them has.", body.format(**{**right, "keys": "d.keys() & e.keys()"})),
            ("It combines the values wrongly.", body.format(**{**right, "code": other})),
        ),
        lambda rng: (table(rng), table(rng)),
        (({}, {}), ({"a": 1}, {}), ({}, {"b": -2})),
    )


def _invert(rng: Random) -> Recipe:
    which, down = condition(rng), whole(rng, 0, 1)
    body = (
        "def f(d):\n    result = {{}}\n    for k in sorted(d{order}):\n        if {test}:\n"
        "            {store}\n    return result"
    )
    store, once = "result.setdefault(str(d[k]), []).append(k)", "result[str(d[k])] = [k]"
    order = (", reverse=True", "") if down else ("", ", reverse=True")
    return Recipe(
        (
            f"a dictionary from each value that is {_a(which.one)}, as a text, to the sorted list of its keys"
            f"{' (from z to a)' if down else ''}.",
        ),
        "d",
        body.format(order=order[0], test=which.of("d[k]"), store=store),
        (
            ("It keeps one key for each value.", body.format(order=order[0], test=which.of("d[k]"), store=once)),
            ("Its keys are in the wrong order.", body.format(order=order[1], test=which.of("d[k]"), store=store)),
            *((text, body.format(order=order[0], test=code, store=store)) for text, code in which.wrongly("d[k]")),
        ),
        lambda rng: (table(rng, 2, 6, 5, 8),),
        (({},), ({"b": 6, "a": 6, "c": 6, "e": 3, "d": 3},)),
    )


def _totals(rng: Random) -> Recipe:
    least, n = whole(rng, 5, 20), whole(rng, 1, 4)
    body = (
        "def f(rows):\n    totals = {{}}\n    for row in rows:\n"
        "        totals[row['name']] = totals.get(row['name'], 0) + {amount}\n"
        "    kept = [k for k in totals if totals[k] {sign} {least}]\n"
        "    return sorted(kept, key=lambda k: {key})[:{n}]"
    )
    right = {"amount": "row['count'] * row['price']", "sign": ">=", "least": least, "key": "(-totals[k], k)", "n": n}

    def draw(rng: Random) -> tuple[Any, ...]:
        rows = [
            {"name": pick(rng, ("ale", "bun", "cod", "dip")), "count": whole(rng, 1, 4), "price": whole(rng, 1, 6)}
            for _ in range(whole(rng, 3, 8))
        ]
        return (rows,)

    tied = [{"name": name, "count": 1, "price": least} for name in ("bun", "ale", "dip")]
    return Recipe(
        (
            f"each row has name, count and price; names with a total count times price of at least {least}, at "
            f"most {n} "
            "of them, the largest total first, equal totals by name.",
        ),
        "rows",
        body.format(**right),
        (
            ("It adds up prices without counts.", body.format(**{**right, "amount": "row['price']"})),
            ("It drops totals at the limit.", body.format(**{**right, "sign": ">"})),
            ("It leaves equal totals in their order.", body.format(**{**right, "key": "-totals[k]"})),
            ("It has the smallest total first.", body.format(**{**right, "key": "(totals[k], k)"})),
        ),
        draw,
        (([],), (tied,)),
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


DICTIONARIES = family("dictionaries", (_values, _lookup, _keys), (_count, _merge, _invert, _totals))
