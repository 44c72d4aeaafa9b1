"""Whose weights the teacher has: the student's own, their average, old ones, the first ones, or another model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from sdar_gym.policy.chunked_head import head_of

if TYPE_CHECKING:
    from sdar_gym.policy.lora import Adapters

KINDS = ("live", "ema", "stale", "frozen", "external")
RESIDENCES = ("cpu", "device")


class TeacherWeights:
    """The parameters with which a teacher scores; also of the reference of a KL term, which is a frozen teacher.

    - `live`: the model as it is. Score before the first gradient step: then these are the weights of the rollout.
    - `ema`: after each update the teacher takes `rate` of the student, so 0.05 moves it five hundredths of the way.
      (SDPO writes it like this; others give the share that is kept, 0.95.)
    - `stale`: the student's weights of some updates ago.
    - `frozen`: those with which this object was made; make it before a checkpoint is restored into the model.
    - `external`: another model with the same tokenizer.

    Of `ema`, `stale` and `frozen` only the trained parameters are kept, tied ones once. While the teacher scores they
    change places with the live ones, one parameter after the other, so that the device never holds two models;
    gradients and optimizer do not notice. With adapters that is little, and `frozen` keeps nothing at all: it is the
    model with its adapters switched off.

    Args:
        kind: One of the above.
        model: The student, whose parameters are read and lent.
        rate: Of `ema`: share of the student taken in after each update, in (0, 1).
        every: Of `stale`: updates between refreshes.
        external: Of `external`: the other model; it is set to evaluation mode and never trained.
        residence: Where the weights are while nobody scores with them: `cpu`, or `device` for the student's own device,
            which is faster and takes the room of a second model.
        adapters: The student's adapters, if it is trained by them.

    Raises:
        ValueError: A setting is unknown, out of range, missing or without effect.
    """

    def __init__(
        self,
        kind: str,
        model: PreTrainedModel,
        *,
        rate: float | None = None,
        every: int | None = None,
        external: PreTrainedModel | None = None,
        residence: str = "cpu",
        adapters: Adapters | None = None,
    ):
        _check(kind, rate, every, external, residence)
        self.kind = str(kind)
        self._model = model
        self._rate, self._every = rate or 0.0, every or 0
        self._external = None if external is None else external.requires_grad_(False).eval()
        self._residence = residence
        self._adapters = adapters
        self._lent = False
        self._stored: dict[str, torch.Tensor] = {}
        if self.kind in ("ema", "stale") or (self.kind == "frozen" and adapters is None):
            # What is not trained is the same in teacher and student.
            trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
            if self.kind == "ema":
                _refuse_half(trained)
            self._stored = {name: p.detach().to(self._home(p), copy=True) for name, p in trained.items()}
        elif self._external is not None and residence == "device":
            _move(self._external, model.device)

    @property
    def nbytes(self) -> int:
        """What is kept beside the student, in bytes; another model is not counted."""
        return sum(tensor.nbytes for tensor in self._stored.values())

    @property
    def lent(self) -> bool:
        """Whether teacher and student have changed places, or are about to."""
        return self._lent

    @contextmanager
    def borrow(self) -> Iterator[PreTrainedModel]:
        """The model to score with: in evaluation mode, without gradients, and only within the `with` block.

        Afterwards, and after an exception too, the student is as it was. Do not call it between a forward and its
        backward pass. Enter an autocast context inside the block, not around it.

        Raises:
            RuntimeError: It is lent already.
        """
        self._refuse_while_lent()
        model = self._model if self._external is None else self._external
        modes = [(module, module.training) for module in model.modules()]
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            if self._external is not None:
                stack.callback(_move, model, model.device)
                _move(model, self._model.device)
            elif self._stored:
                stack.enter_context(self._exchanged())
            elif self.kind == "frozen" and self._adapters is not None:
                stack.enter_context(self._adapters.disabled())
            stack.callback(_restore_modes, modes)
            model.eval()
            yield model

    def after_update(self, step: int) -> None:
        """Follow the student.

        Args:
            step: Updates done so far, this one included: 1 after the first.
        """
        self._refuse_while_lent()
        if self.kind == "ema":
            with torch.no_grad():
                for name, parameter in self._parameters():
                    self._stored[name].lerp_(parameter.detach().to(self._home(parameter)), self._rate)
        elif self.kind == "stale" and step % self._every == 0:
            for name, parameter in self._parameters():
                self._stored[name].copy_(parameter.detach())

    def head_snapshot(self, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The teacher's language-model head for `head_logits`, valid until `after_update`.

        A live head is copied, since it learns during the update.

        Args:
            dtype: Precision to convert it to, once, rather than for each chunk; None leaves it.

        Returns:
            weight_VH and bias_V (None if there is none), without gradient, on the student's device.
        """
        model = self._model if self._external is None else self._external
        head = head_of(model)
        names = {id(parameter): name for name, parameter in model.named_parameters()}

        def taken(parameter: torch.Tensor) -> torch.Tensor:
            name = names.get(id(parameter))
            # While it is lent, the teacher's values are in the model and the student's in the store.
            stored = None if name is None or self._lent else self._stored.get(name)
            source = parameter.detach() if stored is None else stored
            copied = source.to(device=self._model.device, dtype=dtype or source.dtype)
            changes = stored is None and parameter.requires_grad
            return copied.clone() if changes and copied.data_ptr() == source.data_ptr() else copied

        return taken(head.weight), None if head.bias is None else taken(head.bias)

    def get_state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to keep, on the CPU: weights of `ema` and `stale`, nothing of the others."""
        self._refuse_while_lent()
        if self.kind not in ("ema", "stale"):
            return {}
        return {name: tensor.to("cpu", copy=True) for name, tensor in self._stored.items()}

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what `get_state` gave.

        Raises:
            ValueError: It belongs to another teacher or model.
        """
        self._refuse_while_lent()
        own = self._stored if self.kind in ("ema", "stale") else {}
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
        return torch.device("cpu") if self._residence == "cpu" else parameter.device

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        parameters, moved = self._parameters(), 0
        self._lent = True
        try:
            for name, parameter in parameters:
                self._exchange(name, parameter)
                moved += 1
            # Within autocast, halved copies of the other weights may be about.
            torch.clear_autocast_cache()
            yield
        finally:
            for name, parameter in parameters[:moved]:
                self._exchange(name, parameter)
            torch.clear_autocast_cache()
            self._lent = False

    def _exchange(self, name: str, parameter: torch.nn.Parameter) -> None:
        stored = self._stored[name]
        if _same_place(stored, parameter):
            self._stored[name], parameter.data = parameter.data, stored
        else:
            arriving = stored.to(parameter.device, copy=True)
            stored.copy_(parameter.data)
            parameter.data.copy_(arriving)

    def _refuse_while_lent(self) -> None:
        if self._lent:
            raise RuntimeError("The teacher's weights are lent; leave the `with teacher.borrow()` block first.")


def _check(kind: str, rate: float | None, every: int | None, external: PreTrainedModel | None, residence: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"Unknown teacher weights {str(kind)!r}; choose one of {', '.join(KINDS)}.")
    if residence not in RESIDENCES:
        raise ValueError(f"Unknown residence {residence!r} of the teacher; choose one of {', '.join(RESIDENCES)}.")
    for name, value, owner in (("rate", rate, "ema"), ("every", every, "stale"), ("external", external, "external")):
        if value is None and kind == owner:
            raise ValueError(f"A teacher with {owner} weights needs {name}.")
        if value is not None and kind != owner:
            raise ValueError(f"{name} has no effect on a teacher with {kind} weights; it belongs to {owner}.")
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"rate is the student's share and must be between 0 and 1, got {rate}; SDPO takes 0.05.")
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1, got {every}.")


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
