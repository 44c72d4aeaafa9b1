"""The measurement of SDAR's objective: its formulas are the learner's own, and the page shows what was measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import sdar_gym
from sdar_gym.algorithms.losses.sampled_divergences import sampled_divergence
from sdar_gym.algorithms.methods.sdar import ConstantGate, SigmoidGate
from sdar_gym.algorithms.objectives.distillation import Divergence
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord

ROOT = Path(sdar_gym.__file__).parents[1]


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        spec = spec_from_file_location("sdar_objective", ROOT / "benchmarks" / "sdar_objective.py")
        assert spec is not None and spec.loader is not None
        module: ModuleType = module_from_spec(spec)
        sys.modules["sdar_objective"] = module  # Where its data classes look for their types.
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.modules.pop("sdar_objective", None)
        sys.path.remove(folder)


def distributions(spread: float = 2.0, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = (spread * torch.randn(4, size, generator=generator, dtype=torch.float64) for _ in range(2))
    return student, teacher


def expected_push(divergence: Divergence, gate: Gate | None, student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
    """Minus the gradient of the learner's own loss, its expectation taken over each token of the vocabulary in turn."""
    logits_NV = student_NV.clone().requires_grad_()
    logp_NV, logq_NV = logits_NV.log_softmax(1), teacher_NV.log_softmax(1)
    one_NV, gap_NV = torch.ones_like(logp_NV), (logq_NV - logp_NV).detach()
    gate_NV = one_NV if gate is None else gate.weights(GateInputs(gap_NV, one_NV.bool(), one_NV, one_NV))
    loss_NV = gate_NV * sampled_divergence(divergence, logp_NV, logq_NV, logp_NV.detach())
    # Probabilities are those of sampling: no gradient runs through them.
    (logp_NV.exp().detach() * loss_NV).sum().backward()
    assert logits_NV.grad is not None
    return -logits_NV.grad


@pytest.mark.parametrize(
    ("term", "divergence", "gate"),
    [
        ("sdar", Divergence.LOG_RATIO, SigmoidGate(5.0)),
        ("constant", Divergence.LOG_RATIO, ConstantGate()),
        ("rkl", Divergence.REVERSE_KL_PG, None),
    ],
)
def test_the_directions_are_those_of_the_learners_loss(
    bench: Any, term: str, divergence: Divergence, gate: Gate | None
) -> None:
    student_NV, teacher_NV = distributions()
    found = bench.directions(student_NV.log_softmax(1), teacher_NV.log_softmax(1))[term]
    torch.testing.assert_close(found, expected_push(divergence, gate, student_NV, teacher_NV), rtol=1e-10, atol=1e-12)
    assert (float(found.abs().max()) > 1e-3) == (term != "constant")


def test_rkl_and_forward_ce_are_gradients_of_what_they_are_called(bench: Any) -> None:
    student_NV, teacher_NV = distributions()
    logits_NV = student_NV.clone().requires_grad_()
    logp_NV, logq_NV = logits_NV.log_softmax(1), teacher_NV.log_softmax(1)
    found = bench.directions(logp_NV.detach(), logq_NV)
    (kl,) = torch.autograd.grad((logp_NV.exp() * (logp_NV - logq_NV)).sum(), logits_NV, retain_graph=True)
    (ce,) = torch.autograd.grad(-(logq_NV.exp() * logp_NV).sum(), logits_NV)
    torch.testing.assert_close(found["rkl"], -kl)
    torch.testing.assert_close(found["forward_ce"], -ce)


def test_small_gaps_make_sdar_a_quarter_beta_of_the_reverse_kl(bench: Any) -> None:
    student_NV, other_NV = distributions()
    found = bench.directions(student_NV.log_softmax(1), (student_NV + 1e-4 * other_NV).log_softmax(1))
    torch.testing.assert_close(found["sdar"], 1.25 * found["rkl"], rtol=1e-4, atol=1e-10)


def test_the_second_moment_is_that_of_one_sample(bench: Any) -> None:
    student_NV, teacher_NV = distributions()
    logp_NV, logq_NV = student_NV.log_softmax(1), teacher_NV.log_softmax(1)
    p_NV, eye_VV = logp_NV.exp(), torch.eye(student_NV.shape[1], dtype=torch.float64)
    for name, psi_NV in bench.weights_of_samples(logp_NV, logq_NV).items():
        each_NVV = psi_NV[:, :, None] * (eye_VV - p_NV[:, None, :])
        torch.testing.assert_close(
            bench.second_moment(p_NV, psi_NV), (p_NV * (each_NVV**2).sum(2)).sum(1), rtol=1e-10, atol=1e-12
        )
        mean_NV = (p_NV[:, :, None] * each_NVV).sum(1)
        expected = bench.directions(logp_NV, logq_NV)[name.removesuffix("_centred")]
        torch.testing.assert_close(mean_NV, expected, rtol=1e-10, atol=1e-12)


def test_intervals_weight_by_count_and_resample_whole_tasks(bench: Any) -> None:
    table = {
        "group": torch.tensor([0, 0, 1]),
        "count": torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64),
        "x": torch.tensor([8.0, 0.0, 1.0], dtype=torch.float64),
    }
    of = bench.Intervals(table)
    found = of.mean("x")
    # Task 0 has mean 2, task 1 mean 1, equally many tokens; a draw of two tasks has mean 1, 1.5 or 2.
    assert found == {"value": pytest.approx(1.5), "low": pytest.approx(1.0), "high": pytest.approx(2.0)}
    assert of.mean("x", torch.tensor([0.0, 1.0, 1.0]))["value"] == pytest.approx(4.0 / 7.0)


def record(*response_ids: int) -> TurnRecord:
    return TurnRecord("o", "r", "a", True, True, 0.0, list(response_ids), [-0.1] * len(response_ids), 0)


def test_prompts_are_the_tokens_before_each_response(bench: Any) -> None:
    window = Episode("3/0", 3, "task", "kind", "train", "goal")
    window.add_turn(record(7, 8), [1, 2], [1, 5, 2])
    window.add_turn(record(9), [1, 3])
    first, second = bench.prompted(window)
    assert (first.prompt_ids, first.teacher_prompt_ids) == ((1, 2), (1, 5, 2))
    assert (second.prompt_ids, second.teacher_prompt_ids) == ((1, 3), ())
    assert first.key(3) == (3, (1, 2), (1, 5, 2), (7, 8))
    # The same turns in one sequence: the second prompt holds the first response.
    spans = [ResponseSpan(0, 2, 4), ResponseSpan(1, 5, 6)]
    whole = TokenSequence([1, 2, 7, 8, 3, 9], spans, teacher_ids=[1, 5, 2, 7, 8, 3, 9])
    chat = Episode("3/1", 3, "task", "kind", "train", "goal", turns=[record(7, 8), record(9)], sequences=[whole])
    first, second = bench.prompted(chat)
    assert (first.prompt_ids, first.teacher_prompt_ids) == ((1, 2), (1, 5, 2))
    assert (second.prompt_ids, second.teacher_prompt_ids) == ((1, 2, 7, 8, 3), (1, 5, 2, 7, 8, 3))
    assert [count for _, count in bench.distinct([window, window]).values()] == [2, 2]


def test_the_page_shows_what_was_measured(bench: Any) -> None:
    text = bench.RESULT.read_text(encoding="utf-8")
    assert not any(folder in text for folder in ("/work", "/home", "/tmp"))
    blocks = bench.tables(json.loads(text))
    page = bench.PAGE.read_text(encoding="utf-8")
    for name, block in blocks.items():
        assert f"<!-- measured: {name} -->\n{block}\n<!-- end -->" in page, (
            f"{name}: run python benchmarks/sdar_objective.py --page"
        )
    assert bench.filled(page, blocks) == page
    with pytest.raises(ValueError, match="no table 'signal'; it has direction"):
        bench.filled(page, {"direction": "", "setting": ""})
