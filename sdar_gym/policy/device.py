"""Device selection of a process: a GPU if it has one, else the CPU."""

from __future__ import annotations

import torch


class DeviceError(ValueError):
    """A requested device that is not available."""


def choose_device(setting: str, *, gpus: float | None = None) -> torch.device:
    """The device of a process.

    Args:
        setting: `policy.device`: `auto`, `cpu`, `cuda` or `cuda:<number>`.
        gpus: GPUs that Ray assigned to this process, if it is a remote worker. Ray makes only these visible, so the
            first visible one is used, and a worker without GPUs uses the CPU. None in the driver, which sees all.

    Raises:
        DeviceError: There is no such device.
    """
    if setting == "cpu" or (gpus is not None and gpus <= 0):
        return torch.device("cpu")
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if setting == "auto":
        if gpus is not None and not visible:
            raise DeviceError(_missing(f"Ray gave this worker {gpus:g} GPU(s)", visible))
        return torch.device("cuda", 0) if visible else torch.device("cpu")
    index = 0 if gpus is not None else int(setting.partition(":")[2] or 0)
    if index >= visible:
        raise DeviceError(_missing(f"policy.device={setting}", visible))
    return torch.device("cuda", index)


def _missing(what: str, visible: int) -> str:
    return (
        f"{what}, but PyTorch {torch.__version__} sees {visible} GPU(s) here. Set policy.device=cpu, or install a CUDA "
        "build of PyTorch on a machine with a GPU (`sdar-gym doctor` and `nvidia-smi` list them)."
    )
