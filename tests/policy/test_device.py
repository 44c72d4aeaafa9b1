"""Device selection of runners, evaluation and learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.configs import load_config
from sdar_gym.configs.sections import PolicySettings
from sdar_gym.policy.device import DeviceError, choose_device


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("there", "setting", "given", "device"),
    [
        (0, "auto", None, "cpu"),
        (2, "auto", None, "cuda:0"),
        (2, "cuda", None, "cuda:0"),
        (2, "cuda:1", None, "cuda:1"),
        (2, "cpu", None, "cpu"),
        # Remote workers: Ray says what they have, and shows them nothing else.
        (1, "auto", 0.5, "cuda:0"),
        (1, "auto", 0, "cpu"),
        (1, "cuda:3", 1, "cuda:0"),
        (1, "cuda", 0, "cpu"),
        (1, "cpu", 1, "cpu"),
    ],
)
def test_the_device_follows_from_the_setting_and_what_is_there(
    monkeypatch: pytest.MonkeyPatch, there: int, setting: str, given: float | None, device: str
) -> None:
    gpus(monkeypatch, there)
    assert str(choose_device(setting, gpus=given)) == device


@pytest.mark.parametrize(("there", "setting", "given"), [(0, "cuda", None), (1, "cuda:1", None), (0, "auto", 1)])
def test_a_gpu_that_is_not_there_is_one_message(
    monkeypatch: pytest.MonkeyPatch, there: int, setting: str, given: float | None
) -> None:
    gpus(monkeypatch, there)
    with pytest.raises(DeviceError, match=rf"sees {there} GPU\(s\) here. Set policy.device=cpu"):
        choose_device(setting, gpus=given)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "mps", "cuda:99999"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"policy.device must be auto, cpu, cuda or cuda:<number>"):
        PolicySettings(device=name)


class _ReachedTheEngineError(Exception):
    pass


@pytest.mark.parametrize("place", ["runner", "evaluation"])
def test_rollouts_happen_on_the_device(monkeypatch: pytest.MonkeyPatch, policy_folder: Path, place: str) -> None:
    """The meta device stands for a GPU: whatever is built for the engine has to be there."""
    from sdar_gym.algorithms.sdar import SDARConfig, env_runner
    from sdar_gym.evaluation import local_policy, panels
    from sdar_gym.rollout.engines import transformers_engine

    seen: list[str] = []

    def engine_of(model: Any, tokenizer: Any, rollout: Any) -> Any:
        seen.extend(parameter.device.type for parameter in model.parameters())
        raise _ReachedTheEngineError

    run = load_config("quickstart", [f"policy.model={policy_folder}", "evaluation.tasks=2"])
    for module in (env_runner, local_policy):
        monkeypatch.setattr(module, "choose_device", lambda setting, gpus=None: torch.device("meta"))
    monkeypatch.setattr(transformers_engine, "engine_of", engine_of)
    with pytest.raises(_ReachedTheEngineError):
        if place == "runner":
            env_runner.EpisodeRunner(config=SDARConfig.from_run(run))
        else:
            panels.play_panel(run, str(policy_folder))
    assert set(seen) == {"meta"}


def test_a_learner_in_the_driver_gets_the_gpu_that_is_there(
    monkeypatch: pytest.MonkeyPatch, policy_folder: Path
) -> None:
    from sdar_gym.algorithms.sdar import SDARConfig, config

    class Card:
        total_memory = 80 << 30

    gpus(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card())
    supply = config.supply
    monkeypatch.setattr(config, "supply", lambda: type(supply())(8, 2, "this machine"))

    def built(*changes: str) -> SDARConfig:
        made = SDARConfig.from_run(load_config("quickstart", [f"policy.model={policy_folder}", *changes]))
        made.check()
        return made

    assert (built().num_gpus_per_learner, built().local_gpu_idx) == (1, 0)
    assert built("policy.device=cuda:1").local_gpu_idx == 1
    assert built("policy.device=cpu").num_gpus_per_learner == 0
    assert built("resources.num_gpus_per_learner=0").num_gpus_per_learner == 0
    remote = built("resources.num_env_runners=2", "resources.num_learners=1")
    assert (remote.num_gpus_per_learner, remote.num_gpus_per_env_runner) == (1, 0.5)
