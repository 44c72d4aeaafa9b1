"""Mechanics: motion, forces, work and energy."""

from __future__ import annotations

from random import Random

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family
from sdar_gym.envs.science.drafting import Law, ScienceDraft, Slip, Worked, drafted, num, one_operation, tenths, until

_MOVING = ("car", "bike", "train", "boat", "dog", "robot")
_PUSHED = ("box", "cart", "ball", "sled", "stone")
_LAWS = (
    Law(
        "speed",
        ("v", "d", "t"),
        "/",
        ("m/s", "m", "s"),
        "Speed is distance over time.",
        (
            "A {who} goes {a} in {b}. Find its speed.",
            "What is the speed of a {who} that moves {a} in {b}?",
            "A {who} needs {b} for {a}. How fast is it?",
        ),
        _MOVING,
    ),
    Law(
        "distance",
        ("d", "v", "t"),
        "*",
        ("m", "m/s", "s"),
        "Distance is speed times time.",
        (
            "A {who} moves at {a} for {b}. How far does it go?",
            "What distance does a {who} cover at {a} in {b}?",
            "For {b} a {who} keeps {a}. Find the distance.",
        ),
        _MOVING,
    ),
    Law(
        "time",
        ("t", "d", "v"),
        "/",
        ("s", "m", "m/s"),
        "Time is distance over speed.",
        (
            "A {who} goes {a} at {b}. How long does it take?",
            "How much time does a {who} need for {a} at {b}?",
            "At {b} a {who} covers {a}. Find the time.",
        ),
        _MOVING,
    ),
    Law(
        "force",
        ("F", "m", "a"),
        "*",
        ("N", "kg", "m/s^2"),
        "Force is mass times acceleration.",
        (
            "A {who} of {a} speeds up at {b}. Find the force.",
            "What force gives a {who} of {a} an acceleration of {b}?",
            "An acceleration of {b} is wanted for a {who} of {a}. Which force is needed?",
        ),
        _PUSHED,
    ),
    Law(
        "acceleration",
        ("a", "F", "m"),
        "/",
        ("m/s^2", "N", "kg"),
        "Acceleration is force over mass.",
        (
            "A force of {a} acts on a {who} of {b}. Find its acceleration.",
            "What is the acceleration of a {who} of {b} under {a}?",
            "A {who} of {b} is pushed with {a}. How fast does it speed up?",
        ),
        _PUSHED,
    ),
)


def _speed_in_units(rng: Random) -> ScienceDraft | None:
    km, minutes = tenths(rng, 6, 60), whole(rng, 2, 15)

    def work(kilo: bool = False, minute: bool = False) -> Worked:
        d, t = km * (1 if kilo else 1000), minutes * (1 if minute else 60)
        return [
            f"d={num(d)}" if kilo else f"d={num(km)} km={num(d)} m",
            f"t={t}" if minute else f"t={minutes} min={t} s",
            f"v=d/t={num(d)}/{t}={num(d / t)} m/s",
        ], d / t

    slips = (
        Slip("minute", 2, f"The time was left in minutes; {minutes} min is {minutes * 60} s."),
        Slip("kilo", 1, f"The distance was left in kilometers; {num(km)} km is {num(km * 1000)} m."),
    )
    wordings = (
        "A {who} covers {distance} in {time}. What is its average speed in m/s?",
        "It takes a {who} {time} to travel {distance}. Give its average speed in meters per second.",
        "How many meters per second does a {who} average that goes {distance} in {time}?",
    )
    given = {"distance": f"{num(km)} km", "time": f"{minutes} min"}
    who = {"who": pick(rng, ("runner", "cyclist", "tram", "ship"))}
    return drafted(rng, "average speed", wordings, given, "m/s", work, slips, words=who)


def _weight(rng: Random) -> ScienceDraft | None:
    grams = 10 * whole(rng, 5, 95)

    def work(gram: bool = False, over: bool = False) -> Worked:
        m = grams / (1 if gram else 1000)
        force = m / 9.81 if over else m * 9.81
        sign = "/" if over else "*"
        first = f"m={num(m)}" if gram else f"m={grams} g={num(m)} kg"
        return [first, f"F=m{sign}g={num(m)}{sign}9.81={num(force)} N"], force

    slips = (
        Slip("gram", 1, f"The mass was left in grams; {grams} g is {num(grams / 1000)} kg."),
        Slip("over", 2, "The mass was divided by g; weight is mass times g."),
    )
    wordings = (
        "What is the weight, in N, of a {who} with a mass of {mass}? Use g = {g}.",
        "A {who} has a mass of {mass}. With which force, in N, does the earth pull it (g = {g})?",
        "With g = {g}, find the weight in newtons of a {who} of {mass}.",
    )
    given = {"mass": f"{grams} g", "g": "9.81 m/s^2"}
    who = {"who": pick(rng, ("ball", "book", "pear", "brick", "bottle"))}
    return drafted(rng, "weight", wordings, given, "N", work, slips, words=who)


def _work_done(rng: Random) -> ScienceDraft | None:
    newtons, centimeters = whole(rng, 12, 95), 5 * whole(rng, 3, 60)

    def work(centimeter: bool = False, over: bool = False) -> Worked:
        d = centimeters / (1 if centimeter else 100)
        energy = newtons / d if over else newtons * d
        sign = "/" if over else "*"
        first = f"d={num(d)}" if centimeter else f"d={centimeters} cm={num(d)} m"
        return [first, f"W=F{sign}d={newtons}{sign}{num(d)}={num(energy)} J"], energy

    slips = (
        Slip("centimeter", 1, f"The distance was left in centimeters; {centimeters} cm is {num(centimeters / 100)} m."),
        Slip("over", 2, "The force was divided by the distance; work is force times distance."),
    )
    wordings = (
        "A {who} is pushed {distance} with a force of {force}. How much work, in J, is done?",
        "Find the work in joules that a force of {force} does on a {who} over {distance}.",
        "Over {distance} a force of {force} pulls a {who}. What work in J does it do?",
    )
    given = {"force": f"{newtons} N", "distance": f"{centimeters} cm"}
    return drafted(rng, "work", wordings, given, "J", work, slips, words={"who": pick(rng, _PUSHED)})


def _kinetic_energy(rng: Random) -> ScienceDraft | None:
    kilograms, kmh = 10 * whole(rng, 40, 190), whole(rng, 15, 120)

    def work(unconverted: bool = False, unsquared: bool = False, unhalved: bool = False) -> Worked:
        v = kmh / (1 if unconverted else 3.6)
        square = v if unsquared else v * v
        energy = (1 if unhalved else 0.5) * kilograms * square / 1000
        return [
            f"v={kmh}" if unconverted else f"v={kmh} km/h={num(v)} m/s",
            f"v^2={num(v)}" if unsquared else f"v^2={num(square)}",
            f"E={'' if unhalved else '0.5*'}m*v^2={num(energy * 1000)} J={num(energy)} kJ",
        ], energy

    slips = (
        Slip("unconverted", 1, f"The speed was left in km/h; {kmh} km/h is {num(kmh / 3.6)} m/s."),
        Slip("unsquared", 2, "The speed was not squared; kinetic energy is m v^2 / 2."),
        Slip("unhalved", 3, "The half is missing; kinetic energy is m v^2 / 2."),
    )
    wordings = (
        "What is the kinetic energy, in kJ, of a {who} of {mass} at {speed}?",
        "A {who} with a mass of {mass} moves at {speed}. Find its kinetic energy in kJ.",
        "At {speed}, how much kinetic energy in kilojoules does a {who} of {mass} have?",
    )
    given = {"mass": f"{kilograms} kg", "speed": f"{kmh} km/h"}
    who = {"who": pick(rng, ("car", "van", "boat", "trailer"))}
    return drafted(rng, "kinetic energy", wordings, given, "kJ", work, slips, words=who)


def _circular(rng: Random) -> ScienceDraft | None:
    kilograms, speed, across = tenths(rng, 5, 90), tenths(rng, 15, 90), tenths(rng, 8, 80)

    def work(diameter: bool = False, unsquared: bool = False, times: bool = False) -> Worked:
        r = across / (1 if diameter else 2)
        square = speed if unsquared else speed * speed
        force = kilograms * square * r if times else kilograms * square / r
        return [
            f"r={num(r)} m" if diameter else f"r=d/2={num(r)} m",
            f"v^2={num(square)}",
            f"F=m*v^2{'*' if times else '/'}r={num(force)} N",
        ], force

    slips = (
        Slip("diameter", 1, f"The diameter was taken for the radius; the radius is {num(across / 2)} m."),
        Slip("unsquared", 2, "The speed was not squared; the force is m v^2 / r."),
        Slip("times", 3, "It was multiplied by the radius; the force is m v^2 / r."),
    )
    wordings = (
        "A {who} of {mass} moves at {speed} on a circle of diameter {diameter}. Find the centripetal force in N.",
        "Which force, in N, keeps a {who} of {mass} at {speed} on a circle that is {diameter} across?",
        "On a circle of diameter {diameter}, a {who} of {mass} runs at {speed}. Find the centripetal force in newtons.",
    )
    given = {"mass": f"{num(kilograms)} kg", "speed": f"{num(speed)} m/s", "diameter": f"{num(across)} m"}
    words = {"who": pick(rng, ("ball", "toy train", "stone", "model plane"))}
    return drafted(rng, "centripetal force", wordings, given, "N", work, slips, words=words)


def _braking(rng: Random) -> ScienceDraft | None:
    kmh, slowing = whole(rng, 20, 130), tenths(rng, 20, 85)

    def work(unconverted: bool = False, unsquared: bool = False, undoubled: bool = False) -> Worked:
        v = kmh / (1 if unconverted else 3.6)
        square = v if unsquared else v * v
        way = square / ((1 if undoubled else 2) * slowing)
        return [
            f"v={kmh}" if unconverted else f"v={kmh} km/h={num(v)} m/s",
            f"v^2={num(square)}",
            f"s=v^2/{'' if undoubled else '(2*'}a{'' if undoubled else ')'}={num(way)} m",
        ], way

    slips = (
        Slip("unconverted", 1, f"The speed was left in km/h; {kmh} km/h is {num(kmh / 3.6)} m/s."),
        Slip("unsquared", 2, "The speed was not squared; the distance is v^2 / (2 a)."),
        Slip("undoubled", 3, "The factor 2 is missing; the distance is v^2 / (2 a)."),
    )
    wordings = (
        "A {who} brakes from {speed} at {slowing} until it stops. How far does it go, in m?",
        "How many meters does a {who} need to stop from {speed} if it slows down at {slowing}?",
        "From {speed} a {who} slows down at {slowing}. Find its braking distance in m.",
    )
    given = {"speed": f"{kmh} km/h", "slowing": f"{num(slowing)} m/s^2"}
    words = {"who": pick(rng, ("car", "bus", "tram", "truck"))}
    return drafted(rng, "braking distance", wordings, given, "m", work, slips, words=words)


_KINDS = {2: (_speed_in_units, _weight, _work_done), 3: (_kinetic_energy, _circular, _braking)}


def _draw(rng: Random, level: int) -> ScienceDraft:
    if level == 1:
        return one_operation(rng, pick(rng, _LAWS))
    kind = pick(rng, _KINDS[level])
    return until(lambda: kind(rng))


MECHANICS = Family("mechanics", 3, _draw)
