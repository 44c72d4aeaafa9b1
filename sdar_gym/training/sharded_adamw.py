"""Sharded AdamW: learners share out the optimizer's state by named tensors, and send each other the stepped weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

# Keys of a state: tensors by name, the ranks whose share it holds, and how many ranks there are.
BY_NAME, RANKS, COUNT = "by_name", "ranks", "count"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MASTER = "master"
_HALF = (torch.bfloat16, torch.float16)


def shares_of(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """The owner of each tensor: the largest first, each to the rank that has the least so far.

    Args:
        sizes: Number of elements by name.
        count: Number of ranks.

    Returns:
        The rank by name; the same in every process, since it follows from names and sizes alone.
    """
    loads = [0] * count
    owner: dict[str, int] = {}
    for name in sorted(sizes, key=lambda each: (-sizes[each], each)):
        owner[name] = min(range(count), key=loads.__getitem__)
        loads[owner[name]] += sizes[name]
    return {name: owner[name] for name in sizes}


class ShardedAdamW(torch.optim.Optimizer):
    """AdamW whose state is shared out over data-parallel learners, which all hold all weights and the same gradients.

    Each rank owns some of the tensors: it keeps their moments, steps them, and sends the others the new weights. A
    tensor is stepped by the arithmetic of `torch.optim.AdamW`, so the weights are those of the unsharded optimizer bit
    for bit. For weights in half precision the owner also keeps a copy in single precision (master weights), from which
    they are rounded after each step: a step of 1e-6 alone would round to nothing.

    Tensors are stepped one after the other, so that temporary arrays have the size of one tensor.

    Args:
        named: The trained parameters by name; the same on all ranks.
        lr: Learning rate, until `param_groups[0]["lr"]` is set.
        betas: As AdamW's.
        weight_decay: As AdamW's.
        rank: This process's number.
        count: Number of processes that share; 1 owns everything and sends nothing.

    Source: the idea of stage 1 of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054); master weights: Micikevicius et al.
        2018, arXiv 1710.03740.
    """

    def __init__(
        self,
        named: Mapping[str, torch.nn.Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        rank: int = 0,
        count: int = 1,
    ):
        super().__init__(list(named.values()), {"lr": lr})
        self._named = dict(named)
        self._owner = shares_of({name: parameter.numel() for name, parameter in named.items()}, count)
        self._rank, self._count = rank, count
        self._masters = {
            name: parameter.detach().float() for name, parameter in self._owned().items() if parameter.dtype in _HALF
        }
        # An optimizer for each tensor: its state is keyed by name whatever the share, and a step's temporary arrays are
        # those of one tensor.
        self._steps = {
            name: torch.optim.AdamW(
                [self._masters.get(name, parameter)], lr=lr, betas=betas, weight_decay=weight_decay, foreach=False
            )
            for name, parameter in self._owned().items()
        }
        #: Factor of the gradients in the next step, in single precision, for clipping; master weights only.
        self.gradient_scale: torch.Tensor | float = 1.0

    @property
    def has_masters(self) -> bool:
        """Whether any weight is in half precision, on this or on another rank."""
        return any(parameter.dtype in _HALF for parameter in self._named.values())

    @property
    def nbytes(self) -> int:
        """Bytes of this rank's state: moments and master weights."""
        states = [state for step in self._steps.values() for state in step.state.values()]
        moments = [state[moment] for state in states for moment in _MOMENTS]
        return sum(tensor.nbytes for tensor in [*moments, *self._masters.values()])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of the owned tensors, and the exchange of all weights; a collective call of all ranks.

        Args:
            closure: Not supported.

        Raises:
            ValueError: There is a closure.
        """
        if closure is not None:
            raise ValueError("ShardedAdamW takes no closure: compute the gradients before the step.")
        for name, step in self._steps.items():
            parameter, master = self._named[name], self._masters.get(name)
            if parameter.grad is None:
                continue
            if master is not None:
                if not torch.equal(master.to(parameter.dtype), parameter):
                    # Other weights were loaded since the last step.
                    master.copy_(parameter)
                master.grad = parameter.grad.float().mul_(self.gradient_scale)
            step.param_groups[0]["lr"] = self.param_groups[0]["lr"]
            step.step()
            if master is not None:
                parameter.copy_(master)
                master.grad = None
        self.gradient_scale = 1.0
        self._exchange()

    def named_state(self) -> dict[str, Any]:
        """This rank's share of the state, on the CPU; parts of all ranks make the whole by `merged_state`."""
        tensors: dict[str, dict[str, Any]] = {}
        for name, step in self._steps.items():
            for state in step.state.values():
                tensors[name] = {"step": float(state["step"])}
                tensors[name] |= {moment: state[moment].to("cpu", copy=True) for moment in _MOMENTS}
                if name in self._masters:
                    tensors[name][_MASTER] = self._masters[name].to("cpu", copy=True)
        return {BY_NAME: tensors, RANKS: [self._rank], COUNT: self._count}

    def load_named_state(self, state: Mapping[str, Any]) -> None:
        """Takes what this rank owns from a state of any number of ranks; weights are loaded before.

        Args:
            state: The whole, or one rank's part, the others to follow.

        Raises:
            ValueError: It belongs to another model.
        """
        tensors = state[BY_NAME]
        refuse_other_tensors(tensors, self._named)
        for name, step in self._steps.items():
            if name not in tensors:
                continue
            parameter = self._masters.get(name, self._named[name])
            step.state[parameter] = adam_state(tensors[name], parameter)
            if name in self._masters:
                # A state that was made without master weights has its weights in single precision.
                saved = tensors[name].get(_MASTER, self._named[name].detach())
                self._masters[name].copy_(torch.as_tensor(saved))

    def _owned(self) -> dict[str, torch.nn.Parameter]:
        return {name: each for name, each in self._named.items() if self._owner[name] == self._rank}

    def _exchange(self) -> None:
        if self._count == 1:
            return
        # As bytes, which every backend can send. In the order of the names, which all ranks share.
        sent = [
            dist.broadcast(parameter.detach().view(-1).view(torch.uint8), self._owner[name], async_op=True)
            for name, parameter in self._named.items()
        ]
        for work in sent:
            if work is not None:
                work.wait()


def merged_state(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole state from the parts of the ranks.

    Raises:
        ValueError: Parts are missing.
    """
    ranks = [rank for part in parts for rank in part[RANKS]]
    refuse_incomplete(ranks, int(parts[0][COUNT]))
    tensors = {name: entry for part in parts for name, entry in part[BY_NAME].items()}
    return {BY_NAME: tensors, RANKS: sorted(ranks), COUNT: int(parts[0][COUNT])}


def refuse_incomplete(ranks: Sequence[int], count: int) -> None:
    """Refuses a state without the shares of all ranks.

    Raises:
        ValueError: Says which are there.
    """
    if sorted(ranks) != list(range(count)):
        raise ValueError(
            f"The optimizer's state has the parts of ranks {sorted(ranks)} of {count} learners. Resume from a "
            "checkpoint that has all of them."
        )


def refuse_other_tensors(tensors: Mapping[str, Any], named: Mapping[str, torch.Tensor]) -> None:
    """Refuses a state with tensors that the model lacks, or of other shapes.

    Raises:
        ValueError: Names one.
    """
    wrong = [
        name
        for name, entry in tensors.items()
        if name not in named or torch.as_tensor(entry["exp_avg"]).shape != named[name].shape
    ]
    if wrong:
        raise ValueError(
            f"The optimizer's state does not fit the model: {len(wrong)} tensors are unknown to it or have another "
            f"shape, {min(wrong)} among them. Resume with the model that the checkpoint was made with."
        )


def adam_state(entry: Mapping[str, Any], parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state of one tensor as `torch.optim.AdamW` keeps it: copies, on the parameter's device."""
    moments = {
        moment: torch.as_tensor(entry[moment]).to(parameter.device, parameter.dtype, copy=True) for moment in _MOMENTS
    }
    return {"step": torch.tensor(float(entry["step"])), **moments}


def state_by_name(names: Sequence[str], by_number: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    """The state of an unsharded `torch.optim.AdamW`, which is by number, as a state of `ShardedAdamW`.

    Args:
        names: Of the parameters, in their order.
        by_number: `state` of the optimizer's `state_dict()`.
    """
    tensors = {
        names[int(number)]: {key: entry[key] for key in ("step", *_MOMENTS)} for number, entry in by_number.items()
    }
    return {BY_NAME: tensors, RANKS: [0], COUNT: 1}


@torch.no_grad()
def load_unsharded(
    optimizer: torch.optim.AdamW, named: Mapping[str, torch.nn.Parameter], state: Mapping[str, Any]
) -> None:
    """Loads a state of `ShardedAdamW`, or one rank's part of it, into an unsharded optimizer.

    Args:
        optimizer: Of these parameters.
        named: By name, in single precision.
        state: The whole, or one rank's part, the others to follow.

    Raises:
        ValueError: It belongs to another model.
    """
    refuse_other_tensors(state[BY_NAME], named)
    for name, entry in state[BY_NAME].items():
        optimizer.state[named[name]] = adam_state(entry, named[name])


def global_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The L2 norm of all gradients, at least in single precision: in half precision it would have three digits."""
    if not gradients:
        return torch.zeros(())
    norms = [
        torch.linalg.vector_norm(gradient, dtype=torch.float32 if gradient.dtype in _HALF else None)
        for gradient in gradients
    ]
    return torch.linalg.vector_norm(torch.stack(norms))
