"""On-disk cache of compiled benchmark data: its folder, and atomic writes into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cache_folder(benchmark: str) -> Path:
    """`$XDG_CACHE_HOME/sdar_gym/<benchmark>`, by default in `~/.cache`; it may not exist yet.

    Raises:
        FileNotFoundError: The user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification says to ignore relative paths.
    if os.path.isabs(named):
        return Path(named, "sdar_gym", benchmark)
    try:
        return Path.home() / ".cache" / "sdar_gym" / benchmark
    except RuntimeError as error:
        raise FileNotFoundError("There is no home folder for a cache; set XDG_CACHE_HOME.") from error


def write_atomically(file: Path, parts: Iterable[bytes]) -> None:
    """Write a cache file under a temporary name and rename it, so that no process reads half of it.

    Args:
        file: The file, in a folder that is made if necessary.
        parts: Its content, in order.

    Raises:
        OSError: It cannot be written; nothing is left behind. A cache is optional: callers continue without it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".partial-", delete=False) as partial:
        try:
            for part in parts:
                partial.write(part)
            partial.close()
            os.replace(partial.name, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial.name)
            raise
