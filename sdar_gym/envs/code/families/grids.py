"""Tasks on grids: rows, columns, neighbors, moves and searches."""

from __future__ import annotations

from random import Random
from typing import Any

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import condition, family, grid, one, operation
from sdar_gym.envs.draws import pick, whole

_ROBOT = """def f(moves):
    x, y = {start}
    for m in moves:
        nx, ny = x + {{'R': 1, 'L': -1}}.get(m, 0), y + {{'U': 1, 'D': -1}}.get(m, 0)
        if {inside}:
            x, y = nx, ny
    return [x, y]"""
_NEIGHBORS = """def f(g):
    rows, columns = len(g), len(g[0])
    result = []
    for r in range(rows):
        line = []
        for c in range(columns):
            near = 0
            for i, j in {around}:
                if 0 <= r + i < rows and 0 <= c + j < columns:
                    x = g[r + i][c + j]
                    near += {test}
            line.append(near)
        result.append(line)
    return result"""
_ISLANDS = """def f(g):
    left = {{(r, c) for r, row in enumerate(g) for c, x in enumerate(row) if {test}}}
    sizes = []
    while left:
        stack, size = [left.pop()], 0
        while stack:
            r, c = stack.pop()
            size += 1
            for i, j in {around}:
                if (r + i, c + j) in left:
                    left.remove((r + i, c + j))
                    stack.append((r + i, c + j))
        sizes.append(size)
    return {result}"""
_LIFE = """def f(g):
    rows, columns = len(g), len(g[0])
    for _ in range({steps}):
        new = [[0] * columns for _ in range(rows)]
        for r in range(rows):
            for c in range(columns):
                near = sum(
                    g[r + i][c + j]
                    for i in (-1, 0, 1)
                    for j in (-1, 0, 1)
                    if {itself}0 <= r + i < rows and 0 <= c + j < columns
                )
                new[r][c] = int(near in {stay} if g[r][c] else near in {born})
        g = new
    return g"""
_PATH = """def f(g):
    rows, columns = len(g), len(g[0])
    steps = {{(0, 0): {first}}} if g[0][0] < {wall} else {{}}
    queue = list(steps)
    for r, c in queue:
        for i, j in {moves}:
            at = r + i, c + j
            if 0 <= at[0] < rows and 0 <= at[1] < columns and at not in steps and g[at[0]][at[1]] {sign} {wall}:
                steps[at] = steps[r, c] + 1
                queue.append(at)
    return steps.get((rows - 1, columns - 1), {none})"""
_FOUR = "((0, 1), (1, 0), (0, -1), (-1, 0))"
_DIAGONAL = "((1, 1), (1, -1), (-1, 1), (-1, -1))"
_EIGHT = f"{_FOUR[:-1]}, {_DIAGONAL[1:]}"
_AROUND = {"side by side": _FOUR, "diagonal": _DIAGONAL, "side by side or diagonal": _EIGHT}


def _line(rng: Random) -> Recipe:
    n, change = whole(rng, 0, 1), operation(rng)
    reason, other = change.wrong
    which = ("first", "second")[n]
    column = whole(rng, 0, 1)
    code, wrong = (f"[r[{n}]{{}} for r in g]", f"[x{{}} for x in g[{n}]]")[:: 1 if column else -1]
    name, others = ("column", "row")[:: 1 if column else -1]
    return Recipe(
        (f"the {which} {name} of the grid, each number {change.words}.",),
        "g",
        f"def f(g): return {code.format(change.code)}",
        (
            (f"It takes a {others}.", f"def f(g): return {wrong.format(change.code)}"),
            (reason, f"def f(g): return {code.format(other)}"),
        ),
        one(grid),
        (([[1, 2], [3, 4]],),),
    )


def _flat(rng: Random) -> Recipe:
    which, change = condition(rng), operation(rng)
    reason, other = change.wrong
    body = "def f(g): return [x{change} for r in g for x in r if {test}]"
    return Recipe(
        (f"list each {which.one} {change.words}, row by row.",),
        "g",
        body.format(change=change.code, test=which.of()),
        (
            *((text, body.format(change=change.code, test=code)) for text, code in which.wrongly()),
            (reason, body.format(change=other, test=which.of())),
        ),
        one(grid),
        (([[0]],),),
    )


def _rows(rng: Random) -> Recipe:
    (name, what), change = (
        pick(rng, (("max", "largest number"), ("min", "smallest number"), ("sum", "sum"))),
        operation(rng),
    )
    reason, other = change.wrong
    body = "def f(g): return [{name}(r){change} for r in {lines}]"
    column = whole(rng, 0, 1)
    lines, across = ("zip(*g)", "g")[:: 1 if column else -1]
    return Recipe(
        (f"the {what} of each {'column' if column else 'row'}, {change.words}.",),
        "g",
        body.format(name=name, change=change.code, lines=lines),
        (
            ("It mixes up rows and columns.", body.format(name=name, change=change.code, lines=across)),
            (reason, body.format(name=name, change=other, lines=lines)),
        ),
        one(grid),
        (([[3]],),),
    )


def _robot(rng: Random) -> Recipe:
    start, size, wraps = (whole(rng, 0, 3), whole(rng, 0, 3)), whole(rng, 4, 7), whole(rng, 0, 1)
    bounded = f"0 <= nx < {size} and 0 <= ny < {size}"
    body = _ROBOT.format(start=start, inside="True" if wraps else bounded)
    if wraps:
        body = body.replace("x, y = nx, ny", f"x, y = nx % {size}, ny % {size}")
    leaves = "re-enters on the other side" if wraps else "is not made"

    def draw(rng: Random) -> tuple[str]:
        return ("".join(pick(rng, "UDLR" + "RU" * 3) for _ in range(whole(rng, 5, 14))),)

    exchanged = body.replace("'U': 1, 'D': -1", "'U': -1, 'D': 1")
    free = _ROBOT.format(start=start, inside="True")
    larger = body.replace(f"< {size}", f"<= {size}").replace(f"% {size}", f"% {size + 1}")
    return Recipe(
        (
            f"start at {list(start)} in a field of {size} by {size}; R and L change x by +1 and -1, U and D "
            "change y; a "
            f"move out of the field {leaves}. The last [x, y].",
        ),
        "moves",
        body,
        (
            ("It goes up where it should go down.", exchanged),
            ("It leaves the field.", free),
            ("Its field is one larger.", larger),
        ),
        draw,
        (("",), ("R" * 9,), ("L" * 9 + "D" * 9,), ("U" * 8,)),
    )


def _neighbors(rng: Random) -> Recipe:
    which, where = condition(rng), pick(rng, sorted(_AROUND))
    around = _AROUND[where]
    others = [name for name in sorted(_AROUND) if name != where]
    return Recipe(
        (f"a grid with the number of neighbors, {where}, that are {which.many}.",),
        "g",
        _NEIGHBORS.format(around=around, test=which.of()),
        (
            ("It looks at other neighbors.", _NEIGHBORS.format(around=_AROUND[others[0]], test=which.of())),
            ("It counts the cell itself.", _NEIGHBORS.format(around=f"((0, 0), {around[1:]}", test=which.of())),
            *((text, _NEIGHBORS.format(around=around, test=code)) for text, code in which.wrongly()),
        ),
        one(grid),
        (([[6]],), ([[6, 3], [6, 6]],)),
    )


def _turn(rng: Random) -> Recipe:
    right, n, change = whole(rng, 0, 1), whole(rng, 1, 3), operation(rng)
    body = "def f(g):\n    for _ in range({n}):\n        g = {code}\n    return [[x{change} for x in row] for row in g]"
    codes = "[list(row) for row in zip(*g[::-1])]", "[list(row) for row in zip(*g)][::-1]"
    code, other = codes if right else codes[::-1]
    return Recipe(
        (
            f"turn the grid {'right' if right else 'left'} by 90 degrees "
            f"{('once', 'twice', 'three times')[n - 1]}; each number {change.words}.",
        ),
        "g",
        body.format(n=n, code=code, change=change.code),
        (
            ("It turns the other way.", body.format(n=n, code=other, change=change.code)),
            (
                "It exchanges rows and columns only.",
                body.format(n=n, code="[list(row) for row in zip(*g)]", change=change.code),
            ),
            ("It turns once too often.", body.format(n=n + 1, code=code, change=change.code)),
        ),
        one(grid),
        (([[1]],), ([[1, 2, 3]],)),
    )


def _islands(rng: Random) -> Recipe:
    which, where = condition(rng), pick(rng, ("side by side", "side by side or diagonal"))
    text, result, other = pick(
        rng,
        (
            ("the number of groups", "len(sizes)", "sum(sizes)"),
            ("the size of the largest group (0 without any)", "max(sizes, default=0)", "len(sizes)"),
            ("the sizes, ascending, of the groups", "sorted(sizes)", "sorted(set(sizes))"),
        ),
    )
    around, wrong = (_FOUR, _EIGHT) if where == "side by side" else (_EIGHT, _FOUR)
    return Recipe(
        (f"{text} of connected {which.many}; cells are connected if they are {where}.",),
        "g",
        _ISLANDS.format(test=which.of(), around=around, result=result),
        (
            ("It connects other neighbors.", _ISLANDS.format(test=which.of(), around=wrong, result=result)),
            ("It gives another number.", _ISLANDS.format(test=which.of(), around=around, result=other)),
            *((reason, _ISLANDS.format(test=code, around=around, result=result)) for reason, code in which.wrongly()),
        ),
        one(grid, 0, 9, 3, 5),
        (([[6]],), ([[1]],), ([[6, 1, 6], [1, 6, 1], [6, 1, 6]],)),
    )


def _life(rng: Random) -> Recipe:
    steps = whole(rng, 1, 3)
    stay, born = pick(
        rng,
        (((2, 3), (3, 4)), ((2, 3), (3, 6)), ((1, 2), (3, 4)), ((3, 4), (2, 3)), ((2, 4), (2, 3)), ((1, 3), (2, 5))),
    )
    right = {"steps": steps, "itself": "(i or j) and ", "stay": stay, "born": born}

    def draw(rng: Random) -> tuple[Any, ...]:
        return (grid(rng, 0, 1, 3, 5),)

    return Recipe(
        (
            f"{steps} step(s) of a cellular automaton with cells 1 and 0: of the eight neighbors, {stay[0]} or "
            f"{stay[1]} "
            f"ones keep a 1, {born[0]} or {born[1]} turn a 0 into 1; all else is 0.",
        ),
        "g",
        _LIFE.format(**right),
        (
            ("It counts the cell itself.", _LIFE.format(**{**right, "itself": ""})),
            ("It mixes up the two rules.", _LIFE.format(**{**right, "stay": born, "born": stay})),
            ("It makes one step too many.", _LIFE.format(**{**right, "steps": steps + 1})),
        ),
        draw,
        (([[1]],), ([[0, 1, 0], [0, 1, 0], [0, 1, 0]],)),
    )


def _path(rng: Random) -> Recipe:
    wall, none, first, jump = (
        whole(rng, 4, 8),
        whole(rng, -3, 0),
        whole(rng, 0, 1),
        pick(rng, ("side by side", "side by side or diagonal")),
    )
    moves, other = (_FOUR, _EIGHT) if jump == "side by side" else (_EIGHT, _FOUR)
    right = {"first": first, "wall": wall, "moves": moves, "sign": "<", "none": none}
    what = "cells, both ends included," if first else "steps"
    return Recipe(
        (
            f"the least number of {what} from the upper left to the lower right cell, moving {jump}; cells of "
            f"{wall} or "
            f"more are walls, the ends too. {none} if there is no way.",
        ),
        "g",
        _PATH.format(**right),
        (
            ("It walks through walls of the lowest height.", _PATH.format(**{**right, "sign": "<="})),
            ("It is one off in the number.", _PATH.format(**{**right, "first": 1 - first})),
            ("It moves another way.", _PATH.format(**{**right, "moves": other})),
        ),
        one(grid, 0, 9, 2, 5),
        (([[0]],), ([[9]],), ([[0, wall], [wall, 0]],), ([[0, wall], [0, 0]],)),
    )


GRIDS = family("grids", (_line, _flat, _rows), (_robot, _neighbors, _turn), (_islands, _life, _path))
