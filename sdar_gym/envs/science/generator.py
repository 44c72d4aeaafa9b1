"""Generated problems of science: families by field, each with levels of difficulty."""

from __future__ import annotations

from functools import lru_cache

from sdar_gym.envs.problems.embedded import SOURCE, EmbeddedProblems
from sdar_gym.envs.science.drafting import ScienceDraft
from sdar_gym.envs.science.families.circuits import CIRCUITS
from sdar_gym.envs.science.families.decay import DECAY
from sdar_gym.envs.science.families.dilution import DILUTION
from sdar_gym.envs.science.families.gas_laws import GAS_LAWS
from sdar_gym.envs.science.families.mechanics import MECHANICS
from sdar_gym.envs.science.families.stoichiometry import STOICHIOMETRY
from sdar_gym.envs.science.problem import Kind, ScienceProblem, written_solution
from sdar_gym.envs.science.quantities import Quantity

# Part of the seeds: raise it whenever ids would give other problems.
GENERATOR_VERSION = "1"
FAMILIES = (MECHANICS, GAS_LAWS, STOICHIOMETRY, DILUTION, DECAY, CIRCUITS)
LEVELS = (1, 2, 3)
# Problems of each family and level.
_SIZES = {"train": 400, "dev": 50, "test": 50}


@lru_cache(maxsize=1)
def embedded_problems() -> EmbeddedProblems[ScienceDraft, ScienceProblem]:
    """The generated problems, shared by all environments of a process."""
    return EmbeddedProblems(FAMILIES, _SIZES, f"science {GENERATOR_VERSION}", _text, problem_of)


def problem_of(task_id: str, family: str, split: str, draft: ScienceDraft) -> ScienceProblem:
    """The problem of a draft."""
    number, _, unit = draft.answer.partition(" ")
    return ScienceProblem(
        task_id=task_id,
        task_type=family,
        split=split,
        text=draft.text,
        source=SOURCE,
        group=draft.text,
        solution=written_solution(draft.steps, draft.answer),
        kind=Kind.QUANTITY,
        answer=draft.answer,
        quantity=Quantity(float(number), unit),
        steps=draft.steps,
        mistakes=draft.mistakes,
    )


def _text(draft: ScienceDraft) -> str:
    return draft.text
