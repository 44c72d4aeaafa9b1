"""Every published method is a row of settings; this is the table, with its source and where it differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from sdar_gym.algorithms.advantages import Statistics
from sdar_gym.algorithms.checks import closest
from sdar_gym.algorithms.gates import Gate
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Method:
    """A named objective and where it comes from.

    Args:
        name: What the method is called in configurations and reports.
        objective: Its settings.
        summary: One sentence on what it does.
        source: Paper and code the settings were taken from.
        deviations: Where it differs from its source, or where its sources contradict each other.
    """

    name: str
    objective: Objective
    summary: str
    source: str
    deviations: tuple[str, ...] = ()

    @property
    def needs_teacher(self) -> bool:
        """Whether the method needs a second forward pass under the teacher's context."""
        return self.objective.needs_teacher

    def with_overrides(self, **overrides: Any) -> Method:
        """Returns the same method with some settings of its objective replaced.

        Args:
            **overrides: Settings of `Objective`, as Python values or as plain configuration values.

        Raises:
            ValueError: If a setting is unknown, out of range or contradicts another.
        """
        known = [field.name for field in fields(Objective)]
        for key in overrides:
            if key not in known:
                raise ValueError(f"Method {self.name!r} has no setting {key!r}. {closest(key, known)}")
        return replace(self, objective=replace(self.objective, **overrides))


def get_method(name: str) -> Method:
    """Returns a published method by name.

    Args:
        name: A key of `METHODS`.

    Raises:
        ValueError: If there is no such method; the message names the closest one.
    """
    if name not in METHODS:
        raise ValueError(f"Unknown method {name!r}. {closest(str(name), METHODS)}")
    return METHODS[name]


# What all runs of the released SDAR code share, whatever the method: the methods differ in distillation only.
_RELEASED_BASE = Objective(
    kl_coeff=0.01,
    entropy_coeff=0.001,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip=3.0,
    normalize_by_std=True,
    advantage_statistics=Statistics.ROW,
)

_SDAR_SOURCE = "arXiv 2605.15155; github.com/ZJU-REAL/SDAR at 8b85c23"

_SHARED_DEVIATIONS = (
    "Group statistics run over turn rows, as in the released code; the paper writes them over trajectories "
    "(advantage_statistics='trajectory').",
    "Token mean over the whole update; the released code averages within micro-batches and then over them, the "
    "paper within sequences first (aggregation='sequence_mean').",
    "A group without spread gets advantage exactly 0, and a group of one episode is refused.",
    "kl_coeff is 0.01 everywhere, as in the paper's table; the released Search-QA scripts use 0.001.",
    "The entropy bonus of 0.001 is in the released code only; the paper does not mention it.",
)

_ROWS = (
    Method(
        name="grpo",
        objective=_RELEASED_BASE,
        summary="Clipped policy gradient on group-relative advantages, with a KL to the initial policy.",
        source=f"arXiv 2402.03300; settings as the baseline in {_SDAR_SOURCE}",
        deviations=_SHARED_DEVIATIONS,
    ),
    Method(
        name="sdar",
        objective=replace(_RELEASED_BASE, distill_coeff=Schedule.constant(0.01), gate=Gate.SIGMOID, gate_beta=5.0),
        summary="GRPO plus a likelihood term on the sampled tokens, gated by how much more the teacher likes them.",
        source=_SDAR_SOURCE,
        deviations=_SHARED_DEVIATIONS,
    ),
    Method(
        name="opsd_sdar_repo",
        objective=replace(
            _RELEASED_BASE,
            policy_coeff=Schedule.constant(0.0),
            distill_coeff=Schedule.constant(0.01),
            gate=Gate.SIGMOID,
            gate_beta=5.0,
        ),
        summary="SDAR without the policy gradient: what the SDAR repository runs under the name OPSD.",
        source=_SDAR_SOURCE,
        deviations=(
            *_SHARED_DEVIATIONS,
            "Not the OPSD of arXiv 2601.18734, which minimises a Jensen-Shannon divergence over the vocabulary.",
            "The SDAR paper's algorithm for it has neither gate nor skills; its table of settings matches the code.",
        ),
    ),
    Method(
        name="grpo_opsd_sdar_repo",
        objective=replace(_RELEASED_BASE, distill_coeff=Schedule.constant(0.01), gate=Gate.CONSTANT),
        summary="GRPO plus the same likelihood term with weight one half on every token.",
        source=_SDAR_SOURCE,
        deviations=(
            *_SHARED_DEVIATIONS,
            "The code writes the gate as a sigmoid with β = 0, which is one half; here it is the constant gate.",
            "On policy its distillation term has zero expected gradient: it adds noise and, off policy, drift.",
            "The SDAR paper's algorithm for it has the opposite sign and a frozen teacher without skills.",
        ),
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ROWS})
