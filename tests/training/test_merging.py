"""Equal turns become one row without changing loss, gradient or metrics, whatever makes the advantages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from made_episodes import PAD, episode, table_of, turn  # pyright: ignore[reportMissingImports]
from sdar_gym.algorithms.sdar.scores import Scores, token_advantages

from sdar_gym.algorithms.losses.aggregation import sequence_mean_weights, token_mean_weights
from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import LossReduction, Objective
from sdar_gym.algorithms.sdar.module import INPUT_IDS, RESPONSE_MASK
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import ADVANTAGE, DISTILL, OLD_LOGP, WEIGHT, PreparedBatch, prepare_batch
from sdar_gym.training.turn_batch import TurnBatch, distilled_rows

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


def made_scores(table: TurnBatch) -> Scores:
    number_B = torch.tensor([float(turn.prompt_ids[0]) for turn in table.turns])

    def some(shift: float) -> torch.Tensor:
        return torch.where(table.mask_BT, wave(number_B, table.mask_BT, shift), 0.0)

    return Scores(
        torch.ones(len(table.turns), dtype=torch.bool),
        table.old_logp_BT,
        table.old_logp_BT + 0.3 * some(1.0),
        cost_BT=some(2.0).abs(),
    )


def parts(objective: Objective, number_B: torch.Tensor, columns: Mapping[str, torch.Tensor]) -> Parts:
    """Loss, gradient and metrics of a model that is a function of a turn's number, in places far off the sampler."""
    mask_BT, old_BT = columns[RESPONSE_MASK], columns[OLD_LOGP]
    parameters = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    logp_BT = old_BT + 0.6 * parameters[0] * wave(number_B, mask_BT, 0.0)
    output = compute_loss(
        objective,
        TokenBatch(
            logp_BT=logp_BT,
            old_logp_BT=old_BT,
            advantage_BT=columns[ADVANTAGE],
            mask_BT=mask_BT,
            weight_BT=columns[WEIGHT],
            distill_mask_BT=columns[DISTILL][:, None].expand_as(mask_BT) if DISTILL in columns else None,
            teacher_logp_BT=old_BT + 0.3 * wave(number_B, mask_BT, 1.0),
            divergence_BT=parameters[1] * (1.5 + wave(number_B, mask_BT, 3.0)) if _dense(objective) else None,
            ref_logp_BT=old_BT + 0.2 * wave(number_B, mask_BT, 4.0),
            entropy_BT=parameters[2] * (1.5 + wave(number_B, mask_BT, 5.0)),
        ),
    )
    output.loss.backward()
    return output.loss.item(), parameters.grad, {name: value.item() for name, value in output.metrics.items()}


def _dense(objective: Objective) -> bool:
    return objective.distill is not None and objective.distill.divergence.full


def merged_and_plain(objective: Objective) -> tuple[TurnBatch, PreparedBatch, Parts, Parts]:
    """The same update from merged rows and from the turns themselves."""
    table = table_of(twins(), objective, dtype=torch.float64)
    scores = made_scores(table)
    advantage_BT, distill_B = token_advantages(objective, table, scores, 0), distilled_rows(objective, table)
    batch = prepare_batch(
        table,
        objective,
        advantage_BT,
        distill_B=distill_B,
        teacher_logp_BT=scores.teacher_BT,
        dense=False,
        row_multiple=5,
        pad_id=PAD,
        shuffle_seed="a",
    )
    rows = {name: torch.from_numpy(column) for name, column in batch.columns.items()}
    weigh = token_mean_weights if objective.aggregation is LossReduction.TOKEN_MEAN else sequence_mean_weights
    count = table.tokens if objective.aggregation is LossReduction.TOKEN_MEAN else len(table.turns)
    plain = {
        RESPONSE_MASK: table.mask_BT,
        OLD_LOGP: table.old_logp_BT,
        ADVANTAGE: advantage_BT,
        WEIGHT: weigh(table.mask_BT, count, dtype=torch.float64),
        DISTILL: distill_B,
    }
    number_B = torch.tensor([float(turn.prompt_ids[0]) for turn in table.turns])
    return (
        table,
        batch,
        parts(objective, rows[INPUT_IDS][:, 0].float(), rows),
        parts(objective, number_B, plain),
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
    objective = get_method(name).with_overrides(aggregation=aggregation).objective
    table, batch, merged, plain = merged_and_plain(objective)
    assert batch.rows < len(table.turns) == 21
    assert_same(merged, plain)
    assert merged[2]["weight"] == pytest.approx(1.0, rel=1e-12)
    assert merged[1].abs().max() > 1e-6
    if name == "grpo":
        # Some ratios are clipped, and advantages of both signs were merged.
        assert 0 < merged[2]["clip_fraction"] < 1
        signs: Sequence[Any] = [set(torch.sign(table.adv_B[torch.tensor(rows)]).tolist()) for rows in _equal(table)]
        assert {-1.0, 1.0} in signs or {-1.0, 0.0, 1.0} in signs


def _equal(table: TurnBatch) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row, turn_ in enumerate(table.turns):
        found.setdefault(turn_.prompt_ids[0], []).append(row)
    return list(found.values())


@pytest.fixture
def always_merge(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def patch() -> None:
        monkeypatch.setattr(Objective, "mergeable", property(lambda _: True))

    return patch


def test_a_loss_that_is_not_linear_in_the_advantage_merges_equal_ones_only(always_merge: Callable[[], None]) -> None:
    # Within a turn whose tokens have one advantage this gate looks at its sign alone; here they differ.
    icsd = get_method("icsd").with_overrides(shaping={"enter": "bonus", "coeff": 0.5}).objective
    _, careful, merged, plain = merged_and_plain(icsd)
    always_merge()
    _, greedy, wrong, _ = merged_and_plain(icsd)
    assert greedy.rows < careful.rows
    assert_same(merged, plain)
    with pytest.raises(AssertionError):
        assert_same(wrong, plain)
