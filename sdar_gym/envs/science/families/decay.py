"""Decay: half-lives, what remains, and ages."""

from __future__ import annotations

import math
from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import ScienceDraft, Slip, Worked, drafted, num, until

_SAMPLES = ("sample", "drug", "tracer", "salt", "source")


def _halvings(rng: Random) -> ScienceDraft | None:
    times, half_life, left = whole(rng, 1, 3), whole(rng, 2, 9), whole(rng, 1, 24)
    start, unit, clock = left * 2**times, pick(rng, ("g", "mg")), pick(rng, ("s", "min", "h", "d"))

    def work(once: bool = False, more: bool = False, lost: bool = False) -> Worked:
        count = 1 if once else times + more
        steps = [f"n={count}" if once else f"{half_life * times}/{half_life}={times}"]
        amount: float = start
        for _ in range(count):
            steps.append(f"{num(amount)}/2={num(amount / 2)}")
            amount /= 2
        if lost:
            steps.append(f"{start}-{num(amount)}={num(start - amount)}")
            amount = start - amount
        return steps, amount

    if start > 99:
        return None
    rule = f"It halves {times} time{'s' if times > 1 else ''}."
    slips = (
        Slip("once", 1, f"It was halved once. {rule}"),
        Slip("more", times + 1, f"It was halved once too often. {rule}"),
        Slip("lost", times + 1, "That is what decayed. Asked is what is left."),
    )
    wordings = (
        "A {who} of {start} halves every {half}. How much is left after {time}?",
        "{start} of a {who} have a half-life of {half}. Find what is left after {time}.",
        "After {time}, what remains of a {who} of {start} with a half-life of {half}?",
    )
    given = {
        "start": f"{start} {unit}",
        "half": f"{half_life} {clock}",
        "time": f"{half_life * times} {clock}",
    }
    words = {"who": pick(rng, _SAMPLES)}
    return drafted(rng, "halvings", wordings, given, unit, work, slips, whole=True, words=words)


def _remaining(rng: Random) -> ScienceDraft | None:
    large, small, per = pick(rng, (("h", "min", 60), ("d", "h", 24), ("min", "s", 60)))
    start, half_life, time = 5 * whole(rng, 4, 180), whole(rng, 2, 12), whole(rng, 20, 480)

    def work(unit: bool = False, linear: bool = False, inverse: bool = False, natural: bool = False) -> Worked:
        t = time / (1 if unit else per)
        n = half_life / t if inverse else t / half_life
        left = start * (1 - n / 2) if linear else start * math.exp(-n) if natural else start * 0.5**n
        shown = "(1-n/2)" if linear else "exp(-n)" if natural else "0.5^n"
        return [
            f"t={time}" if unit else f"t={time} {small}={num(t)} {large}",
            f"n={'T/t' if inverse else 't/T'}={num(n)}",
            f"N=N0*{shown}={num(left)} mg",
        ], left

    if not 0.2 < time / per / half_life < 5:
        return None
    slips = (
        Slip("unit", 1, f"The time was left in {small}; {time} {small} is {num(time / per)} {large}."),
        Slip("natural", 3, "The base e was taken with half-lives; use 0.5^n."),
        Slip("linear", 3, "The decay was taken as linear; each half-life halves what is left."),
        Slip("inverse", 2, "The ratio is upside down; the number of half-lives is t/T."),
    )
    wordings = (
        "A {who} of {start} has a half-life of {half}. How many mg are left after {time}?",
        "What remains, in mg, of {start} of a {who} after {time}, if the half-life is {half}?",
        "The half-life of a {who} is {half}. Of {start}, find the mass left after {time} in mg.",
    )
    given = {"start": f"{start} mg", "half": f"{half_life} {large}", "time": f"{time} {small}"}
    words = {"who": pick(rng, _SAMPLES)}
    return drafted(rng, "remaining", wordings, given, "mg", work, slips, words=words)


def _age(rng: Random) -> ScienceDraft | None:
    half_life, percent = 10 * whole(rng, 5, 900), whole(rng, 4, 92)

    def work(ratio_alone: bool = False, natural: bool = False, lost: bool = False) -> Worked:
        left = 100 - percent if lost else percent
        ratio = 100 / left
        n = ratio if ratio_alone else math.log(ratio) if natural else math.log2(ratio)
        name = "ratio" if ratio_alone else "ln(ratio)" if natural else "log2(ratio)"
        age = n * half_life
        return [
            f"ratio=100/{left}={num(ratio)}",
            f"n={name}={num(n)}",
            f"t=n*T={num(n)}*{half_life}={num(age)} yr",
        ], age

    slips = (
        Slip("ratio_alone", 2, "The ratio was taken for the number of half-lives, which is log2 of it."),
        Slip("natural", 2, "The natural logarithm was taken; half-lives are counted by log2."),
        Slip("lost", 1, f"The part that decayed was taken; {percent} % are left."),
    )
    wordings = (
        "{left} of an isotope with a half-life of {half} are left. How old is the {who}, in years (yr)?",
        "A {who} still has {left} of its isotope, whose half-life is {half}. Find its age in yr.",
        "The half-life is {half}, and {left} of the isotope in a {who} are left. What is its age in yr?",
    )
    given = {"half": f"{half_life} yr", "left": f"{percent} %"}
    words = {"who": pick(rng, ("bone", "rock", "shell", "beam", "cloth"))}
    return drafted(rng, "age", wordings, given, "yr", work, slips, words=words)


def _half_life(rng: Random) -> ScienceDraft | None:
    start, end, time = 10 * whole(rng, 30, 99), 10 * whole(rng, 3, 25), whole(rng, 5, 95)

    def work(natural: bool = False, times: bool = False, linear: bool = False) -> Worked:
        ratio = start / end
        n = ratio / 2 if linear else math.log(ratio) if natural else math.log2(ratio)
        name = "ratio/2" if linear else "ln(ratio)" if natural else "log2(ratio)"
        half = time * n if times else time / n
        return [
            f"ratio={start}/{end}={num(ratio)}",
            f"n={name}={num(n)}",
            f"T=t{'*' if times else '/'}n={num(half)} h",
        ], half

    slips = (
        Slip("natural", 2, "The natural logarithm was taken; half-lives are counted by log2."),
        Slip("linear", 2, "The ratio was halved; the number of half-lives is log2 of it."),
        Slip("times", 3, "It was multiplied by the number of half-lives; T is t/n."),
    )
    wordings = (
        "The activity of a {who} falls from {start} to {end} in {time}. What is the half-life in h?",
        "In {time} a {who} goes from {start} to {end}. Find its half-life in h.",
        "A {who} has {start}, and {end} after {time}. How many hours is its half-life?",
    )
    given = {"start": f"{start} Bq", "end": f"{end} Bq", "time": f"{time} h"}
    words = {"who": pick(rng, ("sample", "tracer", "source"))}
    return drafted(rng, "half-life", wordings, given, "h", work, slips, words=words)


_KINDS = {1: (_halvings,), 2: (_remaining,), 3: (_age, _half_life)}


def _draw(rng: Random, level: int) -> ScienceDraft:
    kind = pick(rng, _KINDS[level])
    return until(lambda: kind(rng))


DECAY = Family("decay", 3, _draw)
