"""Writes docs/methods.md from the methods themselves.

    python scripts/method_pages.py [--check]

The page is never edited by hand: what it says stands in `sdar_gym/algorithms/`, and a test compares the two.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from sdar_gym.algorithms.gates import Gate
from sdar_gym.algorithms.shaping import Normalise, Squash

from sdar_gym.algorithms import objective as objective_module
from sdar_gym.algorithms.methods import CHAPTERS, METHODS, Method
from sdar_gym.algorithms.objectives.distillation import GroupFilter, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.cli.methods import schedule_setting, setting_lines

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
MADE = "<!-- Made by scripts/method_pages.py from sdar_gym/algorithms/methods; change them there. -->"
NONE = "–"
COLUMNS = ("method", "A", "teacher enters", "what is measured", "gate, limits, groups", "teacher", "λ", "β; η")

# A test runs and parses these, so that they stay true.
EXAMPLE = """\
Method(
    name="sdar_mixed",
    objective=replace(
        RELEASED_BASE,
        teacher=SKILLS_LIVE,
        distill=Distill(0.01, Divergence.LOG_RATIO, gate=Gate.SIGMOID, gate_beta=5.0, groups=GroupFilter.MIXED),
    ),
    summary="SDAR in groups with successes and failures only.",
    source="paper and code the settings were taken from",
    deviations=("Where it differs from them.",),
)"""
CHANGE = """\
algorithm: sdar
training:
  objective: {distill: {coeff: 0.03}, kl_coeff: 0.0}"""

SWITCHED_OFF = "distill: {coeff: 0.0}"
DECAY = "{kind: linear, start: 0.4, end: 0.0, steps: 150}"


def page() -> str:
    """The whole page."""
    shared = shared_deviations()
    chapters = []
    for title, methods in CHAPTERS.items():
        chapters += [f"## {title}", *(section(method, shared) for method in methods)]
    parts = [MADE, "# The methods", opening(), "## Overview", overview(), "## What the words mean", words(), *chapters]
    if shared:
        listed = "\n".join(f"{number}. {text}" for text, number in shared.items())
        parts += ["## Shared deviations", "Those that several rows have; their sections name the numbers.", listed]
    parts += ["## Changing a setting", changing(), "## How to add one", adding()]
    return "\n\n".join(parts) + "\n"


def opening() -> str:
    """What a method is, and the formula, which stands in the objective's own module."""
    _, formula, legend, *_ = (inspect.getdoc(objective_module) or "").split("\n\n")
    return "\n\n".join(
        (
            f"{len(METHODS)} methods, one learner. A method is a row of settings of one loss; `algorithm: NAME` in a "
            "configuration picks it, `sdar-gym methods show NAME` prints it. [learner.md](learner.md) says where each "
            "part is computed, [what-sdar-optimises.md](what-sdar-optimises.md) what the first row really does.",
            formula,
            legend.replace("\n", " "),
            "Each section below shows a method as what it sets in `Objective()`, a plain clipped policy gradient, in "
            "the YAML that a configuration takes. Coefficients are those of the sources: most belong to large models "
            "and learning rates near 1e-6, and do not carry over to other sizes.",
        )
    )


def overview() -> str:
    """All methods in one table; what a row leaves out does not act."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    rows += [f"| {' | '.join(cells(method))} |" for method in METHODS.values()]
    return "\n".join(rows)


def cells(method: Method) -> tuple[str, ...]:
    """A method's row of the overview."""
    objective = method.objective
    return (
        f"[{method.name}](#{method.name})",
        _advantage(objective),
        _enters(objective),
        _measured(objective),
        _gate(objective),
        _teacher(method),
        _coefficient(objective),
        f"{objective.kl_coeff:g}; {objective.entropy_coeff:g}"
        if objective.kl_coeff or objective.entropy_coeff
        else "0",
    )


def section(method: Method, shared: dict[str, int]) -> str:
    """What is to be said of one method."""
    own = [text for text in method.deviations if text not in shared]
    numbers = [str(shared[text]) for text in method.deviations if text in shared]
    parts = [f"### {method.name}", method.summary]
    if method.acts_with_skills:
        parts.append("A property of the method, not of its objective: `acts_with_skills`.")
    lines = setting_lines(method.objective)
    parts.append("```yaml\n" + ("\n".join(lines) or "# nothing: Objective() as it is") + "\n```")
    parts.append(f"Source: {method.source}.")
    said = [f"- {text}" for text in own]
    if numbers:
        said.append(f"- [shared](#shared-deviations): {', '.join(numbers)}")
    if said:
        parts.append("Deviations:\n\n" + "\n".join(said))
    return "\n\n".join(parts)


def shared_deviations() -> dict[str, int]:
    """Deviations that more than one method has, with their numbers on the page."""
    counts = Counter(text for method in METHODS.values() for text in method.deviations)
    return {text: number for number, text in enumerate((t for t, count in counts.items() if count > 1), start=1)}


def words() -> str:
    """Every closed set of the objective, as its own docstring tells it."""
    return "\n".join(
        f"- `{name}`: {', '.join(f'`{member}`' for member in kind)}. {_explained(kind)}" for name, kind in closed_sets()
    )


def closed_sets() -> Iterator[tuple[str, type[StrEnum]]]:
    """Names and kinds of the settings that are one word of a few."""
    for name, hint in get_type_hints(Objective).items():
        for kind in _kinds(hint):
            if issubclass(kind, StrEnum):
                yield name, kind
            elif kind.__module__.startswith("sdar_gym.") and kind is not Schedule:
                for inner, inner_hint in get_type_hints(kind).items():
                    for choice in _kinds(inner_hint):
                        if issubclass(choice, StrEnum):
                            yield f"{name}.{inner}", choice


def changing() -> str:
    """How a run changes a method's settings."""
    return (
        f"In a configuration:\n\n```yaml\n{CHANGE}\n```\n\n"
        "or as `training.objective.distill.coeff=0.03` on the command line. A mapping changes the settings it names "
        "inside a group and leaves the others; a group that the method does not have has to be given whole. "
        f"`{SWITCHED_OFF}` switches distillation off, and the teacher with it if nothing else asks for one. A "
        f"coefficient is a number or a schedule, such as `{DECAY}`. What makes no sense is refused before anything "
        "starts."
    )


def adding() -> str:
    """How a method is added."""
    return (
        "One row in the chapter of `sdar_gym/algorithms/methods/` where it belongs:\n\n"
        f"```python\n{EXAMPLE}\n```\n\n"
        "and one test beside those in `tests/algorithms/test_method_presets.py`, that pins what makes it this method: "
        "its settings, and where it can be had in closed form a number worked out by hand. Then "
        "`python scripts/method_pages.py`. A part that no option covers is one more member of the closed set above and "
        "one more case of the pure function that reads it."
    )


def _advantage(objective: Objective) -> str:
    if objective.policy_coeff.always_zero:
        return NONE
    base = objective.baseline
    parts = [str(base.estimator), str(base.statistics)]
    if base.step_weight is not None:
        parts.append(f"ω {base.step_weight:g}, γ {base.gamma:g}")
    # Leave-one-out never divides, so that it need not be said.
    said = base.normalize_by_std or "normalize_by_std" not in _differs(base)
    return ", ".join(parts if said else [*parts, "no std"])


def _differs(value: Any) -> list[str]:
    return [field.name for field in fields(value) if getattr(value, field.name) != field.default]


def _enters(objective: Objective) -> str:
    parts = [] if objective.shaping is None else [str(objective.shaping.enter)]
    parts += [] if objective.distill is None else ["loss"]
    parts += [] if objective.future is None else [f"future (γ {objective.future.gamma:g})"]
    return " + ".join(parts) or NONE


def _measured(objective: Objective) -> str:
    parts = []
    if objective.shaping is not None:
        parts.append(f"{objective.shaping.signal} by {objective.shaping.aggregate}")
    if (distill := objective.distill) is not None:
        alpha = "" if distill.alpha is None else f"({distill.alpha:g})"
        over = "full" if distill.support is Support.FULL else str(distill.support)
        if distill.support is Support.TOPK:
            over = f"{distill.chooser}'s top {distill.k}" + (" and the rest" if distill.rest else "")
        parts.append(f"{distill.divergence}{alpha} × {over}")
    return ", ".join(parts) or NONE


def _gate(objective: Objective) -> str:
    parts: list[str] = []
    if (shaping := objective.shaping) is not None:
        parts += [
            str(choice)
            for choice, off in ((shaping.squash, Squash.IDENTITY), (shaping.normalise, Normalise.NONE))
            if choice is not off
        ]
        parts += [] if shaping.scale == 1.0 else [f"× {shaping.scale:g}"]
        parts += [] if shaping.limit is None else [f"limit {shaping.limit:g}"]
        parts += [] if shaping.decay is None else [f"decay {shaping.decay:g}"]
        parts += ["turn budget"] * shaping.turn_budget + ["group trust"] * shaping.group_trust
        parts += [] if shaping.uncertain_turns is None else [f"{shaping.uncertain_turns:.0%} of turns"]
    if (distill := objective.distill) is not None:
        if distill.gate is not Gate.ONE:
            parts.append(str(distill.gate) + ("" if distill.gate_beta is None else f" β {distill.gate_beta:g}"))
        parts += [] if distill.groups is GroupFilter.ALL else [f"{distill.groups} groups"]
        parts += ["A > 0"] * distill.positive_only
        parts += [] if distill.ratio_cap is None else [f"ρ ≤ {distill.ratio_cap:g}"]
        parts += [] if distill.teacher_floor is None else [f"floor {distill.teacher_floor:g}"]
    return ", ".join(parts) or NONE


def _teacher(method: Method) -> str:
    teacher = method.objective.teacher
    if teacher is None:
        return "(policy reads skills)" if method.acts_with_skills else NONE
    view = f"{teacher.view} and its blank" if teacher.blank_control else str(teacher.view)
    detail = {Weights.EMA: teacher.rate, Weights.STALE: teacher.every}.get(teacher.weights)
    return f"{view}, {teacher.weights}" + ("" if detail is None else f" {detail:g}")


def _coefficient(objective: Objective) -> str:
    groups = (objective.shaping, objective.distill)
    return ", ".join(_in_words(group.coeff) for group in groups if group is not None) or NONE


def _in_words(schedule: Schedule) -> str:
    setting = schedule_setting(schedule)
    if not isinstance(setting, dict):
        return f"{setting:g}"
    if setting["kind"] == "linear":
        return f"{setting['start']:g} → {setting['end']:g} in {setting['steps']}"
    begin = setting.get("delay", 0)
    until = f" to {begin + setting.get('warmup', 0) + setting['hold']}" if "hold" in setting else " on"
    return f"{setting['value']:g} from {begin}{until}"


def _kinds(hint: Any) -> list[type]:
    """The classes of a hint such as `Distill | None`."""
    kinds = getattr(hint, "__args__", (hint,))
    return [kind for kind in kinds if isinstance(kind, type) and kind is not type(None)]


def _explained(kind: type[StrEnum]) -> str:
    text = " ".join((inspect.getdoc(kind) or "").split())
    names = {member.name: str(member) for member in kind}
    return re.sub(r"`([A-Z0-9_]+)`", lambda found: f"`{names.get(found[1], found[1])}`", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    options = parser.parse_args(arguments)
    text = page()
    stale = not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text
    if stale and not options.check:
        PAGE.write_text(text, encoding="utf-8")
    print(f"{'out of date' if options.check else 'written'}: {PAGE.name}" if stale else f"{PAGE.name} is up to date")
    return int(options.check and stale)


if __name__ == "__main__":
    sys.exit(main())
