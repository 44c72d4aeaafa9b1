"""Private folders: emptied whatever an untrusted program left in them."""

from __future__ import annotations

import contextlib
import os
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty_folder(folder: str, mode: int = 0o700) -> None:
    """Removes all that is in a folder and resets its rights and attributes; no link is followed.

    Goes down and up again by one descriptor, so that neither the depth of a tree nor the length of its paths matters.
    Nothing may write to the folder meanwhile.
    """
    with contextlib.suppress(PermissionError):  # Somebody else's, who lets us write.
        os.chmod(folder, mode)
    place = os.open(folder, _FOLDER)
    try:
        # The folders on the way down, each with those beside it that are left to do.
        path: list[tuple[str, list[str]]] = []
        pending = _remove_files(place)
        while path or pending:
            if pending:
                name = pending.pop()
                os.chmod(name, 0o700, dir_fd=place)
                place = _step(place, name)
                path.append((name, pending))
                pending = _remove_files(place)
            else:
                place = _step(place, "..")
                name, pending = path.pop()
                os.rmdir(name, dir_fd=place)
        with contextlib.suppress(OSError):
            for attribute in os.listxattr(place):
                os.removexattr(place, attribute)
            os.utime(place, (0, 0))
    finally:
        os.close(place)


def remove_folder(folder: str) -> None:
    """Removes a folder and all that is in it; one that is gone already is no error, a link in its place goes alone."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(folder).st_mode):
            empty_folder(folder)
            os.rmdir(folder)
        else:
            os.unlink(folder)


def _remove_files(place: int) -> list[str]:
    """Removes all but folders; the folders' names."""
    folders = []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=place)
    return folders


def _step(place: int, name: str) -> int:
    there = os.open(name, _FOLDER, dir_fd=place)
    os.close(place)
    return there
