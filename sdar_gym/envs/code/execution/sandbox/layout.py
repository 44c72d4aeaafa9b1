"""File system of a sandbox: the few folders and files of the host that Python reads, by path."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from glob import glob

FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
FOLDERS = ("/usr/share/zoneinfo",)
PACKAGES = ("site-packages", "dist-packages")
WORK = "/tmp"  # The private folder, in all sandboxes with a file system of their own.


@dataclass(frozen=True)
class Layout:
    """What is visible inside, read-only, under the same paths as outside.

    Attributes:
        folders: Folders, none inside another.
        hidden: Folders in them that must look empty: installed packages.
        files: Single files, some of them devices.
        links: Symbolic links of the root folder, such as `/lib`, with what they point to.
    """

    folders: tuple[str, ...]
    hidden: tuple[str, ...]
    files: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


def layout() -> Layout:
    """What the interpreter that runs this needs: its standard library, and the shared libraries it has loaded."""
    standard = [path for path in sys.path if os.path.isdir(path) and os.path.basename(path) not in PACKAGES]
    standard.append(os.path.dirname(os.__file__))
    libraries = _shared_libraries()
    files = {path for path in FILES if os.path.exists(path)} | _loaders()
    folders = {os.path.abspath(path) for path in standard} | {path for path in FOLDERS if os.path.isdir(path)}
    for library in libraries:
        folder = os.path.dirname(library)
        # A library that lies among other things is shown alone.
        if any(part.startswith("lib") for part in folder.split("/")[-3:]):
            folders.add(folder)
        else:
            files.add(library)
    outer = tuple(
        sorted(path for path in folders if not any(path != other and _inside(path, other) for other in folders))
    )
    hidden = tuple(
        sorted({os.path.join(path, name) for path in folders for name in PACKAGES if _is_folder(path, name)})
    )
    links = tuple((path, os.readlink(path)) for path in ("/lib", "/lib32", "/lib64", "/libx32") if os.path.islink(path))
    return Layout(outer, hidden, tuple(sorted(files - {path for path in files if _covered(path, outer)})), links)


def _shared_libraries() -> set[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        paths = {line.split(maxsplit=5)[5].rstrip("\n") for line in lines if line.count(" ") > 4 and "/" in line}
    return {path for path in paths if ".so" in os.path.basename(path) and os.path.isfile(path)}


def _loaders() -> set[str]:
    """The dynamic loader under the names that executables ask for; one backend executes the interpreter inside."""
    patterns = ("/lib64/ld-linux*.so*", "/lib/ld-linux*.so*", "/lib/ld-musl*")
    names = [name for pattern in patterns for name in glob(pattern)]
    return {os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name)) for name in names}


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _covered(path: str, folders: tuple[str, ...]) -> bool:
    return any(_inside(path, folder) for folder in folders)


def _is_folder(path: str, name: str) -> bool:
    return os.path.isdir(os.path.join(path, name))
