"""The RLModule around a policy: precision, adapters, recomputed activations, and terms on the logits."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchDDPRLModule

from sdar_gym.algorithms.sdar.module import INPUT_IDS, LOGITS_TERM, RESPONSE_MASK, RESPONSE_POSITION, PolicyModule
from sdar_gym.configs.sections import LoraSettings
from sdar_gym.envs.spaces import FreeText
from sdar_gym.policy.load import load_weights
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.policy_model import merged_policy

LORA = LoraSettings(r=2, alpha=4)
BASE = {
    "dtype": "float32",
    "half_weights": False,
    "gradient_checkpointing": False,
    "temperature": 0.7,
    "entropy_gradient": False,
}
Make = Callable[..., Any]
Build = Callable[..., PolicyModule]
both = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])


@pytest.fixture
def folder(make_model: Make, tmp_path: Path) -> Path:
    make_model().save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture
def build(folder: Path) -> Build:
    def build_(*, runner: bool = False, model: Path = folder, **settings: Any) -> Any:
        text = FreeText()
        return RLModuleSpec(
            module_class=PolicyModule,
            observation_space=text,
            action_space=text,
            inference_only=runner,
            model_config={**BASE, "model": str(model), **settings},
        ).build()

    return build_


@pytest.fixture
def batch(rows: Any) -> dict[str, torch.Tensor]:
    return dict(zip((INPUT_IDS, RESPONSE_POSITION, RESPONSE_MASK), rows, strict=True))


def learn(module: PolicyModule, batch: Any, lr: float = 1e-2) -> None:
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr)
    (-module.forward_train(batch)["logp"].sum()).backward()
    optimizer.step()
    optimizer.zero_grad()


def logp(module: PolicyModule, rows: Any) -> torch.Tensor:
    with torch.no_grad(), module.numerics():
        return score_responses(module.model.eval(), *rows, 0.7).logp_BT


def test_a_plain_policy_scores_and_gives_its_weights(build: Build, batch: Any, rows: Any) -> None:
    module = build()
    output = module.forward_train(batch)
    assert set(output) == {"logp", "entropy"}
    torch.testing.assert_close(output["logp"].detach(), logp(module, rows))
    assert module.adapters is None
    state = module.get_state()
    assert state.keys() == module.state_dict().keys()
    # Tied weights are sent once.
    assert state["model.lm_head.weight"] is state["model.model.embed_tokens.weight"]
    assert len(pickle.dumps(state)) < 1.3 * sum(p.nbytes for p in module.parameters())
    learn(module, batch)
    assert not torch.equal(state["model.model.norm.weight"], module.model.model.norm.weight)
    module.set_state(state)
    assert torch.equal(state["model.model.norm.weight"], module.model.model.norm.weight)


def test_a_learner_in_half_precision_keeps_single_precision_weights(build: Build, batch: Any, rows: Any) -> None:
    learner, runner = build(dtype="bfloat16"), build(dtype="bfloat16", runner=True)
    assert {p.dtype for p in learner.parameters()} == {torch.float32}
    assert {p.dtype for p in runner.parameters()} == {torch.bfloat16}
    assert (learner.compute_dtype, runner.compute_dtype) == (torch.bfloat16, None)
    # It does compute in half: near the model in single precision, and not the same.
    single = logp(build(), rows)
    assert 1e-4 < (logp(learner, rows) - single).abs().max() < 0.3
    output = learner.forward_train(batch)
    assert output["logp"].dtype == output["entropy"].dtype == torch.float32
    torch.testing.assert_close(output["logp"].detach(), logp(learner, rows))
    # What was saved in single precision was not rounded on the way in.
    assert torch.equal(learner.model.model.embed_tokens.weight, build().model.model.embed_tokens.weight)
    # A step that bfloat16 cannot hold.
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    learn(learner, batch, lr=1e-6)
    changed = [name for name, p in learner.named_parameters() if not torch.equal(p, before[name])]
    assert len(changed) == len(before)
    norm = "model.model.norm.weight"
    assert torch.equal(learner.state_dict()[norm].bfloat16(), before[norm].bfloat16())
    sent, kept = learner.get_state(inference_only=True), learner.get_state()
    assert {tensor.dtype for tensor in sent.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    for state in (sent, kept):
        runner.set_state(state)
        assert all(torch.equal(runner.state_dict()[name], tensor.bfloat16()) for name, tensor in kept.items())


def test_the_saved_precision_decides_with_auto(build: Build, make_model: Make, tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        make_model(dtype=dtype).save_pretrained(tmp_path / str(dtype))
    learner = build(dtype="auto", model=tmp_path / "torch.bfloat16")
    assert (learner.model.dtype, learner.compute_dtype) == (torch.float32, torch.bfloat16)
    assert build(dtype="auto", model=tmp_path / "torch.bfloat16", runner=True).model.dtype == torch.bfloat16
    learner = build(dtype="auto", model=tmp_path / "torch.float32")
    assert (learner.model.dtype, learner.compute_dtype) == (torch.float32, None)
    with pytest.raises(ValueError, match=r"policy\.dtype=auto takes .* in float16.*choose policy\.dtype=bfloat16"):
        build(dtype="auto", model=tmp_path / "torch.float16")


def test_double_precision_is_double_throughout(build: Build, batch: Any) -> None:
    module = build(dtype="float64")
    output = module.forward_train(batch)
    assert output["logp"].dtype == torch.float64
    assert module.compute_dtype is None
    output["logp"].sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float64 for p in module.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_alone_are_trained_sent_and_saved(dtype: str, build: Build, batch: Any, rows: Any) -> None:
    settings: dict[str, Any] = {"lora": LORA, "dtype": dtype}
    learner, runner, resumed = build(**settings), build(**settings, runner=True), build(**settings)
    assert learner.adapters is not None
    assert learner.compute_dtype is None
    frozen = {name: p.detach().clone() for name, p in learner.named_parameters() if not p.requires_grad}
    assert {p.dtype for p in frozen.values()} == {getattr(torch, dtype)}
    for _ in range(2):
        learn(learner, batch)
    assert all(torch.equal(learner.state_dict()[name], p) for name, p in frozen.items())
    sent, saved = learner.get_state(inference_only=True), learner.get_state()
    assert sent.keys() == saved.keys() == {f"model.{name}" for name in learner.adapters.names()}
    assert {tensor.dtype for tensor in sent.values()} == {torch.float32}
    assert not torch.allclose(logp(runner, rows), logp(learner, rows), atol=1e-2)
    runner.set_state(sent)
    resumed.set_state(saved)
    # Bit for bit, in half precision too: learner and runner compute alike.
    assert torch.equal(logp(runner, rows), logp(learner, rows))
    assert torch.equal(logp(resumed, rows), logp(learner, rows))


def test_weights_of_another_way_of_training_are_refused(build: Build) -> None:
    full, lora, larger = build(), build(lora=LORA), build(lora=LoraSettings(r=3))
    for module, state, message in (
        (full, lora.get_state(), "28 tensors are unknown to it"),
        (lora, full.get_state(), "are unknown to it"),
        (lora, larger.get_state(), "28 tensors have another shape"),
        (lora, {}, "28 tensors are missing"),
    ):
        with pytest.raises(ValueError, match=rf"policy: The weights do not fit the model: .*{message}"):
            module.set_state(state)


@both
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto", "float64"])
def test_the_exported_policy_has_the_live_logits(
    lora: LoraSettings | None, dtype: str, build: Build, folder: Path, batch: Any, rows: Any
) -> None:
    learner = build(lora=lora, dtype=dtype)
    for _ in range(2):
        learn(learner, batch)
    model = merged_policy(str(folder), dtype, lora, learner.get_state())
    assert model.dtype == {"auto": torch.float32}.get(dtype) or getattr(torch, dtype, None)
    with torch.no_grad():
        exported = score_responses(model.eval(), *rows, 0.7).logp_BT
    close = 0.2 if dtype == "bfloat16" else 1e-5
    torch.testing.assert_close(exported, logp(learner, rows), atol=close, rtol=close)
    assert not torch.allclose(exported.float(), logp(build(), rows), atol=0.5)
    assert model.state_dict().keys() == build().model.state_dict().keys()
    assert all(p.requires_grad for p in model.parameters())


@both
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_recomputed_where_that_is_asked_for(
    lora: LoraSettings | None, dtype: str, build: Build, batch: Any
) -> None:
    gradients = []
    for asked in (False, True):
        module = build(gradient_checkpointing=asked, lora=lora, dtype=dtype)
        calls: list[int] = []
        module.model.model.layers[1].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        module.model.eval()  # As it is loaded; RLlib trains in training mode.
        loss = module.forward_train(batch)["logp"].sum()
        assert len(calls) == 1
        loss.backward()
        assert len(calls) == (2 if asked else 1)
        gradients.append([p.grad for p in module.parameters() if p.requires_grad])
        assert all(gradient is not None for gradient in gradients[-1])
        assert any(gradient.any() for gradient in gradients[-1])
    torch.testing.assert_close(*gradients)


def test_runners_recompute_nothing(build: Build) -> None:
    learner, runner = build(gradient_checkpointing=True), build(gradient_checkpointing=True, runner=True)
    assert all(layer.gradient_checkpointing for layer in learner.model.model.layers)
    assert not any(layer.gradient_checkpointing for layer in runner.model.model.layers)


class Highest:
    def __init__(self, mask: torch.Tensor):
        self.term_mask_BT = mask

    def __call__(
        self, logits_NV: torch.Tensor, rows_N: torch.Tensor, places_N: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"highest": logits_NV.amax(-1), "column": rows_N.to(logits_NV.dtype)}


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@both
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "ddp"])
def test_a_term_on_the_logits_is_made_of_the_micro_batch(
    wrapped: bool, lora: LoraSettings | None, build: Build, batch: Any
) -> None:
    module: Any = build(lora=lora, gradient_checkpointing=True)
    if wrapped:
        module = TorchDDPRLModule(module)
    assert set(module.forward_train(batch)) == {"logp", "entropy"}
    wanted = torch.zeros((3, 4), dtype=torch.bool)
    wanted[1, :2] = True
    output = module.forward_train({**batch, LOGITS_TERM: Highest(wanted)})
    assert set(output) == {"logp", "entropy", "highest", "column"}
    assert not output["highest"][~wanted].any()
    assert output["highest"][wanted].all()
    assert output["column"][1].tolist() == [1, 1, 0, 0]
    output["highest"].sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in module.parameters())
    assert set(module.forward_train(batch)) == {"logp", "entropy"}


def test_loading_weights_into_a_module_leaves_its_parameters_the_same_objects(build: Build) -> None:
    module, other = build(), build()
    parameters = list(module.parameters())
    with torch.no_grad():
        other.model.model.norm.weight.add_(1)
    load_weights(module, other.state_dict())
    assert all(one is same for one, same in zip(parameters, module.parameters(), strict=True))
    assert torch.equal(module.model.model.norm.weight, other.model.model.norm.weight)
