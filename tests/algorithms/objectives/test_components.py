"""Gates and advantage shapers chosen by name: the registries, changes inside a part, and parts of one's own."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from made_turns import plain, shape
from torch import Tensor

from sdar_gym.algorithms import AdvantageShaper, Gate, GateInputs, Objective, get_method, register_gate, register_shaper
from sdar_gym.algorithms.losses.total import compute_loss
from sdar_gym.algorithms.methods.rlsd import RLSDShaper
from sdar_gym.algorithms.methods.sdar import ConstantGate, EntropyGate, SigmoidGate
from sdar_gym.algorithms.objectives.advantage_shaping import ShapingInputs
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import setting

GATES = {"constant", "entropy", "influence", "persistent", "sigmoid", "soft_or"}
SHAPERS = {"adrs", "agent_opsd", "future_credit", "gap_bonus", "grsd", "ocsd", "rlsd", "step_opsd"}


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Removes what a test registers."""
    before = [(kind.registry, dict(kind.registry)) for kind in (Gate, AdvantageShaper)]
    yield
    for registry, known in before:
        registry.clear()
        registry.update(known)


def gate_of(name: str, changes: Any) -> Gate | None:
    distill = get_method(name).objective.changed({"distill": {"gate": changes}}).distill
    assert distill is not None
    return distill.gate


def test_each_kind_of_part_has_its_own_registry():
    assert set(Gate.registry) == GATES and set(AdvantageShaper.registry) == SHAPERS
    assert all(name == part.NAME for kind in (Gate, AdvantageShaper) for name, part in kind.registry.items())


@pytest.mark.parametrize("kind", [Gate, AdvantageShaper])
def test_every_part_is_made_from_its_name_alone_and_read_back_from_what_is_written(kind: type[Gate]):
    for name in kind.registry:
        part = kind.parse("part", name)
        assert part.plain() == {"name": name}
        assert kind.parse("part", part.plain()) == part == kind.parse("part", {"name": name})
        assert pickle.loads(pickle.dumps(part)) == part
    changed = SigmoidGate(2.0)
    assert changed.plain() == {"name": "sigmoid", "beta": 2.0}
    assert Gate.parse("part", changed.plain()) == changed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sigmod", r"distill\.gate: unknown gate 'sigmod'\. Did you mean 'sigmoid'\? Known names: \['constant', "),
        ("one", r"distill\.gate: unknown gate 'one'\. Known names"),
        ({"name": "soft_orr", "beta": 2.0}, r"unknown gate 'soft_orr'\. Did you mean 'soft_or'\?"),
        ({"name": None, "value": 1.0}, "distill.gate has no setting 'value'"),
        ({"bta": 2.0}, r"distill\.gate has no setting 'bta'\. Did you mean 'beta'\?"),
        ({"beta": "2"}, r"distill\.gate\.beta must be a finite number above 0, got '2'"),
        (5.0, r"distill\.gate must name one gate, alone or with its settings, got 5\.0"),
        (RLSDShaper(), r"distill\.gate must name one gate"),
    ],
)
def test_unknown_gates_and_settings_are_refused_with_the_closest_name(given: Any, message: str):
    with pytest.raises(ValueError, match=message):
        gate_of("sdar", given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rlsdd", r"shaping: unknown advantage shaper 'rlsdd'\. Did you mean 'rlsd'\?"),
        ({"name": "gap_bonu"}, r"shaping: unknown advantage shaper 'gap_bonu'\. Did you mean 'gap_bonus'\?"),
        ({"limt": 0.1}, r"shaping has no setting 'limt'\. Did you mean 'limit'\?"),
        ({"limit": -1}, r"shaping\.limit must be a finite number above 0, got -1"),
        (5, r"shaping must name one advantage shaper, alone or with its settings, got 5"),
        (SigmoidGate(), r"shaping must name one advantage shaper"),
    ],
)
def test_unknown_shapers_and_settings_are_refused_with_the_closest_name(given: Any, message: str):
    with pytest.raises(ValueError, match=message):
        get_method("rlsd").objective.changed({"shaping": given})


def test_a_mapping_without_a_name_changes_the_part_that_is_there():
    assert gate_of("sdar", {"beta": 2}) == SigmoidGate(2.0)
    assert gate_of("grpo_opsd_sdar_repo", {"value": 0.2}) == ConstantGate(0.2)
    shorter = get_method("rlsd").objective.changed({"shaping": {"limit": 0.1}}).shaping
    assert shorter == RLSDShaper(limit=0.1)
    assert shorter.coeff == Schedule.linear(0.5, 0.0, 100)  # what the mapping does not name stays
    with pytest.raises(ValueError, match=r"distill\.gate needs distill\.gate\.name, one of constant, entropy"):
        gate_of("grpo_opsd", {"beta": 2.0})  # there is none to change
    with pytest.raises(ValueError, match=r"no shaping to change.*set shaping\.name too"):
        get_method("grpo").objective.changed({"shaping": {"limit": 0.1}})


def test_another_name_replaces_the_part_with_its_own_defaults():
    assert gate_of("sdar", "entropy") == gate_of("sdar", {"name": "entropy"}) == EntropyGate()
    assert gate_of("sdar", {"name": "constant", "value": 0.2}) == ConstantGate(0.2)
    assert gate_of("sdar", ConstantGate(0.3)) == ConstantGate(0.3)
    assert gate_of("sdar", None) is None
    # The same name with settings changes what is there.
    wide = get_method("sdar").objective.changed({"distill": {"gate": {"beta": 2.0}}})
    assert wide.changed({"distill": {"gate": {"name": "sigmoid"}}}) == wide


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match=r"There is a gate 'sigmoid' already \(sdar_gym\.algorithms\.methods\.sdar\)"):

        @register_gate("sigmoid")
        @dataclass(frozen=True, slots=True)
        class Other(Gate):
            pass

    with pytest.raises(ValueError, match="There is a gate 'sigmoid' already"):
        # A class of the same name from another module is another part.
        register_gate("sigmoid")(type("SigmoidGate", (Gate,), {"__slots__": (), "__qualname__": "SigmoidGate"}))
    assert Gate.registry["sigmoid"] is SigmoidGate
    assert register_gate("sigmoid")(SigmoidGate) is SigmoidGate


def test_a_gate_of_ones_own_is_used_by_the_loss(make_batch, to_tokens):
    @register_gate("above")
    @dataclass(frozen=True, slots=True)
    class Above(Gate):
        """One where the gap is above a threshold."""

        threshold: float = setting(0.0, "Gap in nats.")

        def weights(self, inputs: GateInputs) -> Tensor:
            return (inputs.gap_BT > self.threshold).to(inputs.gap_BT.dtype)

    objective = get_method("sdar").objective.changed({"distill": {"gate": {"name": "above", "threshold": 0.2}}})
    assert objective.distill is not None and objective.distill.gate == Above(0.2)
    with pytest.raises(ValueError, match=r"distill\.gate has no setting 'treshold'\. Did you mean 'threshold'"):
        objective.changed({"distill": {"gate": {"treshold": 0.1}}})
    batch = make_batch()
    tokens, bare = to_tokens(batch), to_tokens(batch)
    output = compute_loss(objective, tokens)
    output.loss.backward()
    compute_loss(replace(objective, teacher=None, distill=None), bare).loss.backward()
    gate = (batch["teacher_logp_BT"] - batch["logp_BT"] > 0.2).double()
    assert 0 < gate.mean() < 1
    torch.testing.assert_close(tokens.logp_BT.grad - bare.logp_BT.grad, -0.01 * batch["weight_BT"] * gate)
    torch.testing.assert_close(output.metrics["gate_mean"], (batch["weight_BT"] * gate).sum())


def test_a_gate_of_ones_own_gets_the_inputs_that_it_says_it_needs(make_batch, to_tokens):
    @register_gate("certain")
    @dataclass(frozen=True, slots=True)
    class Certain(Gate):
        """Less where the student is uncertain."""

        needs_gap: ClassVar[bool] = False
        needs_entropy: ClassVar[bool] = True

        def weights(self, inputs: GateInputs) -> Tensor:
            assert inputs.entropy_BT is not None
            return (-inputs.entropy_BT.detach()).exp()

    topk = {"coeff": 0.3, "divergence": "forward_kl", "support": "topk", "k": 5, "gate": "certain"}
    objective = get_method("sdar").objective.changed({"distill": topk, "entropy_coeff": 0.0})
    batch = make_batch()
    del batch["teacher_logp_BT"]  # A gate that does not read the gap goes with a top-k teacher.
    output = compute_loss(objective, to_tokens(batch))
    expected = batch["weight_BT"] * (-batch["entropy_BT"]).exp() * batch["divergence_BT"]
    torch.testing.assert_close(output.metrics["distill_loss"], expected.sum())
    del batch["entropy_BT"]
    with pytest.raises(ValueError, match=r"no entropy_BT, but distill\.coeff"):
        compute_loss(objective, to_tokens(batch))


def test_a_shaper_of_ones_own_is_used_by_an_update(make_turns):
    @register_shaper("late_turns")
    @dataclass(frozen=True, slots=True)
    class LateTurns(AdvantageShaper):
        """Multiplier that grows with the number of the turn, where the teacher agrees."""

        coeff: Schedule = setting(Schedule.constant(0.5), "λ.")
        scale: float = setting(0.1, "Increase a turn.", above=0.0)

        def signal(self, turns: ShapingInputs) -> Tensor:
            agrees_BT = (turns.teacher_logp_BT > turns.student_logp_BT).double()
            return self.scale * turns.turn_B[:, None] * agrees_BT

    with pytest.raises(ValueError, match="shaping needs a teacher"):
        Objective().changed({"shaping": "late_turns"})
    added = {"teacher": {"view": "skills"}, "shaping": {"name": "late_turns", "coeff": [[0, 1.0], [10, 0.0]]}}
    objective = get_method("grpo").objective.changed(added)
    assert objective.shaping == LateTurns(Schedule.linear(1.0, 0.0, 10))
    assert objective.required_scores(0) == ("student", "teacher") and objective.required_scores(10) == ()
    turns = make_turns()
    agrees = (turns.teacher_logp_BT > turns.student_logp_BT).double()
    expected = plain(turns) * (1.0 + 0.5 * 0.1 * turns.turn_B[:, None] * agrees)
    torch.testing.assert_close(shape(objective, turns, 5), expected)
    assert torch.equal(shape(objective, turns, 10), plain(turns))
    stronger = objective.changed({"shaping": {"scale": 0.2}}).shaping
    assert stronger == LateTurns(Schedule.linear(1.0, 0.0, 10), scale=0.2)


def test_a_bonus_of_ones_own_learns_without_a_policy_gradient(make_turns):
    @register_shaper("flat")
    @dataclass(frozen=True, slots=True)
    class Flat(AdvantageShaper):
        """The same for every token, also of turns without a teacher."""

        multiplies: ClassVar[bool] = False
        needs: ClassVar[tuple[str, ...]] = ("teacher",)
        shapes_unscored: ClassVar[bool] = True
        coeff: Schedule = setting(Schedule.constant(0.25), "λ.")

        def signal(self, turns: ShapingInputs) -> Tensor:
            return torch.ones_like(turns.teacher_logp_BT)

    objective = Objective().changed({"policy_coeff": 0.0, "teacher": {"view": "skills"}, "shaping": "flat"})
    assert objective.required_scores(0) == ("teacher",)
    turns = make_turns()
    unscored = replace(turns, scored_B=torch.zeros_like(turns.scored_B))
    for batch in (turns, unscored):
        torch.testing.assert_close(shape(objective, batch), plain(turns) + 0.25 * turns.response_mask_BT)
