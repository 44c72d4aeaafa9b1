"""Equal turns become one row without changing loss, gradient or metrics, with any shaper or gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    batch_of,
    columns_of,
    conversation,
    episode,
    numbers_of,
    pipeline_of,
    turn,
    with_teacher,
)

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import LossReduction, Objective
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import ADVANTAGE, DISTILL, INPUT_IDS, OLD_LOGP, RESPONSE_MASK, WEIGHT, loss_weights
from sdar_gym.training.turn_batch import TurnBatch

Parts = tuple[float, torch.Tensor, Mapping[str, float]]


def twins() -> list[Episode]:
    """Three groups in which a few turns are played again and again, with advantages of both signs."""
    wins = [episode(0, n, [turn(3), turn(2), turn(1, reward=1.0)], won=True) for n in range(2)]
    losses = [episode(0, 2, [turn(3), turn(1)], won=False)]
    others = [episode(1, n, [turn(3), turn(6), turn(7 + n, reward=float(n == 2))], won=n == 2) for n in range(3)]
    lost = [episode(2, n, [turn(6), turn(3)], won=False) for n in range(2)]
    return [*wins, *losses, *others, *lost]


def wave(number_B: torch.Tensor, mask_BT: torch.Tensor, shift: float) -> torch.Tensor:
    """Something different for each token of each turn, the same for equal turns."""
    return torch.sin(number_B[:, None] + 0.7 * torch.arange(mask_BT.shape[1]) + shift).double()


def number_column(batch: TurnBatch) -> torch.Tensor:
    return torch.tensor([float(number) for number in numbers_of(batch)])


def with_scores(batch: TurnBatch) -> TurnBatch:
    mask_BT = batch.response_mask_BT

    def some(shift: float) -> torch.Tensor:
        return torch.where(mask_BT, wave(number_column(batch), mask_BT, shift), 0.0)

    return with_teacher(batch, batch.old_logp_BT + 0.3 * some(1.0), cost_BT=some(2.0).abs())


def parts(objective: Objective, number_B: torch.Tensor, columns: Mapping[str, torch.Tensor]) -> Parts:
    """Loss, gradient and metrics of a model that is a function of a turn's number, in places far from the sampler."""
    mask_BT, old_BT = columns[RESPONSE_MASK], columns[OLD_LOGP]
    parameters = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    logp_BT = old_BT + 0.6 * parameters[0] * wave(number_B, mask_BT, 0.0)
    output = compute_loss(
        objective,
        TokenBatch(
            logp_BT=logp_BT,
            old_logp_BT=old_BT,
            advantage_BT=columns[ADVANTAGE],
            response_mask_BT=mask_BT,
            weight_BT=columns[WEIGHT],
            distill_mask_BT=columns.get(DISTILL),
            teacher_logp_BT=old_BT + 0.3 * wave(number_B, mask_BT, 1.0),
            divergence_BT=parameters[1] * (1.5 + wave(number_B, mask_BT, 3.0)) if _full(objective) else None,
            ref_logp_BT=old_BT + 0.2 * wave(number_B, mask_BT, 4.0),
            entropy_BT=parameters[2] * (1.5 + wave(number_B, mask_BT, 5.0)),
        ),
    )
    output.loss.backward()
    assert parameters.grad is not None
    return output.loss.item(), parameters.grad, {name: value.item() for name, value in output.metrics.items()}


def _full(objective: Objective) -> bool:
    return objective.distill is not None and objective.distill.divergence.full


def merged_and_plain(objective: Objective) -> tuple[TurnBatch, int, Parts, Parts]:
    """The same update from merged rows and from the turns themselves: turns, rows, and the two."""
    batch = with_scores(batch_of(twins(), objective, dtype=torch.float64))
    columns, count = columns_of(batch, objective, row_multiple=5)
    rows = {name: torch.from_numpy(column) for name, column in columns.items()}
    shaped = pipeline_of(objective).shape(batch, 0)
    assert shaped.advantage_BT is not None
    by_tokens = objective.aggregation is LossReduction.TOKEN_MEAN
    weights, total = (token_mean_weights, batch.tokens) if by_tokens else (sequence_mean_weights, len(batch.turns))
    plain = {
        RESPONSE_MASK: batch.response_mask_BT,
        OLD_LOGP: batch.old_logp_BT,
        ADVANTAGE: shaped.advantage_BT,
        WEIGHT: weights(batch.response_mask_BT, total, dtype=torch.float64),
        DISTILL: batch.distilled_B(objective)[:, None].expand_as(batch.response_mask_BT),
    }
    return (
        batch,
        count,
        parts(objective, rows[INPUT_IDS][:, 0].float(), rows),
        parts(objective, number_column(batch), plain),
    )


def assert_same(one: Parts, other: Parts) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-12, abs=1e-14)
    torch.testing.assert_close(one[1], other[1], rtol=1e-11, atol=1e-14)
    assert one[2] == pytest.approx(other[2], rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
@pytest.mark.parametrize(
    "name", ["grpo", "sdar", "rlsd", "agent_opsd", "skill_sd", "icsd", "pcsd", "distil", "allfail_ce", "opid"]
)
def test_merging_changes_nothing(name: str, aggregation: str) -> None:
    objective = get_method(name).with_overrides({"aggregation": aggregation}).objective
    batch, rows, merged, plain = merged_and_plain(objective)
    assert rows < len(batch.turns) == 21
    assert_same(merged, plain)
    assert merged[2]["weight"] == pytest.approx(1.0, rel=1e-12)
    assert merged[1].abs().max() > 1e-6
    if name == "grpo":
        # Some ratios are clipped, and advantages of both signs were merged.
        assert 0 < merged[2]["clip_fraction"] < 1
        sign_B = batch.base_advantage_B.sign()
        signs: Sequence[Any] = [set(sign_B[torch.tensor(rows)].tolist()) for rows in _equal(batch)]
        assert {-1.0, 1.0} in signs or {-1.0, 0.0, 1.0} in signs


def _equal(batch: TurnBatch) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row, number in enumerate(numbers_of(batch)):
        found.setdefault(number, []).append(row)
    return list(found.values())


@pytest.fixture
def always_merge(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def patch() -> None:
        monkeypatch.setattr(Objective, "mergeable", property(lambda _: True))

    return patch


def test_a_loss_that_is_not_linear_in_the_advantage_merges_equal_ones_only(always_merge: Callable[[], None]) -> None:
    # Within a turn with a single advantage this gate depends on its sign alone; here tokens differ.
    icsd = get_method("icsd").with_overrides({"shaping": {"name": "gap_bonus", "coeff": 0.5}}).objective
    _, careful, merged, plain = merged_and_plain(icsd)
    always_merge()
    _, greedy, wrong, _ = merged_and_plain(icsd)
    assert greedy < careful
    assert_same(merged, plain)
    with pytest.raises(AssertionError):
        assert_same(wrong, plain)


def test_equal_sequences_of_several_turns_are_merged_if_every_advantage_keeps_its_sign() -> None:
    """Within a merged row each token's advantage is the mean of the copies, weighted by their number."""

    def rows(rewards: Sequence[tuple[float, float]]) -> tuple[int, Any]:
        episodes = [
            conversation(0, n, [turn(3, reward=first), turn(2, reward=second)], won=False)
            for n, (first, second) in enumerate(rewards)
        ]
        objective = get_method("gigpo").objective
        batch = batch_of(episodes, objective, dtype=torch.float64)
        columns, count = columns_of(batch, objective, row_multiple=1)
        total = (columns[ADVANTAGE] * columns[WEIGHT]).sum()
        expected_BT = loss_weights(batch, objective) * batch.base_advantage_B[:, None]
        assert total == pytest.approx(expected_BT[batch.response_mask_BT].sum().item(), abs=1e-12)
        assert columns[WEIGHT].sum() == pytest.approx(1.0)
        return count, columns

    # Two equal failures and one success of the same tokens: the failures are one row.
    count, columns = rows([(0.0, 1.0), (0.0, 0.0), (0.0, 0.0)])
    assert count == 2
    assert sorted(set(columns[WEIGHT][columns[RESPONSE_MASK]].round(12))) == pytest.approx([1 / 21, 2 / 21])
