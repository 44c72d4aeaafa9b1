"""Checks of an `SDARConfig` that need models, skills or resources: what would fail later is refused before a run."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig

from sdar_gym.algorithms.methods import Method
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.teacher import View, Weights
from sdar_gym.envs.policies import expert_of
from sdar_gym.policy.load import PolicyLoadError, load_tokenizer, policy_path
from sdar_gym.skills import Retriever


def check_teacher(method: Method, retriever: Retriever, env_id: str, model: str) -> None:
    """Refuses a teacher that would equal the student, or that has nothing to read.

    Args:
        method: The preset with the run's changes.
        retriever: The retriever of the teacher's skills.
        env_id: The environment.
        model: The policy's model.

    Raises:
        ValueError: With the setting, its value and what to do.
    """
    teacher = method.objective.teacher
    reads_skills = method.acts_with_skills or (teacher is not None and teacher.view is View.SKILLS)
    if reads_skills and retriever.name == "none":
        who = "trains a policy that reads skills" if method.acts_with_skills else "distills from a teacher with skills"
        raise ValueError(
            f"method={method.name} {who}, but skills.strategy is 'none': the teacher would be the student. "
            "Choose skills.strategy=oracle_type or bm25, or method=grpo."
        )
    if teacher is None:
        return
    if teacher.model is not None:
        check_external_teacher(teacher.model, model, method.objective.distill)
    if teacher.after_rollout and method.acts_with_skills:
        raise ValueError(
            f"teacher.view={str(teacher.view)!r} writes over the student's own prompt, which has skills in it here."
        )
    if teacher.view is View.SOLUTION and expert_of(env_id) is None:
        raise ValueError(
            f"method={method.name} shows its teacher a solution, but {env_id} registers no expert that could give one. "
            "Register it with expert='module:Class', or set objective.teacher.view, to 'sibling' say."
        )


def check_precision(method: Method, half_weights: bool) -> None:
    """Refuses an averaged teacher of weights in half precision.

    Args:
        method: The preset with the run's changes.
        half_weights: `policy.half_weights`.

    Raises:
        ValueError: With the settings and what to do.
    """
    teacher = method.objective.teacher
    if half_weights and teacher is not None and teacher.weights is Weights.EMA:
        raise ValueError(
            "teacher.weights='ema' needs trained weights in single precision: in half precision an average that moves "
            "by a small rate stays where it is. Set policy.half_weights=false, or teacher.weights=stale."
        )


def check_external_teacher(teacher: str, student: str, distill: Distillation | None) -> None:
    """Compares tokenizers and heads of two models; the weights themselves are loaded by the learner.

    Args:
        teacher: The other model, a folder or hub name.
        student: The policy's.
        distill: Says whether distributions are compared.

    Raises:
        ValueError: The model is missing, has another tokenizer, or a head of another size where that matters.
    """
    own = load_tokenizer(student).get_vocab()
    try:
        others = load_tokenizer(teacher).get_vocab()
    except PolicyLoadError as error:
        raise ValueError(f"teacher.model={teacher!r} cannot be used as the teacher. {error}") from error
    if own != others:
        raise ValueError(
            f"teacher.model={teacher!r} has another tokenizer than policy.model={student!r} ({len(others)} tokens and "
            f"{len(own)}): the teacher scores the student's own tokens. Choose a model of the same family."
        )
    if distill is None or not distill.divergence.full:
        return
    sizes: list[Any] = [
        int(AutoConfig.from_pretrained(policy_path(name)).get_text_config().vocab_size) for name in (teacher, student)
    ]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"teacher.model={teacher!r} has a head of {sizes[0]} tokens, policy.model={student!r} one of {sizes[1]}, "
            f"and distill.divergence={str(distill.divergence)!r} compares whole distributions. Choose a model with the "
            "same head, or a divergence of sampled tokens."
        )


def check_staleness(max_staleness: int, num_env_runners: int) -> None:
    """Refuses rollouts beside learning where there is nobody to play them.

    Args:
        max_staleness: The setting.
        num_env_runners: Remote runners.

    Raises:
        ValueError: Rollouts and learning would take turns in one process, with old weights for nothing.
    """
    if max_staleness and not num_env_runners:
        raise ValueError(
            f"training.max_staleness={max_staleness} plays the next episodes while the learner learns, which needs "
            "processes that play: set resources.num_env_runners (num_env_runners in Python), or max_staleness=0."
        )
