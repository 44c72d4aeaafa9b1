"""The RLModule: holds the language model and scores answers for the learner."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from sdar_gym.policy.load import load_model
from sdar_gym.policy.logprobs import score_answers

# Columns of the training batch; rows are turns. Not called "seq_lens": RLlib counts tokens where it finds that name.
INPUT_IDS, PROMPT_LENGTH, ANSWER_MASK = "input_ids", "prompt_length", "answer_mask"


class PolicyModule(TorchRLModule):
    """A causal language model as an RLModule.

    `_forward_train` takes right-padded `input_ids`, `prompt_length` and `answer_mask`, and gives `logp` and `entropy`
    of the answer tokens, [rows, answer tokens]. Generation is the engine's business.
    """

    def setup(self) -> None:
        """Load the model that `model_config["model"]` names."""
        settings = self.model_config
        self.model = load_model(settings["model"], settings["dtype"])
        self._temperature = float(settings["temperature"])
        self._entropy_gradient = bool(settings["entropy_gradient"])
        if settings["gradient_checkpointing"] and not self.inference_only:
            self.model.gradient_checkpointing_enable()

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        scores = score_answers(
            self.model,
            batch[INPUT_IDS],
            batch[PROMPT_LENGTH],
            batch[ANSWER_MASK],
            self._temperature,
            entropy_gradient=self._entropy_gradient,
        )
        return {"logp": scores.logp_BT, "entropy": scores.entropy_BT}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """The state dict as CPU tensors: numpy, RLlib's usual form, has no bfloat16."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Load a state dict.

        Raises:
            ValueError: It belongs to another model.
        """
        tensors = {name: torch.as_tensor(value) for name, value in state.items()}
        try:
            self.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"The weights do not fit the model {self.model_config['model']!r}: {error}") from error
