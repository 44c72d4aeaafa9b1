"""Writes docs/methods.md, the reference page of the methods, from the methods themselves.

    python scripts/method_pages.py [--check]

The page is never edited by hand: its text is in `sdar_gym/algorithms/`, and a test compares the two.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from generated_pages import write_pages

from sdar_gym.algorithms.methods import CHAPTERS, METHODS, Method
from sdar_gym.algorithms.objectives import objective as objective_module
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper
from sdar_gym.algorithms.objectives.component import Component
from sdar_gym.algorithms.objectives.distillation import GroupFilter, Support, TokenFilter
from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.cli.methods import setting_lines
from sdar_gym.settings import enum_meaning, group_type, hints_of, members, rule_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
MADE = "<!-- Made by scripts/method_pages.py from sdar_gym/algorithms; change the text there. -->"
NONE = "–"
COLUMNS = ("method", "advantage", "teacher", "shaping", "distillation", "gate and limits", "λ", "β; η")

# A test runs and parses these, so that they stay true.
EXAMPLE = """\
Method(
    name="sdar_all_fail",
    objective=replace(
        RELEASED_BASE,
        teacher=SKILLS_LIVE,
        distill=Distillation(
            Schedule.constant(0.01), Divergence.LOG_RATIO, gate=SigmoidGate(5.0), groups=GroupFilter.ALL_FAIL
        ),
    ),
    summary="SDAR in groups without a success only.",
    source="paper and code the settings were taken from",
    deviations=("Where it differs from them.",),
)"""
CHANGE = """\
method: sdar
training:
  objective: {distill: {coeff: 0.03, gate: {beta: 2.0}}, kl_coeff: 0.0}"""

SWITCHED_OFF = "distill: {coeff: 0.0}"
DECAY = "[[0, 0.4], [150, 0.0]]"


def page() -> str:
    """The whole page."""
    shared = shared_deviations()
    established = [method for method in METHODS.values() if not method.experimental]
    parts = [MADE, "# Methods", opening(), "## Overview", overview(established)]
    for title, methods in CHAPTERS.items():
        parts.append(f"## {title}")
        if any(method.experimental for method in methods):
            parts += [experimental(), overview(methods)]
        parts += [section(method, shared) for method in methods]
    if shared:
        listed = "\n".join(f"{number}. {text}" for text, number in shared.items())
        parts += ["## Shared deviations", "Deviations of several methods; their sections name the numbers.", listed]
    parts += ["## Settings", settings(), "## Gates", components(Gate), "## Advantage shapers", shapers()]
    parts += ["## Changing a setting", changing(), "## Adding a method, a gate or a shaper", adding()]
    return "\n\n".join(parts) + "\n"


def opening() -> str:
    """What a method is, and the formula of the loss from the docstring of the objective's module."""
    _, formula, legend, *_ = (inspect.getdoc(objective_module) or "").split("\n\n")
    return "\n\n".join(
        (
            f"{len(METHODS)} methods share one learner. A method is a set of settings of one loss; `method: NAME` in a "
            "configuration selects it, `sdar-gym methods show NAME` prints it. [learner.md](learner.md) says where "
            "each part is computed, [what-sdar-optimizes.md](what-sdar-optimizes.md) what SDAR's loss does to a "
            "policy.",
            formula,
            legend.replace("\n", " "),
            "Each section below shows what a method sets differently from `Objective()`, a plain clipped policy "
            "gradient, in the YAML that a configuration takes. Coefficients are those of the sources: most belong to "
            "large models and learning rates near 1e-6, and do not carry over to other sizes.",
        )
    )


def experimental() -> str:
    """Why experimental methods stand apart."""
    return (
        "These methods are known from a third party's reading notes only. Their formulas and numbers were not checked "
        "against the papers: do not report results of them under the paper's name."
    )


def overview(methods: Iterable[Method]) -> str:
    """Methods in one table; a dash stands for a part that a method does not have."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    rows += [f"| {' | '.join(cells(method))} |" for method in methods]
    return "\n".join(rows)


def cells(method: Method) -> tuple[str, ...]:
    """A method's row of the overview."""
    objective = method.objective
    penalties = f"{objective.kl_coeff:g}; {objective.entropy_coeff:g}"
    return (
        f"[{method.name}](#{method.name})",
        _advantage(objective),
        _teacher(method),
        NONE if objective.shaping is None else _part(objective.shaping),
        _distillation(objective),
        _gate(objective),
        _coefficient(objective),
        penalties if objective.kl_coeff or objective.entropy_coeff else "0",
    )


def section(method: Method, shared: dict[str, int]) -> str:
    """One method: summary, settings, source and deviations."""
    own = [text for text in method.deviations if text not in shared]
    numbers = sorted(shared[text] for text in method.deviations if text in shared)
    parts = [f"### {method.name}", method.summary]
    if method.acts_with_skills:
        parts.append("The policy itself reads the skills during training (`acts_with_skills`).")
    lines = setting_lines(method.objective)
    parts.append("```yaml\n" + ("\n".join(lines) or "# Objective() as it is") + "\n```")
    parts.append(f"Source: {method.source}.")
    listed = [f"- {text}" for text in own]
    if numbers:
        listed.append(f"- [shared](#shared-deviations): {', '.join(map(str, numbers))}")
    if listed:
        parts.append("Deviations:\n\n" + "\n".join(listed))
    return "\n\n".join(parts)


def shared_deviations() -> dict[str, int]:
    """Deviations that more than one method has, with their numbers on the page."""
    counts = Counter(text for method in METHODS.values() for text in method.deviations)
    return {text: number for number, text in enumerate((t for t, count in counts.items() if count > 1), start=1)}


def settings() -> str:
    """Every setting of the objective with its default and meaning."""
    return "\n".join(_line(name, kind, field) for name, kind, field in setting_fields(Objective))


def setting_fields(group: type[Any], prefix: str = "") -> Iterator[tuple[str, type, Any]]:
    """Names, types and fields of the settings of a group and of the groups in it, except parts chosen by name."""
    for field in fields(group):
        hint = hints_of(group)[field.name]
        inner = group_type(hint)
        if inner is not None and not issubclass(inner, Component):
            if type(None) in members(hint):
                yield f"{prefix}{field.name}", inner, field
            yield from setting_fields(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", next(kind for kind in members(hint) if kind is not type(None)), field


def components(kind: type[Gate] | type[AdvantageShaper]) -> str:
    """All parts of a kind with their own settings."""
    lines = []
    for name, part in sorted(kind.registry.items()):
        lines.append(f"- `{name}`: {' '.join((inspect.getdoc(part) or '').split())}")
        lines += [f"  {_line(inner, hint, field)}" for inner, hint, field in setting_fields(part)]
    return "\n".join(lines)


def shapers() -> str:
    """What a shaper does to the advantage, and all of them."""
    _, formula, legend, *_ = (inspect.getdoc(inspect.getmodule(AdvantageShaper)) or "").split("\n\n")
    return "\n\n".join((formula, legend.split(" New shapers")[0].replace("\n", " "), components(AdvantageShaper)))


def changing() -> str:
    """How a run changes a method's settings."""
    return (
        f"In a configuration:\n\n```yaml\n{CHANGE}\n```\n\n"
        "or as `training.objective.distill.coeff=0.03` on the command line. A mapping changes the settings it names "
        "inside a group and leaves the others; a group that the method does not have has to be given whole. A gate or "
        "a shaper is replaced by its name (`gate: entropy`), alone or with settings (`gate: {name: entropy, beta: "
        "2.0}`); `gate: null` is weight 1. "
        f"`{SWITCHED_OFF}` removes the distillation, and the teacher unless a shaper uses it. A coefficient is a "
        f"number or a schedule of points `[step, value]`, such as `{DECAY}`: linear between the points, constant "
        "outside them. Settings that make no sense are refused before anything starts."
    )


def adding() -> str:
    """How a method, a gate or a shaper is added."""
    return (
        "A method is one `Method` in `METHODS` of its file in `sdar_gym/algorithms/methods/`, listed in `CHAPTERS` of "
        "that package:\n\n"
        f"```python\n{EXAMPLE}\n```\n\n"
        "A gate or a shaper is a frozen data class in the file of its method, or in a module of your own that the "
        "setting `imports` names: [an example](../CONTRIBUTING.md#a-gate-or-an-advantage-shaper).\n\n"
        "Add its published numbers to `tests/algorithms/methods/test_presets.py` and a test of each formula against "
        "numbers worked out by hand, then run `python scripts/method_pages.py`."
    )


def _line(name: str, kind: type, field: Any) -> str:
    """A setting as an item of a list: name, default, meaning."""
    meaning = _explained(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else rule_of(field).doc
    default = "required" if field.default is MISSING else f"default {_default(field.default)}"
    return f"- `{name}` ({default}): {meaning}"


def _default(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{value.plain() if isinstance(value, Schedule) else value}`"


def _explained(kind: type[StrEnum]) -> str:
    """The docstring of an enum with its members as configurations write them."""
    return f"{', '.join(f'`{member}`' for member in kind)}. {enum_meaning(kind)}"


def _advantage(objective: Objective) -> str:
    if objective.policy_coeff.always_zero:
        return NONE
    estimator = objective.advantage
    parts = [str(estimator.estimator), str(estimator.statistics)]
    if estimator.step_weight is not None:
        parts.append(f"ω {estimator.step_weight:g}, γ {estimator.gamma:g}")
    if not estimator.normalize_by_std:
        parts.append("no std")
    return ", ".join(parts)


def _part(part: Component) -> str:
    """The name of a gate or shaper with its numbers."""
    numbers = [
        f"{field.name} {getattr(part, field.name):g}"
        for field in fields(part)  # pyright: ignore[reportArgumentType]
        if isinstance(getattr(part, field.name), float)
    ]
    return f"{part.NAME}: {', '.join(numbers)}" if numbers else part.NAME


def _distillation(objective: Objective) -> str:
    distill = objective.distill
    if distill is None:
        return NONE
    alpha = "" if distill.alpha is None else f"({distill.alpha:g})"
    over = {Support.FULL: "vocabulary", Support.SAMPLED: "sampled tokens"}.get(distill.support)
    if over is None:
        over = f"{distill.topk_source}'s top {distill.k}" + (" with tail bucket" if distill.tail_bucket else "")
    return f"{distill.divergence}{alpha}, {over}"


def _gate(objective: Objective) -> str:
    distill = objective.distill
    if distill is None:
        return NONE
    parts = [] if distill.gate is None else [_part(distill.gate)]
    parts += [] if distill.groups is GroupFilter.ALL else [f"{distill.groups} groups"]
    parts += [] if distill.tokens is TokenFilter.ALL else [f"{distill.tokens} tokens"]
    parts += ["A > 0"] * distill.positive_only
    parts += [] if distill.ratio_cap is None else [f"ρ ≤ {distill.ratio_cap:g}"]
    parts += [] if distill.teacher_floor is None else [f"floor {distill.teacher_floor:g}"]
    return ", ".join(parts) or NONE


def _teacher(method: Method) -> str:
    teacher = method.objective.teacher
    if teacher is None:
        return "(policy reads skills)" if method.acts_with_skills else NONE
    view = f"{teacher.view} and blanked" if teacher.blank_control else str(teacher.view)
    detail = {Weights.EMA: teacher.rate, Weights.STALE: teacher.every}.get(teacher.weights)
    return f"{view}, {teacher.weights}" + ("" if detail is None else f" {detail:g}")


def _coefficient(objective: Objective) -> str:
    groups = (objective.shaping, objective.distill)
    schedules = [group.coeff for group in groups if group is not None and group.coeff is not None]
    return ", ".join(map(_in_words, schedules)) or NONE


def _in_words(schedule: Schedule) -> str:
    if len(schedule.points) == 1:
        return f"{schedule.points[0][1]:g}"
    return " → ".join(f"{value:g} at {step}" for step, value in schedule.points)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
