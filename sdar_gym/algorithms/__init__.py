"""Training algorithms: settings of losses, methods, loss functions, and the RLlib side, each in its folder.

- `objectives/`: settings of a loss, plain data without torch.
- `methods/`: one file per method or small family with its presets, gate or advantage shaper, sources and deviations.
- `losses/`: pure functions of tensors.
- `sdar/`: the RLlib side, `SDARConfig` and `SDAR`; the only package that builds on RLlib.

Tensor letters in names: B turns or rows of a batch, T response tokens of a turn, E episodes, G groups, N entries of any
kind, S tokens of a sequence, L response tokens of a sequence, V vocabulary, H hidden size, K top-k tokens, R sequences
that have distillation targets, M turns of one episode. A digit is a fixed size. `tests/test_tensor_letters.py` reads
this list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdar_gym.algorithms.methods import METHODS, Method, get_method
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper, register_shaper
from sdar_gym.algorithms.objectives.gates import Gate, GateInputs, register_gate
from sdar_gym.algorithms.objectives.objective import Objective

if TYPE_CHECKING:
    from sdar_gym.algorithms.sdar import SDAR, SDARConfig

__all__ = [
    "METHODS",
    "SDAR",
    "AdvantageShaper",
    "Gate",
    "GateInputs",
    "Method",
    "Objective",
    "SDARConfig",
    "get_method",
    "register_gate",
    "register_shaper",
]


def __getattr__(name: str) -> Any:
    if name in ("SDAR", "SDARConfig"):  # With them come Ray and torch.
        from sdar_gym.algorithms import sdar

        return getattr(sdar, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
