"""Methods: named objectives with their sources and deviations, one file a method or small family.

Each file holds the presets and the gate or advantage shaper that belongs to them. Importing needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sdar_gym.algorithms.methods import (
    adrs,
    agent_opsd,
    distil,
    frozen_teacher,
    grpo,
    grsd,
    opid,
    opsd,
    rlsd,
    sdar,
    sdpo,
    skill_sd,
)
from sdar_gym.algorithms.methods.experimental import icsd, ocsd, pcsd, step_opsd
from sdar_gym.algorithms.methods.method import Method
from sdar_gym.settings import did_you_mean
from sdar_gym.text import shortened

# By topic, in the order of `docs/methods.md`.
CHAPTERS: Mapping[str, tuple[Method, ...]] = MappingProxyType(
    {
        "SDAR": sdar.METHODS,
        "Policy gradients without a teacher": grpo.METHODS,
        "Self-distillation, alone or beside a policy gradient": (
            *opsd.METHODS,
            *skill_sd.METHODS,
            *sdpo.METHODS,
            *distil.METHODS,
        ),
        "The teacher in the advantage": (
            *rlsd.METHODS,
            *agent_opsd.METHODS,
            *grsd.METHODS,
            *opid.METHODS,
            *adrs.METHODS,
        ),
        "Frozen teachers: ours, beyond the papers": frozen_teacher.METHODS,
        "Experimental: from reading notes, not checked against the papers": (
            *step_opsd.METHODS,
            *ocsd.METHODS,
            *icsd.METHODS,
            *pcsd.METHODS,
        ),
    }
)

METHODS: Mapping[str, Method] = MappingProxyType({each.name: each for group in CHAPTERS.values() for each in group})


def get_method(name: str) -> Method:
    """Returns a method by name.

    Args:
        name: A key of `METHODS`.

    Raises:
        ValueError: If there is no such method; the message names the closest one.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"Unknown method {shortened(name)}.{did_you_mean(name, METHODS)}")
    return METHODS[name]


__all__ = ["CHAPTERS", "METHODS", "Method", "get_method"]
