"""The RLModule: holds the language model and scores responses for the learner."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from transformers import PreTrainedModel

from sdar_gym.configs.sections import LoraSettings
from sdar_gym.policy.load import load_weights
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.policy_model import load_policy_model, on_cpu, recompute_activations
from sdar_gym.training.collate import INPUT_IDS, RESPONSE_MASK, RESPONSE_POSITION

if TYPE_CHECKING:
    from sdar_gym.policy.lora import Adapters

# Key of a micro-batch under which the learner hands over a `LogitsTerm`.
LOGITS_TERM = "logits_term"


class PolicyModule(TorchRLModule):
    """A causal language model as an RLModule.

    `_forward_train` takes right-padded `input_ids`, `response_position` and `response_mask`, and returns `logp` and
    `entropy` of the response tokens, [rows, response tokens], and the values of the micro-batch's `logits_term`, if it
    has one. Generation is the engine's task.

    Precision: a learner that trains the whole model in half precision keeps the weights in single precision and
    computes in half precision, since AdamW's steps of 1e-6 would round to nothing in bfloat16. With
    `policy.half_weights` it keeps them in half precision, and the optimizer keeps those in single precision. A learner
    that trains adapters keeps the frozen model in half precision and the adapters in single precision.

    Attributes:
        model: The `transformers` model, adapters included.
        adapters: Its adapters, or None.
        compute_dtype: Half-precision type in which a model kept in single precision computes, or None.
    """

    model: PreTrainedModel
    adapters: Adapters | None
    compute_dtype: torch.dtype | None

    @override(TorchRLModule)
    def setup(self) -> None:
        """Loads the model `model_config["model"]`, with adapters if `"lora"` has settings."""
        settings = self.model_config
        lora: LoraSettings | None = settings.get("lora")
        self.model, self.adapters, self.compute_dtype = load_policy_model(
            settings["model"],
            settings["dtype"],
            lora,
            trained=not self.inference_only,
            half_weights=settings["half_weights"],
        )
        self._temperature = float(settings["temperature"])
        self._entropy_gradient = bool(settings["entropy_gradient"])
        if settings["gradient_checkpointing"] and not self.inference_only:
            recompute_activations(self.model)

    def numerics(self) -> AbstractContextManager[Any]:
        """The autocast context of this learner, in which its model and its teacher score."""
        if self.compute_dtype is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.compute_dtype)

    @override(TorchRLModule)
    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with self.numerics():
            scores = score_responses(
                self.model,
                batch[INPUT_IDS],
                batch[RESPONSE_POSITION],
                batch[RESPONSE_MASK],
                self._temperature,
                entropy_gradient=self._entropy_gradient,
                term=batch.get(LOGITS_TERM),
            )
        return {"logp": scores.logp_BT, "entropy": scores.entropy_BT, **scores.extra}

    @override(TorchRLModule)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """The weights as CPU tensors (numpy, RLlib's usual form, has no bfloat16); with adapters only those.

        Args:
            components: RLlib's; not used.
            not_components: RLlib's; not used.
            inference_only: Whether to return the precision in which runners compute.
            **kwargs: RLlib's.
        """
        weights = self.state_dict()
        if self.adapters is not None:
            weights = {name: weights[name] for name in sorted(f"model.{name}" for name in self.adapters.names())}
        return on_cpu(weights, self.compute_dtype if inference_only else None)

    @override(TorchRLModule)
    def set_state(self, state: dict[str, Any]) -> None:
        """Loads weights of `get_state`, in any precision.

        Raises:
            ValueError: They belong to another model, or to one that is trained in another way.
        """
        try:
            load_weights(self, {name: torch.as_tensor(value) for name, value in state.items()})
        except ValueError as error:
            raise ValueError(f"{self.model_config['model']}: {error}") from error
