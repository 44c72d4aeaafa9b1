"""DistIL's two claims on a tree of two steps, with exact expected gradients.

Reverse KL can raise the worse action although the teacher is better; forward cross-entropy does not.

    python benchmarks/distil_tree.py --out docs/results/distil-tree

Writes OUT.json and OUT.png. Nothing is sampled: every trajectory is there once, weighted by its probability, and goes
through the same loss as in training.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sdar_gym.algorithms.losses.full_divergences import forward_ce, full_divergence
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.methods.distil import FutureCredit, future_costs
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, Support
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule

ACTIONS = ("good", "bad", "fair")
# States: the root, then one after each first action. The second step has two actions that count ("right", "wrong");
# the third is never taken.
STATES = ("root", *ACTIONS)
PATHS = list(itertools.product(range(3), range(2)))
STATE_PT = torch.tensor([[0, 1 + first] for first, _ in PATHS])
TAKEN_PT = torch.tensor(PATHS)
# The reward of a trajectory: what the first action is worth if the second one is right.
WORTH = torch.tensor([1.0, 0.0, 0.8], dtype=torch.float64)
REWARD_P = torch.tensor([float(WORTH[first]) * (second == 0) for first, second in PATHS], dtype=torch.float64)
_NEVER = 1e-12


def _logits(root: tuple[float, float, float], right: tuple[float, float, float]) -> torch.Tensor:
    rows = [root, *((p, 1 - p - _NEVER, _NEVER) for p in right)]
    return torch.tensor(rows, dtype=torch.float64).log()


# The student mostly takes the bad action. The teacher takes the good one far more often, the bad one less often, and
# the fair one hardly ever; after it both are equally good.
STUDENT_SA = _logits((0.1, 0.6, 0.3), (0.9, 0.5, 0.9))
TEACHER_SA = _logits((0.6, 0.3999, 0.0001), (0.9, 0.5, 0.9)).log_softmax(-1)

LOCAL: dict[str, Divergence] = {
    "reverse KL": Divergence.REVERSE_KL,
    "JSD": Divergence.JSD,
    "forward CE": Divergence.FORWARD_CE,
}


def objectives() -> dict[str, Objective]:
    """The method `distil`, and the same with other divergences and without its future term."""
    distil = get_method("distil").objective
    assert distil.distill is not None
    result = {
        name: replace(
            distil,
            distill=Distillation(
                Schedule.constant(1.0), kind, Support.FULL, alpha=0.5 if kind is Divergence.JSD else None
            ),
            shaping=None,
        )
        for name, kind in LOCAL.items()
    }
    return result | {"forward CE with future credit": distil}


def value(logits_SA: torch.Tensor) -> float:
    """Expected reward of a policy."""
    return float((_probability(logits_SA) * REWARD_P).sum())


def gradient(objective: Objective, logits_SA: torch.Tensor, teacher_SA: torch.Tensor = TEACHER_SA) -> torch.Tensor:
    """The expected gradient of the loss with respect to the logits, [states, actions]."""
    logits_SA = logits_SA.detach().clone().requires_grad_()
    logp_SA = logits_SA.log_softmax(-1)
    logp_PT = logp_SA[STATE_PT, TAKEN_PT]
    distill = objective.distill
    assert distill is not None
    divergence_S = full_divergence(distill.divergence, logp_SA, teacher_SA, alpha=distill.alpha or 0.5)
    advantage_PT = torch.zeros_like(logp_PT).detach()
    mask_PT = torch.ones_like(logp_PT, dtype=torch.bool)
    if isinstance(objective.shaping, FutureCredit):
        cost_PT = forward_ce(logp_SA.detach(), teacher_SA)[STATE_PT]
        rows_P = torch.arange(len(PATHS))
        none_P = torch.zeros_like(rows_P)
        advantage_PT = -future_costs(objective.shaping, cost_PT, mask_PT, rows_P, none_P, none_P)
    tokens = TokenBatch(
        logp_BT=logp_PT,
        old_logp_BT=logp_PT.detach(),
        advantage_BT=advantage_PT,
        response_mask_BT=mask_PT,
        weight_BT=_probability(logits_SA.detach())[:, None].expand_as(logp_PT),
        divergence_BT=divergence_S[STATE_PT],
    )
    compute_loss(objective, tokens).loss.backward()
    assert logits_SA.grad is not None
    return logits_SA.grad


def step(objective: Objective, logits_SA: torch.Tensor, rate: float) -> torch.Tensor:
    """One step of gradient descent."""
    return logits_SA - rate * gradient(objective, logits_SA)


def measure(rate: float, steps: int) -> dict[str, Any]:
    """First step and whole descent of each objective."""
    result: dict[str, Any] = {
        "student": value(STUDENT_SA),
        "teacher": value(TEACHER_SA),
        "root_of_student": _root(STUDENT_SA),
        "root_of_teacher": _root(TEACHER_SA),
        "objectives": {},
    }
    for name, objective in objectives().items():
        logits_SA, values = STUDENT_SA, [value(STUDENT_SA)]
        first = step(objective, STUDENT_SA, rate)
        for _ in range(steps):
            logits_SA = step(objective, logits_SA, rate)
            values.append(value(logits_SA))
        result["objectives"][name] = {
            "first_step_value": value(first) - value(STUDENT_SA),
            "first_step_bad_action": _root(first)["bad"] - _root(STUDENT_SA)["bad"],
            "lowest_value": min(values),
            "last_value": values[-1],
            "root_at_the_end": _root(logits_SA),
            "values": values,
        }
    return result


def random_pairs(count: int, seed: int = 0, rate: float = 1e-4) -> dict[str, Any]:
    """Among random students with a better teacher: how often a small step lowers the value, for each objective."""
    draws = torch.Generator().manual_seed(seed)
    lowered, kept = dict.fromkeys(objectives(), 0), 0
    while kept < count:
        student_SA, teacher_SA = 2 * torch.randn(2, *STUDENT_SA.shape, generator=draws, dtype=torch.float64)
        student_SA[1:, 2] = teacher_SA[1:, 2] = -30.0  # The action that is never taken.
        if value(teacher_SA) <= value(student_SA):
            continue
        kept += 1
        for name, objective in objectives().items():
            moved_SA = student_SA - rate * gradient(objective, student_SA, teacher_SA.log_softmax(-1))
            lowered[name] += value(moved_SA) < value(student_SA)
    return {"pairs": count, "seed": seed, "share_lowered": {name: times / count for name, times in lowered.items()}}


def draw(result: dict[str, Any], path: Path) -> None:
    """The value along the descent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, found in result["objectives"].items():
        axes.plot(found["values"], label=name)
    axes.axhline(result["teacher"], color="gray", linestyle=":", label="teacher")
    axes.set(
        xlabel="gradient step", ylabel="expected reward", title="Distillation to a better teacher, exact gradients"
    )
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _probability(logits_SA: torch.Tensor) -> torch.Tensor:
    return logits_SA.log_softmax(-1)[STATE_PT, TAKEN_PT].sum(dim=1).exp()


def _root(logits_SA: torch.Tensor) -> dict[str, float]:
    return dict(zip(ACTIONS, logits_SA.softmax(-1)[0].tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=2000, help="random students with a better teacher")
    parser.add_argument("--out", type=Path, default=Path("docs/results/distil-tree"))
    options = parser.parse_args()
    result = measure(options.rate, options.steps)
    result["random"] = random_pairs(options.pairs)
    draw(result, options.out.with_suffix(".png"))
    content = {"command": f"python benchmarks/distil_tree.py --rate {options.rate:g} --steps {options.steps}", **result}
    options.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"student {result['student']:.3f}, teacher {result['teacher']:.3f}")
    for name, found in result["objectives"].items():
        print(
            f"{name:<32} first step: value {found['first_step_value']:+.5f}, bad action "
            f"{found['first_step_bad_action']:+.5f}; lowest {found['lowest_value']:.3f}, "
            f"last {found['last_value']:.3f}, root {found['root_at_the_end']}"
        )
    print("share of random pairs with a better teacher in which a step lowers the value:", result["random"])


if __name__ == "__main__":
    main()
