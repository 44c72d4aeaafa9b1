"""Bubblewrap as the maker of namespaces: its command line, and what runs inside."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from .layout import WORK, Layout
from .place import Bubblewrap

_INSIDE = "/sandbox"
# The package's folder is shown under another path, as it may lie in one that must stay hidden.
_START = f"import sys; sys.path.insert(0, {_INSIDE!r}); from sandbox import bubblewrap; bubblewrap.main()"


def command(bubblewrap: str, visible: Layout, place: dict[str, Any], channel: int, orders: int) -> list[str]:
    """The arguments that start a sandbox.

    Args:
        bubblewrap: The program's path.
        visible: What is shown of the host.
        place: The fields of a `Place` that do not depend on this.
        channel: Descriptor of the channel to the pool.
        orders: Descriptor of orders.
    """
    words = [bubblewrap, "--die-with-parent", "--as-pid-1", "--new-session"]
    words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if place["user"] is None:
        words += ["--unshare-user"]
    else:  # Root changes to the programs' user inside, where the interpreter's folder has been entered.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    executable = os.path.realpath(sys.executable)
    # The folders above, which only their owner could enter if bubblewrap made them.
    for folder in _parents([*visible.folders, *visible.files, executable], dict(visible.links)):
        words += ["--perms", "0755", "--dir", folder]
    for folder in visible.folders:
        words += ["--ro-bind", folder, folder]
    for folder in visible.hidden:
        words += ["--tmpfs", folder, "--remount-ro", folder]
    for file in visible.files:
        words += ["--dev-bind" if file.startswith("/dev/") else "--ro-bind", file, file]
    words += ["--ro-bind", executable, executable]
    for path, target in visible.links:
        words += ["--symlink", target, path]
    words += ["--ro-bind", os.path.dirname(os.path.abspath(__file__)), _INSIDE + "/sandbox"]
    words += ["--perms", "0777", "--size", str(place["limits"]["file_bytes"]), "--tmpfs", WORK]
    words += ["--remount-ro", "/", "--chdir", "/", "--"]
    settings = json.dumps({"place": place, "channel": channel, "orders": orders})
    return [*words, executable, "-s", "-S", "-P", "-B", "-c", _START, settings]


def _parents(paths: list[str], links: dict[str, str]) -> list[str]:
    found: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) != "/":
            found.add(path)
    return sorted(found - set(links))


def main() -> None:
    """Runs a sandbox that bubblewrap started; its settings are the first argument."""
    settings = json.loads(sys.argv[1])
    sys.path.remove(_INSIDE)
    from .preload import preload
    from .supervisor import supervise

    preload(everything=False)
    import site

    site.setquit()  # type: ignore[attr-defined]
    site.sethelper()  # type: ignore[attr-defined]
    place = Bubblewrap(**settings["place"], folder=WORK, user_is_shared=False)
    supervise(place, socket.socket(fileno=settings["channel"]), settings["orders"])
