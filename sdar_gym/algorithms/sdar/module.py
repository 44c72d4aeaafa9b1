"""The RLModule: holds the language model and scores answers for the learner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from transformers import PreTrainedModel

from sdar_gym.configs.settings import LoraSettings
from sdar_gym.policy.load import load_model, load_weights
from sdar_gym.policy.logprobs import DenseTerm, score_answers

if TYPE_CHECKING:
    from sdar_gym.policy.lora import Adapters

# Columns of the training batch; rows are turns. Not called "seq_lens": RLlib counts tokens where it finds that name.
INPUT_IDS, PROMPT_LENGTH, ANSWER_MASK = "input_ids", "prompt_length", "answer_mask"


class PolicyModule(TorchRLModule):
    """A causal language model as an RLModule.

    `_forward_train` takes right-padded `input_ids`, `prompt_length` and `answer_mask`, and gives `logp` and `entropy`
    of the answer tokens, [rows, answer tokens], and whatever a dense term computes. Generation is the engine's
    business.

    Precision: with a half type, runners hold the model in it. A learner that trains the whole model keeps it in single
    precision and computes in the half type, since AdamW's steps of 1e-6 would round to nothing in bfloat16. A learner
    that trains adapters keeps the frozen model in the half type and the adapters in single precision.

    Attributes:
        model: The `transformers` model, adapters included.
        adapters: Its adapters, or None.
        compute_dtype: Half type in which a model kept in single precision computes, or None.
        dense_term: Set by the learner: makes of a micro-batch what is computed on the logits, or None for nothing.
    """

    model: PreTrainedModel
    adapters: Adapters | None
    compute_dtype: torch.dtype | None
    dense_term: Callable[[dict[str, Any]], DenseTerm | None] | None

    def setup(self) -> None:
        """Load the model that `model_config["model"]` names, and put adapters into it if `"lora"` has settings."""
        settings = self.model_config
        lora: LoraSettings | None = settings.get("lora")
        self.dense_term = None
        self.model, self.compute_dtype = _load(
            settings["model"], settings["dtype"], single=lora is None and not self.inference_only
        )
        self.adapters = None if lora is None else _adapters(self.model, lora)
        self._temperature = float(settings["temperature"])
        self._entropy_gradient = bool(settings["entropy_gradient"])
        if settings["gradient_checkpointing"] and not self.inference_only:
            _recompute_activations(self.model)

    def numerics(self) -> AbstractContextManager[Any]:
        """The context in which this learner computes; whoever scores with its model or its teacher enters it too."""
        if self.compute_dtype is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.compute_dtype)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        dense = None if self.dense_term is None else self.dense_term(batch)
        with self.numerics():
            scores = score_answers(
                self.model,
                batch[INPUT_IDS],
                batch[PROMPT_LENGTH],
                batch[ANSWER_MASK],
                self._temperature,
                entropy_gradient=self._entropy_gradient,
                dense=dense,
            )
        return {"logp": scores.logp_BT, "entropy": scores.entropy_BT, **scores.extra}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """The weights as CPU tensors (numpy, RLlib's usual form, has no bfloat16); of adapters nothing else.

        Args:
            components: RLlib's; there are no parts.
            not_components: RLlib's.
            inference_only: For runners: in the precision in which they compute.
            **kwargs: RLlib's.
        """
        weights = self.state_dict()
        if self.adapters is not None:
            weights = {name: weights[name] for name in sorted(f"model.{name}" for name in self.adapters.names())}
        return _on_cpu(weights, self.compute_dtype if inference_only else None)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take weights of `get_state`, in any precision.

        Raises:
            ValueError: They belong to another model, or to one that is trained in another way.
        """
        try:
            load_weights(self, {name: torch.as_tensor(value) for name, value in state.items()})
        except ValueError as error:
            raise ValueError(f"{self.model_config['model']}: {error}") from error


def merged_policy(name: str, dtype: str, lora: LoraSettings | None, state: Mapping[str, torch.Tensor]) -> Any:
    """The policy as an ordinary `transformers` model, as it is saved for others.

    Args:
        name: The model that training began with.
        dtype: Its precision, as in the settings.
        lora: Its adapters' settings, or None.
        state: What `PolicyModule.get_state` gave.

    Returns:
        The model in the precision of its runners, adapters merged into the weights. In half precision merging rounds,
        as any way of writing the sum of weight and adapter into a half type does.
    """
    model, compute_dtype = _load(name, dtype, single=True)
    adapters = None if lora is None else _adapters(model, lora)
    load_weights(model, {key.removeprefix("model."): torch.as_tensor(value) for key, value in state.items()})
    if adapters is not None:
        model = adapters.merged()
    return model if compute_dtype is None else torch.nn.Module.to(model, dtype=compute_dtype)


def _load(name: str, dtype: str, *, single: bool) -> tuple[PreTrainedModel, torch.dtype | None]:
    """The model, and the half type it computes in if it was asked for in half but is kept in single precision."""
    # Single precision that was saved need not go through half precision.
    model = load_model(name, "float32" if single and dtype == "bfloat16" else dtype)
    compute = torch.bfloat16 if dtype == "bfloat16" else model.dtype
    if compute == torch.float16:
        raise ValueError(
            f"policy.dtype={dtype} takes {name} in float16, whose gradients vanish without loss scaling; choose "
            "policy.dtype=bfloat16 or float32."
        )
    if not single or compute != torch.bfloat16:
        return model, None
    return model.float(), compute


def _adapters(model: PreTrainedModel, settings: LoraSettings) -> Adapters:
    # Only those who train adapters wait for peft to be imported.
    from sdar_gym.policy.lora import Adapters

    return Adapters(model, **asdict(settings))


def _recompute_activations(model: PreTrainedModel) -> None:
    """Keep a layer's input instead of its activations; has an effect in training mode, which RLlib sets."""
    # Renamed during the releases of `transformers` that are allowed. Non-reentrant: that form needs no gradient at the
    # inputs of layers, which below adapters have none, and keeps autocast and DDP as they were in the forward pass.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _on_cpu(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Copies on the CPU, floats in the given precision; tied weights are one tensor, and are pickled once."""
    copies: dict[tuple[int, torch.Size], torch.Tensor] = {}
    result = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place not in copies:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            copies[place] = tensor.detach().to("cpu", wanted, copy=True)
        result[name] = copies[place]
    return result
