"""Out of memory: how it is recognized, and the error of an engine that cannot go on with less."""

from __future__ import annotations

import torch

# Messages of errors that have no type of their own: PyTorch's allocator on the CPU, and cuBLAS.
_MESSAGES = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


class EngineMemoryError(RuntimeError):
    """The device's memory does not suffice for a single conversation."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine has no memory left.

    Args:
        error: Any error.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
