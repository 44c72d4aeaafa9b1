"""Path settings: made absolute, never an address."""

from __future__ import annotations

from sdar_gym.paths import local_path


def absolute_path_setting(name: str, value: str, *, folder: bool = False) -> str:
    """An existing path as an absolute one; any other text (a name, a missing path) unchanged.

    Args:
        name: The setting, for messages.
        value: Its value.
        folder: Whether only a folder counts as an existing path: a file `gpt2` does not hide the hub's model `gpt2`.

    Raises:
        PathError: It is an address, or neither a path nor a name.
    """
    path = local_path(name, value)
    try:
        exists = path.is_dir() if folder else path.exists()
    except OSError:  # A part too long for the file system, or a folder that may not be read.
        exists = False
    return str(path) if exists or value.startswith(("~", "file:")) else value
