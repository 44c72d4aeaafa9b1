"""`RecordEpisodes`: writes each episode as a JSON line, in the format of a run folder's `episodes/*.jsonl`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from sdar_gym.paths import local_path
from sdar_gym.text import shortened, terminal_safe

_TASK_KEYS = ("task_id", "task_type", "split", "goal")


class RecordError(ValueError):
    """An episode that could not be written, for example because the disk is full or the folder read-only."""


class RecordEpisodes(gymnasium.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Appends a line to a JSON-lines file when an episode ends, or is aborted by `reset` or `close`.

    Keys are those of the run folder: `episode_id, task_id, task_type, split, goal, won, score, reward, ended,
    turns`, and in a turn `observation, action, valid_action, reward`. Model data (response, tokens) is not available
    here and left out. `ended` is `won`, `lost`, `truncated` or `unfinished`; an episode without turns is not written.
    Make this the outermost wrapper; otherwise it misses truncation by other wrappers.

    Environments and processes may share a file: each line is one atomic append. (On a network disk without atomic
    appends, give each process its own file.)

    Args:
        env: A text environment.
        path: The file, or a folder (an existing one, or a name that ends in `/`) in which each process on each machine
            writes `episodes-<machine>-<process>.jsonl`.
        name: Unique prefix of `episode_id`, followed by the number of the episode; by default machine, process and
            number of the wrapper in its process.

    Raises:
        RecordError: The file cannot be written.
        ValueError: The path is invalid, or the name is not a string.
    """

    _count = 0

    def __init__(self, env: gymnasium.Env[str, str], path: str | os.PathLike[str], name: str | None = None):
        self._path = local_path("path", path)
        self._folder = os.fspath(path).endswith(("/", os.sep)) or self._path.is_dir()
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"name must be a text, got {shortened(name)}; leave it out for one made up.")
        # Absolute, so that an environment made again from its spec in another folder continues the same file.
        RecordConstructorArgs.__init__(self, path=f"{self._path}{os.sep if self._folder else ''}", name=name)
        gymnasium.Wrapper.__init__(self, env)
        self._name = name
        self._number = 0
        self._take_serial()
        self._episode: dict[str, Any] | None = None
        self._observation = ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")  # Fails now instead of after the first episode.
        except OSError as error:
            raise _refused(self.path, error) from error

    @property
    def path(self) -> Path:
        """Output file of this process."""
        if not self._folder:
            return self._path
        return self._path / f"episodes-{socket.gethostname()}-{os.getpid()}.jsonl"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; a running one is written as `unfinished`.

        Raises:
            ValueError: The environment's `info` lacks a recorded key.
        """
        observation, info = super().reset(seed=seed, options=options)
        missing = [key for key in (*_TASK_KEYS, "won", "score") if key not in info]
        if missing:
            raise ValueError(
                f"RecordEpisodes needs info[{missing[0]!r}], and {type(self.unwrapped).__name__} does not provide it; "
                "add it to the info of reset(), or make the environment a TextEnv."
            )
        self._write("unfinished")
        self._episode = {
            "episode_id": f"{self._label()}/{self._number}",
            **{key: info[key] for key in _TASK_KEYS},
            "won": bool(info["won"]),
            "score": float(info["score"]),
            "reward": 0.0,
            "ended": "",
            "turns": [],
        }
        self._number += 1
        self._observation = observation
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one turn; the last turn of an episode writes it.

        Raises:
            RecordError: It cannot be written. The turn was played, but its result is lost.
        """
        observation, reward, terminated, truncated, info = super().step(action)
        episode = self._episode
        if episode is not None:
            turn = {"observation": self._observation, "action": action}
            turn |= {"valid_action": bool(info["action_valid"]), "reward": float(reward)}
            episode["turns"].append(turn)
            episode["reward"] += float(reward)
            episode["won"], episode["score"] = bool(info["won"]), float(info["score"])
        self._observation = observation
        if terminated or truncated:
            self._write("won" if info["won"] else "lost" if terminated else "truncated")
        return observation, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Close, and write a running episode as `unfinished`; may be called twice."""
        self._write("unfinished")
        super().close()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy, in this or another process, must not reuse the episode ids.
        self.__dict__.update(state)
        self._take_serial()

    def _take_serial(self) -> None:
        # The name is built when it is used, since the process id changes with a fork.
        self._serial = RecordEpisodes._count
        RecordEpisodes._count += 1

    def _label(self) -> str:
        return self._name or f"{socket.gethostname()}-{os.getpid()}-{self._serial}"

    def _write(self, ended: str) -> None:
        episode, self._episode = self._episode, None
        if episode is None or not episode["turns"]:
            return
        episode["ended"] = ended
        # ASCII, so that a lone surrogate in an action is escaped.
        line = json.dumps(episode, ensure_ascii=True) + "\n"
        try:
            self._append(line.encode("ascii"))
        except OSError as error:
            raise _refused(self.path, error) from error

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(handle, line)
            if written < len(line):
                # Terminate the partial line, so that it does not corrupt the next one.
                os.write(handle, b"\n")
                raise OSError(28, f"{written} of {len(line)} bytes written")
        finally:
            os.close(handle)


def _refused(path: Path, error: OSError) -> RecordError:
    place, reason = terminal_safe(str(path)), error.strerror or str(error)
    return RecordError(f"Episodes cannot be written to {place}: {reason}. Free disk space, or record to another place.")
