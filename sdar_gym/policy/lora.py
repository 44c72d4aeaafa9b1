"""LoRA adapters: training, merging and loading low-rank adapters of a frozen model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, LoraModel, PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

_NAME = "default"
# peft's name for every linear layer except the head.
_ALL_LINEAR = "all-linear"


class Adapters:
    """LoRA adapters injected into a model in place; the model stays a `transformers` model.

    Everything else in the model is frozen. In a half-precision model adapters are kept in single precision, since
    optimizer steps are small. They start at zero, so a fresh model equals the base model.

    Args:
        model: A model without adapters.
        r: Rank.
        alpha: The adapters' product is multiplied by alpha / r.
        dropout: Dropout on the adapters' inputs in training.
        target_modules: Last parts of the names of linear layers, such as `q_proj`; empty for all but the head.
        seed: Of their first values; whoever uses torch's random numbers does not notice.

    Raises:
        ValueError: The model has no such layers, or they are its embedding or head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        target_modules: Sequence[str] = (),
        seed: int = 0,
    ):
        chosen = list(target_modules)
        refuse_wrong_targets(model, chosen)
        config = LoraConfig(
            r=r,
            # peft accepts a float, although it declares an int.
            lora_alpha=alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=dropout,
            target_modules=chosen or _ALL_LINEAR,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._tuner = LoraModel(model, config, _NAME)
        self._model = model
        for parameter in self.parameters():
            if parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()

    def parameters(self) -> list[torch.nn.Parameter]:
        """The trained parameters."""
        return [parameter for _, parameter in self._named()]

    def names(self) -> frozenset[str]:
        """Names of the adapters' tensors in the model's state dict."""
        return frozenset(name for name, _ in self._named())

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Context manager: the model without its adapters."""
        layers = self._layers()
        before = [(parameter, parameter.requires_grad) for parameter in self.parameters()]
        try:
            for layer in layers:
                layer.enable_adapters(False)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)
            for parameter, required in before:
                parameter.requires_grad_(required)

    def merged(self) -> PreTrainedModel:
        """Merge the adapters into the weights and remove them; the model becomes an ordinary one.

        Merge in single precision and round afterwards: merging in half precision rounds twice.
        """
        self._tuner.merge_and_unload()
        return self._model.requires_grad_(True)

    def _layers(self) -> list[BaseTunerLayer]:
        return [module for module in self._model.modules() if isinstance(module, BaseTunerLayer)]

    def _named(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, p) for name, p in self._model.named_parameters() if f".{_NAME}." in name and "lora_" in name]


def merge_saved(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge saved adapters into the weights of their base model.

    Args:
        model: The base model, at least in single precision: merging rounds.
        folder: Adapters saved by `peft`.

    Raises:
        ValueError: The adapters belong to another model.
    """
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    wrapped = PeftModel(model, config, _NAME)
    report = wrapped.load_adapter(str(folder), _NAME)
    for what, names in (("missing", report.missing_keys), ("unknown", report.unexpected_keys)):
        if names:
            raise ValueError(f"{len(names)} tensors are {what}, {min(names)} among them.")
    return wrapped.merge_and_unload().requires_grad_(True)


def refuse_wrong_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    """Refuse target modules that do not exist or cannot have adapters.

    Raises:
        ValueError: Names the module and lists the possible ones.
    """
    ends = [model.get_output_embeddings(), model.get_input_embeddings()]
    linear = {name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    heads = {name.split(".")[-1] for name, module in model.named_modules() if any(module is end for end in ends)}
    for target in targets:
        if target in heads:
            raise ValueError(
                f"policy.lora.target_modules cannot include {target!r}: a teacher's head is kept as a plain matrix. "
                f"Choose among {', '.join(sorted(linear - heads))}."
            )
        if target not in linear:
            raise ValueError(
                f"policy.lora.target_modules has {target!r}, and {model.config.model_type} has no such linear layer; "
                f"choose among {', '.join(sorted(linear - heads))}, or leave it empty for all of them."
            )
