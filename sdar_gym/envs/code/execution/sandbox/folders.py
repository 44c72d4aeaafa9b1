"""Private folders: emptied whatever an untrusted program left in them."""

from __future__ import annotations

import contextlib
import os
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty_folder(folder: str, mode: int = 0o700) -> None:
    """Removes all that is in a folder and resets its rights and attributes; no link is followed.

    Nested folders are moved up before they are removed, so that neither the depth of a tree nor the length of its paths
    matters. Nothing may write to the folder meanwhile.
    """
    with contextlib.suppress(PermissionError):  # Somebody else's, who lets us write.
        os.chmod(folder, mode)
    descriptor = os.open(folder, _FOLDER)
    try:
        serial = 0
        while names := os.listdir(descriptor):
            for name in names:
                serial = _remove(descriptor, name, serial)
        with contextlib.suppress(OSError):
            for attribute in os.listxattr(descriptor):
                os.removexattr(descriptor, attribute)
            os.utime(descriptor, (0, 0))
    finally:
        os.close(descriptor)


def remove_folder(folder: str) -> None:
    """Removes a folder and all that is in it; one that is gone already is no error, a link in its place goes alone."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(folder).st_mode):
            empty_folder(folder)
            os.rmdir(folder)
        else:
            os.unlink(folder)


def _remove(top: int, name: str, serial: int) -> int:
    """Removes a file, or an empty folder; what a folder holds is moved up for later."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return serial
    # Following no link: nothing runs that could exchange the folder now.
    os.chmod(name, 0o700, dir_fd=top)
    descriptor = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner in os.listdir(descriptor):
            if not stat.S_ISDIR(os.stat(inner, dir_fd=descriptor, follow_symlinks=False).st_mode):
                os.unlink(inner, dir_fd=descriptor)
                continue
            os.chmod(inner, 0o700, dir_fd=descriptor)  # Moving a folder changes its entry `..`.
            serial = _free_name(top, serial)
            os.rename(inner, f".moved-{serial}", src_dir_fd=descriptor, dst_dir_fd=top)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=top)
    return serial


def _free_name(top: int, serial: int) -> int:
    while True:
        serial += 1
        try:
            os.stat(f".moved-{serial}", dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return serial
