"""The contract of engines, for vLLM itself on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from engine_contract import LONGEST, EngineContract
from transformers import PreTrainedModel

from sdar_gym.configs.sections import PolicySettings, RolloutSettings
from sdar_gym.policy.sizing import empty_model
from sdar_gym.rollout.engines import Engine
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.vllm_build import engine_options
from sdar_gym.rollout.engines.vllm_engine import VllmEngine
from sdar_gym.rollout.engines.vllm_process import process_state_kept, set_environment

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("vllm_cpu")]


class TestVllm(EngineContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    def make(self, model: PreTrainedModel, stop_ids: Sequence[int]) -> Engine:
        model.save_pretrained(self.place)
        policy = PolicySettings(model=str(self.place), device="cpu", torch_threads=1)
        rollout = RolloutSettings(engine="vllm", max_prompt_tokens=LONGEST)
        options = engine_options(EngineSpec(policy, rollout, torch.device("cpu"), None), str(self.place), model.config)
        set_environment(on_cpu=True)
        with process_state_kept():
            from vllm import LLM  # pyright: ignore[reportMissingImports]

            llm = LLM(**options)
        return VllmEngine(llm, empty_model(model.config), stop_ids=stop_ids)
