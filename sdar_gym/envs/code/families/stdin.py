"""Tasks whose programs read standard input and print."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.code.families.parts import condition, family, operation
from sdar_gym.envs.draws import pick, shuffled, whole


def _numbers(rng: Random) -> tuple[str]:
    return (" ".join(str(whole(rng, -4, 12)) for _ in range(whole(rng, 3, 5))),)


def _one_number(rng: Random) -> Recipe:
    a, b = whole(rng, 2, 9), whole(rng, 1, 9)
    text, right, wrong = pick(
        rng,
        (
            (f"times {a}, plus {b}", f"int(input())*{a}+{b}", f"(int(input())+{b})*{a}"),
            (f"plus {b}, the sum times {a}", f"(int(input())+{b})*{a}", f"int(input())*{a}+{b}"),
            (f"minus {b}, the difference times {a}", f"(int(input())-{b})*{a}", f"int(input())*{a}-{b}"),
        ),
    )
    return Recipe(
        (f"Read a number; print it {text}.",),
        "",
        f"print({right})",
        (("It works in the wrong order.", f"print({wrong})"), ("It repeats the text.", f"print(input()*{a})")),
        lambda rng: (str(whole(rng, -20, 40)),),
        (("0",), ("1",)),
    )


def _line(rng: Random) -> Recipe:
    (name, what, other), n = (
        pick(rng, (("sum", "sum", "max"), ("max", "maximum", "min"), ("min", "minimum", "max"))),
        whole(rng, 1, 9),
    )
    factor = whole(rng, 2, 5)
    body = "print({name}(map(int,input().split())){code})"
    text, code, wrong = pick(
        rng,
        (
            (f"plus {n}", f"+{n}", f"-{n}"),
            (f"minus {n}", f"-{n}", f"+{n}"),
            (f"times {factor}", f"*{factor}", f"+{factor}"),
        ),
    )
    return Recipe(
        (f"Read numbers of a line; print their {what} {text}.",),
        "",
        body.format(name=name, code=code),
        (
            (f"It takes the {other}.", body.format(name=other, code=code)),
            ("It calculates differently.", body.format(name=name, code=wrong)),
        ),
        _numbers,
        (("3",),),
    )


def _each(rng: Random) -> Recipe:
    which, change = condition(rng), operation(rng)
    reason, other = change.wrong
    body = "print(*[x{change} for x in map(int,input().split()) if {test}])"
    return Recipe(
        (f"Read numbers of a line; print each {which.one} {change.words}.",),
        "",
        body.format(change=change.code, test=which.of()),
        (
            *((text, body.format(change=change.code, test=code)) for text, code in which.wrongly()),
            (reason, body.format(change=other, test=which.of())),
        ),
        _numbers,
        (("3",), ("6 2",)),
    )


def _lines(rng: Random) -> Recipe:
    which, plus = condition(rng), whole(rng, 0, 6)
    body = (
        "n = int(input())\ntotal = {plus}\nfor _ in range(n{less}):\n    x = int(input())\n    if {test}:\n"
        "        total += x\nprint(total)"
    )

    def draw(rng: Random) -> tuple[str, ...]:
        numbers = [whole(rng, -4, 12) for _ in range(whole(rng, 2, 6))]
        return (str(len(numbers)), *map(str, numbers))

    return Recipe(
        (f"The first line has n, each of the next n lines a number. Print {plus} plus the sum of the {which.many}.",),
        "",
        body.format(plus=plus, less="", test=which.of()),
        (
            ("It forgets the last line.", body.format(plus=plus, less=" - 1", test=which.of())),
            *((text, body.format(plus=plus, less="", test=code)) for text, code in which.wrongly()),
        ),
        draw,
        (("0",), ("1", "6"), ("3", "6", "3", "6")),
    )


def _rows(rng: Random) -> Recipe:
    (name, what), change = (
        pick(rng, (("sum", "sum"), ("max", "largest number"), ("min", "smallest number"))),
        operation(rng),
    )
    column = whole(rng, 0, 1)
    body = (
        "rows, columns = map(int, input().split())\ng = [list(map(int, input().split())) for _ in range(rows)]\n"
        "for line in {lines}:\n    print({name}(line){change})"
    )
    lines, across = ("zip(*g)", "g")[:: 1 if column else -1]

    def draw(rng: Random) -> tuple[str, ...]:
        rows, columns = whole(rng, 2, 4), whole(rng, 2, 4)
        return (f"{rows} {columns}", *(" ".join(str(whole(rng, 0, 9)) for _ in range(columns)) for _ in range(rows)))

    return Recipe(
        (
            f"The first line has the numbers of rows and columns, then come the rows. Print the {what} of each "
            f"{'column' if column else 'row'} {change.words}, one a line.",
        ),
        "",
        body.format(lines=lines, name=name, change=change.code),
        (
            ("It mixes up rows and columns.", body.format(lines=across, name=name, change=change.code)),
            (change.wrong[0], body.format(lines=lines, name=name, change=change.wrong[1])),
        ),
        draw,
        (("1 1", "5"), ("1 3", "1 2 3")),
    )


def _names(rng: Random) -> Recipe:
    least, by = whole(rng, 2, 20), pick(rng, ("name", "score", "score, the largest first"))
    body = (
        "n = int(input())\nscores = {{}}\nfor _ in range(n):\n    name, score = input().split()\n"
        "    scores[name] = {value}\nfor name in sorted(scores, key=lambda k: {key}):\n"
        "    if scores[name] {sign} {least}:\n        print(name, scores[name])"
    )
    keys = {"name": "k", "score": "(scores[k], k)", "score, the largest first": "(-scores[k], k)"}
    others = {"name": "(scores[k], k)", "score": "(-scores[k], k)", "score, the largest first": "(scores[k], k)"}
    right = {"value": "scores.get(name, 0) + int(score)", "key": keys[by], "sign": ">=", "least": least}

    def draw(rng: Random) -> tuple[str, ...]:
        lines = [f"{pick(rng, ('ann', 'bob', 'cy', 'dee'))} {whole(rng, 1, 15)}" for _ in range(whole(rng, 3, 7))]
        return (str(len(lines)), *lines)

    tie = "" if by == "name" else ", equal ones by name"
    return Recipe(
        (
            "The first line has n, then n lines with a name and a score. Print names and total scores of at "
            f"least {least}, sorted by {by}{tie}.",
        ),
        "",
        body.format(**right),
        (
            ("It keeps the last score only.", body.format(**{**right, "value": "int(score)"})),
            ("It drops totals at the limit.", body.format(**{**right, "sign": ">"})),
            ("It sorts differently.", body.format(**{**right, "key": others[by]})),
        ),
        draw,
        (("0",), ("3", f"bob {least}", f"ann {least}", f"cy {least + 1}"), ("2", "dee 15", "ann 20")),
    )


def _stack(rng: Random) -> Recipe:
    empty, (a, b) = pick(rng, ("none", "empty", "-", "0", "nothing")), shuffled(rng, ("add", "sub", "mul", "max"))[:2]
    codes = {"add": "x + y", "sub": "x - y", "mul": "x * y", "max": "max(x, y)"}
    text = {
        "add": "their sum",
        "sub": "the earlier minus the later one",
        "mul": "their product",
        "max": "the larger one",
    }
    body = (
        "n = int(input())\nstack = []\nfor _ in range(n):\n    word = input().split()\n    if word[0] == 'push':\n"
        "        stack.append(int(word[1]))\n    elif word[0] == 'pop':\n        {pop}\n    elif len(stack) > 1:\n"
        "        {order} = stack.pop(), stack.pop()\n"
        "        stack.append({first} if word[0] == '{name}' else {second})\n"
        "print({result})"
    )
    right = {
        **{"pop": "stack and stack.pop()", "order": "y, x", "first": codes[a], "second": codes[b], "name": a},
        "result": f"stack[-1] if stack else '{empty}'",
    }

    def draw(rng: Random) -> tuple[str, ...]:
        lines = [pick(rng, (f"push {whole(rng, -5, 9)}",) * 4 + (a, a, b, b, "pop")) for _ in range(whole(rng, 4, 9))]
        return (str(len(lines)), *lines)

    return Recipe(
        (
            f"The first line has n, then n commands for a stack: push x, pop (ignored if it is empty), {a} and "
            f"{b}, which "
            f"replace the last two numbers by {text[a]} and {text[b]} (ignored with fewer than two). Print the last "
            f"number, or {empty} for an empty stack.",
        ),
        "",
        body.format(**right),
        (
            ("It fails if the stack is empty.", body.format(**{**right, "pop": "stack.pop()"})),
            ("It exchanges the two commands.", body.format(**{**right, "first": codes[b], "second": codes[a]})),
            ("It takes the two numbers in the wrong order.", body.format(**{**right, "order": "x, y"})),
            ("It prints the first number.", body.format(**{**right, "result": f"stack[0] if stack else '{empty}'"})),
        ),
        draw,
        (("0",), ("2", "pop", "push 3"), ("3", "push 7", "push 2", a), ("4", "push 7", "push 2", b, "push 1")),
    )


def _times(rng: Random) -> Recipe:
    length, gap = pick(rng, (15, 20, 25, 30, 40, 45, 50, 60, 75, 90)), pick(rng, (0, 5, 10, 15))
    over = whole(rng, 0, 1)
    body = (
        "total = 0\nfor _ in range(int(input())):\n    a, b = input().split('-')\n    h, m = map(int, a.split(':'))\n"
        "    k, n = map(int, b.split(':'))\n    minutes = {minutes}\n    if minutes {sign} {length}:\n"
        "        total += minutes - {gap}\nprint(f'{{total // 60}}:{{total % 60{format}}}')"
    )
    right = {
        "minutes": "(k * 60 + n - h * 60 - m) % 1440",
        **{"sign": ">=" if over else "<=", "length": length, "gap": gap, "format": ":02d"},
    }

    def draw(rng: Random) -> tuple[str, ...]:
        lines = []
        for _ in range(whole(rng, 2, 5)):
            start = whole(rng, 0, 1439)
            end = (start + whole(rng, max(15, length - 40), length + 60)) % 1440
            lines.append(f"{start // 60}:{start % 60:02d}-{end // 60}:{end % 60:02d}")
        return (str(len(lines)), *lines)

    less = f", each less {gap} minutes" if gap else ""
    return Recipe(
        (
            "The first line has n, then n spans such as 9:05-10:30; one that ends before it starts goes on to "
            "the next "
            f"day. Add up the spans of at {'least' if over else 'most'} {length} minutes{less}. "
            "Print hours:minutes, the minutes with two digits.",
        ),
        "",
        body.format(**right),
        (
            ("It ignores the day's end.", body.format(**{**right, "minutes": "k * 60 + n - h * 60 - m"})),
            ("It writes minutes below 10 with one digit.", body.format(**{**right, "format": ""})),
            ("It drops spans of exactly the limit.", body.format(**{**right, "sign": right["sign"][0]})),
        ),
        draw,
        (
            ("0",),
            ("1", f"8:00-{8 + length // 60}:{length % 60:02d}"),
            ("1", "23:50-0:55"),
            ("2", "23:55-0:15", "1:00-1:20"),
        ),
    )


def _queries(rng: Random) -> Recipe:
    (name, what, other), none = (
        pick(rng, (("sum", "sum", "max"), ("max", "largest", "min"), ("min", "smallest", "max"))),
        pick(rng, ("none", "empty", "-")),
    )
    first, closed = whole(rng, 0, 1), whole(rng, 0, 1)
    body = (
        "n, q = map(int, input().split())\nxs = list(map(int, input().split()))\nfor _ in range(q):\n"
        "    a, b = map(int, input().split())\n    part = xs[a{low}:b{high}]\n"
        "    print({name}(part) if part else '{none}')"
    )

    def shift(number: int) -> str:
        return f" - {-number}" if number < 0 else f" + {number}" if number else ""

    right = {"low": shift(-first), "high": shift(closed - first), "name": name, "none": none}

    def draw(rng: Random) -> tuple[str, ...]:
        numbers = [str(whole(rng, -4, 12)) for _ in range(whole(rng, 4, 7))]
        spans = []
        for _ in range(whole(rng, 2, 4)):
            a = whole(rng, first, len(numbers) - 2)
            spans.append(f"{a} {whole(rng, a - 1 if a > first + 1 else a, len(numbers) - 1)}")
        return (f"{len(numbers)} {len(spans)}", " ".join(numbers), *spans)

    what = "sum of the numbers" if name == "sum" else f"{what} number"
    return Recipe(
        (
            "The first line has n and q, the second n numbers; each of the next q lines has a and b. Print for "
            "each the "
            f"{what} at positions a to b, b {'included' if closed else 'not included'}, counted from {first}; "
            f"{none} if "
            "there are none.",
        ),
        "",
        body.format(**right),
        (
            (
                f"It counts from {1 - first}.",
                body.format(**{**right, "low": shift(first - 1), "high": shift(closed + first - 1)}),
            ),
            ("It treats the end wrongly.", body.format(**{**right, "high": shift(1 - closed - first)})),
            ("It takes another property.", body.format(**{**right, "name": other})),
        ),
        draw,
        (("3 1", "5 6 9", "2 1"), ("2 2", "4 9", "1 1", "1 2")),
    )


STDIN = family("stdin", (_one_number, _line, _each), (_lines, _rows, _names), (_stack, _times, _queries))
