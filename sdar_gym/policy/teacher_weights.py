"""Teacher weights: live, exponential moving average, stale, frozen, or another model; swapped in while they score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from sdar_gym.algorithms.objectives.teacher import Weights
from sdar_gym.policy.chunked_head import head_of

if TYPE_CHECKING:
    from sdar_gym.policy.lora import Adapters


class TeacherWeights:
    """The weights of a teacher, or of the reference of a KL term, which is a frozen teacher.

    - `live`: the model as it is. Score before the first gradient step: then these are the weights of the rollout.
    - `ema`: after each update the teacher moves towards the student by `rate`, so 0.05 is 5 % of the way. (SDPO's
      notation; others give the share that is kept, 0.95.)
    - `stale`: the student's weights at the latest refresh, every `every` updates.
    - `frozen`: the student's weights when this object is made; make it before a checkpoint is restored.
    - `external`: another model with the same tokenizer.

    For `ema`, `stale` and `frozen` only the trained parameters are stored, tied ones once. While the teacher scores
    they are swapped in, one parameter after the other, so that the device never holds two models; gradients and
    optimizer are not affected. With adapters only these are stored, and `frozen` stores nothing: it is the model with
    its adapters disabled.

    Args:
        kind: The kind, as above.
        model: The student; its parameters are read and swapped.
        rate: For `ema`: step towards the student after each update, in (0, 1).
        every: For `stale`: updates between refreshes.
        external: For `external`: the other model; it is set to evaluation mode and never trained.
        offload: Whether the weights are kept in main memory while they are not in use, instead of on the student's
            device, which is faster and uses the memory of a second model.
        adapters: The student's adapters, if these are trained.

    Raises:
        ValueError: The trained weights of an `ema` teacher are in half precision.
    """

    def __init__(
        self,
        kind: Weights,
        model: PreTrainedModel,
        *,
        rate: float | None = None,
        every: int | None = None,
        external: PreTrainedModel | None = None,
        offload: bool = True,
        adapters: Adapters | None = None,
    ):
        self.kind = Weights(kind)
        self._model = model
        self._rate, self._every = rate or 0.0, every or 0
        self._external = None if external is None else external.requires_grad_(False).eval()
        self._offload = offload
        self._adapters = adapters
        self._swapped = False
        self._stored: dict[str, torch.Tensor] = {}
        if self.kind in (Weights.EMA, Weights.STALE) or (self.kind is Weights.FROZEN and adapters is None):
            # Parameters that are not trained are the same in teacher and student.
            trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
            if self.kind is Weights.EMA:
                _refuse_half(trained)
            self._stored = {name: p.detach().to(self._home(p), copy=True) for name, p in trained.items()}
        elif self._external is not None and not offload:
            _move(self._external, model.device)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored weights; an external model is not counted."""
        return sum(tensor.nbytes for tensor in self._stored.values())

    @property
    def in_use(self) -> bool:
        """Whether the teacher's weights are swapped in."""
        return self._swapped

    @contextmanager
    def swapped_in(self) -> Iterator[PreTrainedModel]:
        """The model with the teacher's weights, in evaluation mode and without gradients, within the `with` block.

        Afterwards, also after an exception, the student is as before. Do not use it between a forward and its backward
        pass. Enter an autocast context inside the block, not around it.

        Raises:
            RuntimeError: The weights are swapped in already.
        """
        self._refuse_while_swapped()
        model = self._model if self._external is None else self._external
        modes = [(module, module.training) for module in model.modules()]
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            if self._external is not None:
                stack.callback(_move, model, model.device)
                _move(model, self._model.device)
            elif self._stored:
                stack.enter_context(self._exchanged())
            elif self.kind is Weights.FROZEN and self._adapters is not None:
                stack.enter_context(self._adapters.disabled())
            stack.callback(_restore_modes, modes)
            model.eval()
            yield model

    def after_update(self, step: int) -> None:
        """Updates the stored weights after an update of the student.

        Args:
            step: Updates done so far, this one included: 1 after the first.
        """
        self._refuse_while_swapped()
        if self.kind is Weights.EMA:
            with torch.no_grad():
                for name, parameter in self._parameters():
                    self._stored[name].lerp_(parameter.detach().to(self._home(parameter)), self._rate)
        elif self.kind is Weights.STALE and step % self._every == 0:
            for name, parameter in self._parameters():
                self._stored[name].copy_(parameter.detach())

    def head_snapshot(self, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The teacher's language-model head for `head_logits`, valid until `after_update`.

        A live head is copied, since training changes it during the update.

        Args:
            dtype: Precision to convert it to, once rather than for each chunk; None keeps its own.

        Returns:
            weight_VH and bias_V (None without bias), without gradient, on the student's device.
        """
        model = self._model if self._external is None else self._external
        head = head_of(model)
        names = {id(parameter): name for name, parameter in model.named_parameters()}

        def taken(parameter: torch.Tensor) -> torch.Tensor:
            name = names.get(id(parameter))
            # While swapped in, the teacher's values are in the model and the student's in the store.
            stored = None if name is None or self._swapped else self._stored.get(name)
            source = parameter.detach() if stored is None else stored
            copied = source.to(device=self._model.device, dtype=dtype or source.dtype)
            changes = stored is None and parameter.requires_grad
            return copied.clone() if changes and copied.data_ptr() == source.data_ptr() else copied

        return taken(head.weight), None if head.bias is None else taken(head.bias)

    def get_state(self) -> dict[str, torch.Tensor]:
        """State for a checkpoint, on the CPU: the weights of `ema` and `stale`; empty for the others."""
        self._refuse_while_swapped()
        if self.kind not in (Weights.EMA, Weights.STALE):
            return {}
        return {name: tensor.to("cpu", copy=True) for name, tensor in self._stored.items()}

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: It belongs to another teacher or model.
        """
        self._refuse_while_swapped()
        own = self._stored if self.kind in (Weights.EMA, Weights.STALE) else {}
        wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
        if wrong:
            raise ValueError(
                f"The saved weights do not fit this {self.kind} teacher: {len(wrong)} tensors differ, {wrong[0]} among "
                "them. Resume with the model, the adapters and the teacher that the checkpoint was made with."
            )
        for name, tensor in own.items():
            tensor.copy_(torch.as_tensor(state[name]))

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, parameter) for name, parameter in self._model.named_parameters() if name in self._stored]

    def _home(self, parameter: torch.Tensor) -> torch.device:
        return torch.device("cpu") if self._offload else parameter.device

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        parameters, moved = self._parameters(), 0
        self._swapped = True
        try:
            for name, parameter in parameters:
                self._exchange(name, parameter)
                moved += 1
            # Within autocast, half-precision copies of the other weights may be cached.
            torch.clear_autocast_cache()
            yield
        finally:
            for name, parameter in parameters[:moved]:
                self._exchange(name, parameter)
            torch.clear_autocast_cache()
            self._swapped = False

    def _exchange(self, name: str, parameter: torch.nn.Parameter) -> None:
        stored = self._stored[name]
        if _same_place(stored, parameter):
            self._stored[name], parameter.data = parameter.data, stored
        else:
            arriving = stored.to(parameter.device, copy=True)
            stored.copy_(parameter.data)
            parameter.data.copy_(arriving)

    def _refuse_while_swapped(self) -> None:
        if self._swapped:
            raise RuntimeError(
                "The teacher's weights are swapped in; leave the `with teacher.swapped_in()` block first."
            )


def _refuse_half(trained: Mapping[str, torch.Tensor]) -> None:
    half = [name for name, p in trained.items() if p.dtype in (torch.bfloat16, torch.float16)]
    if half:
        raise ValueError(
            f"An ema teacher needs trained weights in single precision, and {half[0]} is {trained[half[0]].dtype}: in "
            "half precision small steps round to nothing."
        )


def _same_place(stored: torch.Tensor, parameter: torch.Tensor) -> bool:
    return stored.device == parameter.device


def _move(model: PreTrainedModel, device: torch.device) -> None:
    torch.nn.Module.to(model, device)


def _restore_modes(modes: list[tuple[torch.nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training
