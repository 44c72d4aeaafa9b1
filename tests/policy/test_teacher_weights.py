"""The teacher's weights against copies of the whole model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sdar_gym.policy.logprobs import head_logits, response_hidden, score_responses
from sdar_gym.policy.lora import Adapters
from sdar_gym.policy.teacher_weights import TeacherWeights

Make = Callable[..., Any]
Step = Callable[[Any, torch.optim.Optimizer], None]
KINDS: dict[str, dict[str, Any]] = {"live": {}, "ema": {"rate": 0.3}, "stale": {"every": 2}, "frozen": {}}


def adamw(model: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)


def logp(model: Any, rows: Any) -> torch.Tensor:
    with torch.no_grad():
        return score_responses(model, *rows).logp_BT


def snapshot(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(params=["device", "elsewhere"])
def offload(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the student, or as if the student were on another device."""
    if request.param == "device":
        return False
    monkeypatch.setattr("sdar_gym.policy.teacher_weights._same_place", lambda stored, parameter: False)
    return True


@pytest.fixture(params=["full", "lora"])
def make_student(request: pytest.FixtureRequest, make_model: Make) -> Callable[..., tuple[Any, Adapters | None]]:
    """A model that is trained whole, and one that is trained by adapters, which have learned something already."""

    def make(**settings: Any) -> tuple[Any, Adapters | None]:
        model = make_model(**settings)
        if request.param == "full":
            return model, None
        adapters = Adapters(model, r=2, alpha=4)
        for parameter in adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
        return model, adapters

    return make


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_scores_as_a_copy_of_the_model_would(
    kind: str, tied: bool, offload: bool, make_student: Any, rows: Any, gradient_step: Step
) -> None:
    model, adapters = make_student(tied=tied)
    optimizer = adamw(model)
    teacher = TeacherWeights(kind, model, offload=offload, adapters=adapters, **KINDS[kind])
    expected = copy.deepcopy(model)
    if kind == "frozen" and adapters is not None:
        for name, parameter in expected.named_parameters():
            if "lora_B" in name:
                torch.nn.init.zeros_(parameter)
    for step in range(1, 6):
        if kind == "live":
            expected = copy.deepcopy(model)
        with teacher.swapped_in() as scoring:
            torch.testing.assert_close(logp(scoring, rows), logp(expected, rows), atol=2e-6, rtol=1e-5)
        if kind != "live" and step in (2, 4):
            assert not torch.allclose(logp(model, rows), logp(expected, rows), atol=1e-3)
        gradient_step(model, optimizer)
        teacher.after_update(step)
        if kind == "ema":
            for mean, new in zip(expected.parameters(), model.parameters(), strict=True):
                mean.data = 0.7 * mean.data + 0.3 * new.data
        elif kind == "stale" and step in (2, 4):
            expected = copy.deepcopy(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_is_given_back_as_it_was_also_after_an_error(
    kind: str, offload: bool, make_student: Any, rows: Any, gradient_step: Step
) -> None:
    model, adapters = make_student(tied=True)
    optimizer = adamw(model)
    teacher = TeacherWeights(kind, model, offload=offload, adapters=adapters, **KINDS[kind])
    gradient_step(model, optimizer)
    teacher.after_update(1)
    model.train()
    model.model.layers[0].eval()
    weights, modes = snapshot(model), [module.training for module in model.modules()]
    trained = [p.requires_grad for p in model.parameters()]
    grads = [p.grad for p in model.parameters()]
    held = {name: tensor.clone() for name, tensor in teacher.get_state().items()}
    with pytest.raises(KeyError), teacher.swapped_in() as scoring:
        assert not any(module.training for module in scoring.modules())
        assert not torch.is_grad_enabled()
        raise KeyError("in the middle")
    assert torch.is_grad_enabled()
    assert_equal(snapshot(model), weights)
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == trained
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert_equal(teacher.get_state(), held)


def test_an_exchange_that_fails_half_way_is_taken_back(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    teacher = TeacherWeights("frozen", model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    weights, exchange, names = snapshot(model), teacher._exchange, []

    def fail_at_fifth(name: str, parameter: Any) -> None:
        names.append(name)
        if len(names) == 5:
            raise MemoryError
        exchange(name, parameter)

    monkeypatch.setattr(teacher, "_exchange", fail_at_fifth)
    with pytest.raises(MemoryError), teacher.swapped_in():
        pytest.fail("never lent")
    assert len(names) == 9
    assert_equal(snapshot(model), weights)
    monkeypatch.undo()
    with teacher.swapped_in() as scoring:
        assert not torch.equal(scoring.model.norm.weight, weights["model.norm.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_as_if_nobody_had_borrowed(
    kind: str, offload: bool, make_student: Any, rows: Any, gradient_step: Step
) -> None:
    runs = []
    for borrowed in (True, False):
        model, adapters = make_student(tied=True)
        optimizer = adamw(model)
        teacher = TeacherWeights(kind, model, offload=offload, adapters=adapters, **KINDS[kind])
        for step in range(1, 4):
            if borrowed:
                with teacher.swapped_in() as scoring:
                    logp(scoring, rows)
            gradient_step(model, optimizer)
            teacher.after_update(step)
        runs.append(snapshot(model))
    assert_equal(*runs)


@pytest.mark.parametrize("kind", ["ema", "stale"])
def test_a_resumed_teacher_goes_on_exactly(kind: str, make_student: Any, rows: Any, gradient_step: Step) -> None:
    model, adapters = make_student(tied=True)
    optimizer = adamw(model)
    teacher = TeacherWeights(kind, model, adapters=adapters, **KINDS[kind])
    gradient_step(model, optimizer)
    teacher.after_update(1)
    state = teacher.get_state()
    saved = {name: tensor.clone() for name, tensor in state.items()}
    resumed = TeacherWeights(kind, model, adapters=adapters, **KINDS[kind])
    resumed.set_state(state)
    for one in (teacher, resumed):
        one.after_update(2)
    assert_equal(teacher.get_state(), resumed.get_state())
    assert_equal(state, saved)
    assert not all(torch.equal(saved[name], tensor) for name, tensor in teacher.get_state().items())


def test_a_state_of_another_teacher_is_refused(make_model: Make) -> None:
    model = make_model()
    teacher = TeacherWeights("ema", model, rate=0.1)
    good = teacher.get_state()
    frozen = TeacherWeights("frozen", model)
    assert frozen.get_state() == {}
    frozen.set_state({})
    short = dict(list(good.items())[1:])
    for one, state in ((teacher, {}), (teacher, short), (frozen, good), (teacher, good | {"x": torch.zeros(1)})):
        with pytest.raises(ValueError, match=r"do not fit this (ema|frozen) teacher: \d+ tensors differ"):
            one.set_state(state)
    with pytest.raises(ValueError, match=r"1 tensors differ, model\.norm\.weight among them"):
        teacher.set_state(good | {"model.norm.weight": torch.zeros(3)})


def test_only_what_is_trained_is_kept_and_tied_weights_once(make_model: Make) -> None:
    tied, untied = make_model(tied=True), make_model(tied=False)
    head = tied.lm_head.weight.nbytes
    sizes = [TeacherWeights("frozen", model).nbytes for model in (tied, untied)]
    assert sizes[0] == sum(p.nbytes for p in tied.parameters())
    assert sizes[1] == sizes[0] + head
    adapters = Adapters(untied, r=2, alpha=4)
    small = sum(p.nbytes for p in adapters.parameters())
    assert 0 < small < sizes[1] / 2
    for kind, kept in (("ema", small), ("stale", small), ("frozen", 0), ("live", 0)):
        assert TeacherWeights(kind, untied, adapters=adapters, **KINDS[kind]).nbytes == kept


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_of_the_teacher_can_be_set_aside(
    kind: str, tied: bool, offload: bool, make_student: Any, rows: Any, gradient_step: Step
) -> None:
    model, adapters = make_student(tied=tied, dtype=torch.float64)
    optimizer = adamw(model)
    teacher = TeacherWeights(kind, model, offload=offload, adapters=adapters, **KINDS[kind])
    gradient_step(model, optimizer)
    with teacher.swapped_in() as scoring:
        expected = logp(scoring, rows)
        hidden = response_hidden(scoring, *rows)
        inside, _ = teacher.head_snapshot()
    weight, bias = teacher.head_snapshot()
    # The student learns on; what was set aside does not.
    gradient_step(model, optimizer)
    mask = rows[2]
    targets = rows[0].gather(1, rows[1])[mask]
    scores = head_logits(weight, bias, hidden[mask]).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    assert not weight.requires_grad
    torch.testing.assert_close(scores, expected[mask], atol=1e-10, rtol=1e-8)
    assert torch.equal(weight, inside)
    assert teacher.head_snapshot(torch.bfloat16)[0].dtype == torch.bfloat16


def test_another_model_teaches_and_is_never_trained(make_model: Make, rows: Any) -> None:
    model, other = make_model(), make_model("qwen2", seed=5).train()
    teacher = TeacherWeights("external", model, external=other)
    with teacher.swapped_in() as scoring:
        assert scoring is other
        assert torch.equal(logp(scoring, rows), logp(other, rows))
    assert not any(p.requires_grad for p in other.parameters())
    assert torch.equal(teacher.head_snapshot()[0], other.lm_head.weight)
    assert teacher.nbytes == 0


def test_one_teacher_is_lent_once_but_a_reference_beside_it_may_be(make_model: Make, rows: Any) -> None:
    model = make_model()
    first, second = snapshot(model), TeacherWeights("frozen", model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    now = snapshot(model)
    teacher = TeacherWeights("ema", model, rate=0.5)
    with teacher.swapped_in():
        assert_equal(snapshot(model), now)
        with second.swapped_in() as scoring:
            assert_equal(snapshot(scoring), first)
        for refused in (teacher.swapped_in().__enter__, teacher.get_state, lambda: teacher.after_update(1)):
            with pytest.raises(
                RuntimeError, match=r"are swapped in; leave the `with teacher\.swapped_in\(\)` block first"
            ):
                refused()
    assert_equal(snapshot(model), now)


def test_borrowing_within_autocast_is_not_fooled_by_its_cache(make_model: Make, rows: Any) -> None:
    model = make_model()
    teacher = TeacherWeights("frozen", model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = logp(model, rows)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score_responses(model, *rows)  # With gradients: this is what fills the cache.
        with teacher.swapped_in() as scoring:
            assert torch.equal(logp(scoring, rows), before)
        assert not torch.allclose(logp(model, rows), before, atol=1e-2)


def test_unknown_weights_are_refused(make_model: Make) -> None:
    with pytest.raises(ValueError, match="'freezed' is not a valid Weights"):
        TeacherWeights("freezed", make_model())  # pyright: ignore[reportArgumentType]


def test_an_average_in_half_precision_is_refused(make_model: Make) -> None:
    model = make_model(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"needs trained weights in single precision.*is torch\.bfloat16"):
        TeacherWeights("ema", model, rate=0.05)
    adapters = Adapters(model, r=2, alpha=4)
    assert TeacherWeights("ema", model, rate=0.05, adapters=adapters).nbytes > 0
