"""The same numbers as TRL: clipped loss with sequence and token means, KL, entropy bonus, and distillation losses."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.losses.full_divergences import full_divergence, renormalized, with_tail_bucket
from sdar_gym.algorithms.losses.sampled_divergences import reverse_kl_pg
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods.sdar import SigmoidGate
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher

pytest.importorskip(
    "trl", reason="trl is the other implementation these numbers are compared with; extra `test` has it"
)

CLOSE = {"rtol": 1e-12, "atol": 1e-15}
ALPHAS = [0.0, 0.1, 0.5, 0.9, 1.0]


@pytest.fixture(scope="module")
def trl() -> Any:
    """The three pieces of TRL; what they warn about while they are imported is not ours to fix."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.gkd.gkd_trainer import GKDTrainer
        from trl.experimental.sdpo import loss_utils
        from trl.trainer.grpo_trainer import GRPOTrainer
    return SimpleNamespace(jsd=GKDTrainer.generalized_jsd_loss, grpo=GRPOTrainer._compute_loss, sdpo=loss_utils)


def logits(rows: int = 3, tokens: int = 5, vocabulary: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    student, teacher = 2.0 * torch.randn(2, rows, tokens, vocabulary, generator=rng, dtype=torch.float64)
    return student, teacher


def ours(divergence: Divergence, x: torch.Tensor, teacher: torch.Tensor, **settings: float) -> torch.Tensor:
    return full_divergence(divergence, x.log_softmax(-1), teacher.log_softmax(-1), **settings)


def same_value_and_gradient(mine: Any, theirs: Any, x: torch.Tensor) -> None:
    """Both as functions of the student's logits; a weight for each token, so that none hides behind another."""
    results = []
    for function in (mine, theirs):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        (value * torch.arange(1.0, 1.0 + value.numel(), dtype=value.dtype).view_as(value)).sum().backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], **CLOSE)
    torch.testing.assert_close(results[0][1], results[1][1], **CLOSE)
    assert results[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("alpha", ALPHAS)
def test_generalized_jsd(alpha: float, trl):
    student, teacher = logits()
    same_value_and_gradient(
        lambda x: ours(Divergence.JSD, x, teacher, alpha=alpha),
        lambda x: trl.jsd(x, teacher, beta=alpha, reduction="none").sum(-1),
        student,
    )


@pytest.mark.parametrize(("divergence", "beta"), [(Divergence.FORWARD_KL, 0.0), (Divergence.REVERSE_KL, 1.0)])
def test_forward_and_reverse_kl(divergence: Divergence, beta: float, trl):
    student, teacher = logits()
    same_value_and_gradient(
        lambda x: ours(divergence, x, teacher),
        lambda x: trl.jsd(x, teacher, beta=beta, reduction="none").sum(-1),
        student,
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("tail_bucket", [True, False])
def test_sdpos_top_tokens_of_the_student(alpha: float, tail_bucket: bool, trl):
    student, teacher = logits()
    keep = with_tail_bucket if tail_bucket else renormalized
    ids = student.topk(4, dim=-1).indices

    def mine(x: torch.Tensor) -> torch.Tensor:
        chosen = (keep(z.log_softmax(-1).gather(-1, ids)) for z in (x, teacher))
        return full_divergence(Divergence.JSD, *chosen, alpha=alpha)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return trl.sdpo.compute_topk_self_distillation_loss(
            x, teacher, distillation_topk=4, distillation_alpha=alpha, distillation_add_tail=tail_bucket
        )

    same_value_and_gradient(mine, theirs, student)


def test_sdpos_sampled_tokens(trl):
    student, teacher = logits()
    taken = torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(1))

    def logp(z: torch.Tensor) -> torch.Tensor:
        return z.log_softmax(-1).gather(-1, taken[..., None]).squeeze(-1)

    same_value_and_gradient(
        lambda x: reverse_kl_pg(logp(x), logp(teacher)),
        lambda x: trl.sdpo.compute_sampled_token_self_distillation_loss(x, teacher, taken, distillation_alpha=1.0),
        student,
    )


def test_sdpos_capped_ratio(make_batch, trl):
    batch = make_batch(drift=1.0)
    objective = Objective(
        policy_coeff=Schedule.constant(0.0),
        teacher=Teacher(),
        distill=Distillation(Schedule.constant(1.0), Divergence.JSD, Support.FULL, alpha=0.5, ratio_cap=2.0),
    )
    found = compute_loss(objective, TokenBatch(**(batch | {"advantage_BT": 0.0 * batch["advantage_BT"]}))).loss
    capped = trl.sdpo.apply_importance_sampling_clipping(
        batch["divergence_BT"], batch["logp_BT"], batch["old_logp_BT"], clip_coeff=2.0
    )
    assert ((batch["logp_BT"] - batch["old_logp_BT"]).exp() > 2.0)[batch["response_mask_BT"]].any()
    torch.testing.assert_close(found, (batch["weight_BT"] * capped).sum(), **CLOSE)


def trl_loss(trl: Any, batch: dict[str, torch.Tensor], **settings: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """TRL's loss of the batch, its gradient by the log-probabilities, and what it logs."""
    logp, entropy = (batch[name].clone().requires_grad_() for name in ("logp_BT", "entropy_BT"))
    one_process = SimpleNamespace(
        gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True, num_processes=1
    )
    trainer = SimpleNamespace(
        accelerator=one_process,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=bool(settings.get("entropy_coef")),
        entropy_coef=settings.get("entropy_coef", 0.0),
        beta=settings.get("beta", 0.0),
        loss_type=settings["loss_type"],
        epsilon_low=settings.get("low", 0.2),
        epsilon_high=settings.get("high", 0.2),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=settings.get("delta"), steps_per_generation=1),
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, entropy, None),
    )
    mask = batch["response_mask_BT"].long()
    inputs = {
        "prompt_ids": mask,
        "prompt_mask": mask,
        "completion_ids": mask,
        "completion_mask": mask,
        "advantages": batch["advantage_BT"],
        "old_per_token_logps": batch["old_logp_BT"],
        "ref_per_token_logps": batch["ref_logp_BT"],
        "num_items_in_batch": mask.sum(),
    }
    loss = trl.grpo(trainer, None, inputs)
    loss.backward()
    assert logp.grad is not None
    return loss.detach(), logp.grad, trainer._metrics["train"]


GRPO_CASES = [
    ({"loss_type": "bnpo"}, {"dual_clip": None}),
    ({"loss_type": "dapo", "low": 0.2, "high": 0.28}, {"dual_clip": None, "clip_high": 0.28}),
    ({"loss_type": "grpo"}, {"dual_clip": None}),
    ({"loss_type": "bnpo", "delta": 1.5}, {"dual_clip": 1.5}),
    ({"loss_type": "grpo", "delta": 3.0, "beta": 0.3}, {"dual_clip": 3.0, "kl_coeff": 0.3}),
    (
        {"loss_type": "bnpo", "entropy_coef": 0.2, "beta": 0.1},
        {"dual_clip": None, "kl_coeff": 0.1, "entropy_coeff": 0.2},
    ),
]


@pytest.mark.parametrize(("theirs", "mine"), GRPO_CASES, ids=str)
def test_grpo(theirs: dict[str, Any], mine: dict[str, Any], make_batch, to_tokens, trl):
    batch = make_batch(rows=40, drift=0.8)
    mask = batch["response_mask_BT"]
    if theirs["loss_type"] == "grpo":
        batch["weight_BT"] = sequence_mean_weights(mask, len(mask), dtype=torch.float64)
    else:
        batch["weight_BT"] = token_mean_weights(mask, int(mask.sum()), dtype=torch.float64)
    tokens = to_tokens(batch)
    output = compute_loss(Objective(**mine), tokens)
    output.loss.backward()
    loss, grad, logged = trl_loss(trl, batch, **theirs)
    torch.testing.assert_close(output.loss.detach(), loss, **CLOSE)
    torch.testing.assert_close(tokens.logp_BT.grad, grad, **CLOSE)
    ratio = (batch["logp_BT"] - batch["old_logp_BT"]).exp()
    assert ((ratio > 1.5) & (batch["advantage_BT"] < 0) & mask).any()  # both clips have something to do
    if theirs["loss_type"] != "grpo":  # TRL logs token means whatever it trains on
        assert output.metrics["clip_fraction"].item() == pytest.approx(logged["clip_ratio/region_mean"][0])
        assert output.metrics["entropy"].item() == pytest.approx(logged["entropy"][0])
    if "beta" in theirs and theirs["loss_type"] != "grpo":
        assert output.metrics["kl"].item() == pytest.approx(logged["kl"][0])


def test_grpo_and_a_distillation_beside_it(make_batch, to_tokens, trl):
    # SDAR's other half is TRL's loss to the last digit: the gated term is all that is added.
    batch = make_batch()
    gated = Distillation(Schedule.constant(0.01), gate=SigmoidGate(5.0))
    output = compute_loss(Objective(teacher=Teacher(), distill=gated, dual_clip=None), to_tokens(batch))
    loss, _, _ = trl_loss(trl, batch, loss_type="bnpo")
    torch.testing.assert_close(output.loss.detach(), loss + 0.01 * output.metrics["distill_loss"], **CLOSE)
