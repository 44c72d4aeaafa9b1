"""Contrast: what cancels, what does not, and the claims on toy policies with expected gradients counted exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdar_gym.algorithms.losses.sampled_divergences import specific_gap
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method

NUMBERS = torch.tensor([-3.0, -0.5, 0.0, 0.2, 4.0], dtype=torch.float64)


def test_it_is_the_nearer_to_zero_of_two_effects_of_one_sign() -> None:
    gap, contrast = (part.flatten() for part in torch.meshgrid(NUMBERS, NUMBERS, indexing="ij"))
    found = specific_gap(gap, contrast)
    for each, other, result in zip(gap.tolist(), contrast.tolist(), found.tolist(), strict=True):
        assert result == (min(each, other, key=abs) if each * other > 0 else 0.0)
    assert torch.equal(specific_gap(gap, gap), gap)
    # A student at the teacher, or a control with the skill's effect: nothing is left.
    assert not specific_gap(torch.zeros_like(contrast), contrast).any()
    assert not specific_gap(gap, torch.zeros_like(gap)).any()


def push(student_V: Tensor, skill_V: Tensor, control_V: Tensor, contrast: str, divergence: str = "log_ratio") -> Tensor:
    """Expected step of the student's logits, minus the gradient: every token once, weighted by its probability.

    Args:
        student_V: Logits of a policy that chooses one of V actions.
        skill_V: Those of the teacher with its text.
        control_V: Those of the teacher with the control text.
        contrast: `distill.contrast`.
        divergence: `distill.divergence`.
    """
    gate = "sigmoid" if divergence == "log_ratio" else None
    distill = {"coeff": 1.0, "contrast": contrast, "divergence": divergence, "gate": gate}
    objective = get_method("sdar").objective.changed({"kl_coeff": 0.0, "entropy_coeff": 0.0, "distill": distill})
    logits_V = student_V.clone().requires_grad_()
    logp_B1 = torch.log_softmax(logits_V, dim=0)[:, None]
    zeros_B1 = torch.zeros_like(logp_B1).detach()
    output = compute_loss(
        objective,
        TokenBatch(
            logp_BT=logp_B1,
            old_logp_BT=logp_B1.detach(),
            advantage_BT=zeros_B1,
            response_mask_BT=zeros_B1 == 0,
            weight_BT=logp_B1.detach().exp(),
            teacher_logp_BT=torch.log_softmax(skill_V, dim=0)[:, None],
            control_logp_BT=torch.log_softmax(control_V, dim=0)[:, None],
        ),
    )
    output.loss.backward()
    assert logits_V.grad is not None
    return -logits_V.grad


STUDENT = torch.tensor([1.0, 0.2, 0.0, -0.3], dtype=torch.float64)
# What any text in the place of a skill does to this policy: it shuns its favorite action.
ANY_TEXT = torch.tensor([-2.0, 0.0, 0.5, 0.0], dtype=torch.float64)
FORMS = ["log_ratio", "reverse_kl_pg", "reverse_kl_k3"]


def saying(action: int) -> Tensor:
    """Logits of the teacher with a text that says an action."""
    return STUDENT + ANY_TEXT + 3.0 * torch.eye(4, dtype=torch.float64)[action]


@pytest.mark.parametrize("form", FORMS)
def test_a_text_that_says_nothing_pushes_the_policy_unless_it_is_contrasted(form: str) -> None:
    nothing = STUDENT + ANY_TEXT
    assert push(STUDENT, nothing, nothing, "none", form)[0] < -0.05
    assert push(STUDENT, nothing, nothing, "empty", form).abs().max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_what_a_skill_says_is_still_learned(form: str) -> None:
    right, nothing = saying(1), STUDENT + ANY_TEXT
    assert push(STUDENT, right, nothing, "empty", form).argmax() == 1
    # Its control is the skill of another type, which says something else.
    assert push(STUDENT, right, saying(2), "wrong", form).argmax() == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_coherent_skill_that_is_wrong_is_learned_too(form: str) -> None:
    """By design: the contrast asks whether a text says something, not whether that is true."""
    wrong = saying(3)
    assert push(STUDENT, wrong, STUDENT + ANY_TEXT, "empty", form).argmax() == 3
    assert push(STUDENT, wrong, saying(2), "wrong", form).argmax() == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_student_at_the_teacher_is_left_alone(form: str) -> None:
    assert push(saying(1), saying(1), STUDENT + ANY_TEXT, "empty", form).abs().max() < 1e-12


def test_a_batch_without_the_control_is_refused() -> None:
    objective = get_method("sdar").objective.changed({"distill": {"contrast": "empty"}, "kl_coeff": 0.0})
    ones = torch.ones((1, 2), dtype=torch.float64)
    tokens = TokenBatch(-ones, -ones, ones, ones > 0, ones / 2, teacher_logp_BT=-ones, entropy_BT=ones)
    with pytest.raises(ValueError, match="no control_logp_BT"):
        compute_loss(objective, tokens)
