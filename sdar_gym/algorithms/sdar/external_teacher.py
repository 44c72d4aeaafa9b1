"""Refuses another model as the teacher where it could not score the student's tokens, before anything is trained."""

from __future__ import annotations

from transformers import AutoConfig

from sdar_gym.algorithms.distillation import Distill
from sdar_gym.policy.load import PolicyLoadError, load_tokenizer, policy_path


def check_external_teacher(teacher: str, student: str, distill: Distill | None) -> None:
    """Look at tokenizers and heads; the weights themselves are loaded by the learner.

    Args:
        teacher: The other model, a folder or hub name.
        student: The policy's.
        distill: Says whether whole distributions are compared.

    Raises:
        ValueError: It is not there, has another tokenizer, or a head of another size where that matters.
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
    if distill is None or not distill.divergence.dense:
        return
    sizes = [
        int(AutoConfig.from_pretrained(policy_path(name)).get_text_config().vocab_size) for name in (teacher, student)
    ]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"teacher.model={teacher!r} has a head of {sizes[0]} tokens, policy.model={student!r} one of {sizes[1]}, "
            f"and distill.divergence={str(distill.divergence)!r} compares whole distributions. Choose a model with the "
            "same head, or a divergence of sampled tokens."
        )
