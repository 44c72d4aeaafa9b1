"""ALFWorld's original engine (TextWorld) behind the interface of `Engine`, for step-by-step parity checks.

For checks only: it is a thousand times slower than the native engine, and passes expressions in the grammar of the game
file to Python's `eval`. Only use it with game files that you trust like a program.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.export import to_tw_pddl
from sdar_gym.envs.alfworld.game_source import GAME_FILE, decoded, read_bounded
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game
from sdar_gym.extras import require

# TextWorld's parser and the planner's translator are module-level objects.
_LOCK = threading.Lock()
# Upstream environments of closed engines, for reuse: each new one copies and loads the planner, and unloading it
# crashes Python at exit.
_IDLE: list[Any] = []


class ReferenceEngine:
    """A running game on TextWorld's `PddlEnv` with ALFWorld's display names.

    This class reverts side effects of upstream: it overwrites `sys.argv`, its import sets `ALFWORLD_DATA`, and it emits
    warnings. Remaining side effects: TextWorld is not thread-safe (this class serializes calls; use processes for
    parallel games), the first import creates `~/.cache/alfworld`, and each open engine copies a planner of 34 MB into
    the temporary folder, which must allow executables. A closed engine passes its planner on to the next one.

    Args:
        game: A `.tw-pddl` file, its text, or a game, which is exported to one.

    Raises:
        MissingExtraError: `alfworld` or `textworld` is not installed.
        FileNotFoundError: There is no such file.
        GameFormatError: The file is too large for a game, or not UTF-8.
    """

    def __init__(self, game: str | os.PathLike[str] | Game):
        require("alfworld", "ALFWorld's reference engine")
        self._content = _text(game)
        self._commands: list[str] = []
        fields = json.loads(self._content)
        self._env: Any = _IDLE.pop() if _IDLE else _new_environment()
        with _contained():
            self._env.load(fields)
        self._state: Any = None
        self._intro = ""
        self.reset()

    def reset(self) -> None:
        """Restart the game without loading it again."""
        with _contained():
            self._state = self._opened().reset()
        self._intro = self._state["feedback"]
        self._commands.clear()

    def intro(self) -> str:
        """The first observation."""
        return self._intro

    def admissible(self) -> tuple[str, ...]:
        """All admissible commands, sorted as strings."""
        return tuple(self._state["admissible_commands"])

    def act(self, command: str) -> tuple[str, bool]:
        """Execute a command.

        Args:
            command: Any text.

        Returns:
            The feedback text, and whether the command was admissible.
        """
        admissible = command.strip() in self._state["admissible_commands"]
        self._commands.append(command)
        with _contained():
            self._state, _, _ = self._opened().step(command)
        return self._state["feedback"], admissible

    @property
    def won(self) -> bool:
        """Whether the goal holds in the current state."""
        return bool(self._state["won"])

    def close(self) -> None:
        """Close, and pass the planner on to the next engine; may be called twice."""
        if self._env is not None:
            _IDLE.append(self._env)
        self._env = None

    def __reduce__(self) -> Any:
        # The planner cannot be pickled; the receiving process replays the commands.
        return _replayed, (self._content, tuple(self._commands))

    def _opened(self) -> Any:
        if self._env is None:
            raise ValueError("This reference engine is closed; make a new one.")
        return self._env


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the two engines.

    Attributes:
        step: Number of executed commands; 0 is the start of the game.
        command: The last command; None at the start.
        what: `observation`, `valid`, `admissible` or `won`.
        native: Value of the native engine.
        reference: Value of ALFWorld's engine.
    """

    step: int
    command: str | None
    what: str
    native: Any
    reference: Any


class View(NamedTuple):
    """Observable output of an engine after a command, which must be equal in both engines."""

    observation: str
    valid: bool
    admissible: tuple[str, ...]
    won: bool


def views(engine: Engine | ReferenceEngine, commands: Sequence[str]) -> list[View]:
    """Output of an engine at the start of a game and after each command."""
    found = [View(engine.intro(), True, engine.admissible(), engine.won)]
    for command in commands:
        found.append(View(*engine.act(command), engine.admissible(), engine.won))
    return found


def differences(native: Sequence[View], reference: Sequence[View], commands: Sequence[str]) -> list[Difference]:
    """Differences between the outputs of two engines for the same commands."""
    return [
        Difference(step, commands[step - 1] if step else None, what, getattr(ours, what), getattr(theirs, what))
        for step, (ours, theirs) in enumerate(zip(native, reference, strict=True))
        for what in View._fields
        if getattr(ours, what) != getattr(theirs, what)
    ]


def compare(game: str | os.PathLike[str] | Game, commands: Sequence[str]) -> list[Difference]:
    """Play a game on both engines and compare observation, admissible commands and `won` at the start and each step.

    Args:
        game: A trusted `.tw-pddl` file, or a game.
        commands: The commands; may include inadmissible ones.

    Returns:
        All differences; after the first one the engines may be in different states.

    Raises:
        MissingExtraError: `alfworld` or `textworld` is not installed.
        GameFormatError: The file cannot be read.
    """
    native = Engine(game if isinstance(game, Game) else load_file(game))
    with closing(ReferenceEngine(game)) as reference:
        return differences(views(native, commands), views(reference, commands), commands)


def load_file(path: str | os.PathLike[str]) -> Game:
    """Load a `.tw-pddl` file, with the task id from its path.

    Raises:
        FileNotFoundError: There is no such file.
        GameFormatError: It cannot be read.
    """
    file = Path(path).resolve()
    return parse_game(_content(file), "/".join(file.parts[-4:-1]), str(file))


def record_commands(game: Game, count: int, seed: int, *, walk: bool = True) -> tuple[str, ...]:
    """Commands for a parity check: the walkthrough of a game, then random admissible commands.

    Args:
        game: The game, played on the native engine to find admissible commands.
        count: Number of commands; a longer walkthrough is truncated.
        seed: Seed of the random commands.
        walk: Whether to start with the walkthrough.
    """
    rng, engine = Random(seed), Engine(game)
    commands: list[str] = []
    while len(commands) < count:
        choices = engine.admissible()
        position = len(commands)
        walking = walk and position < len(game.walkthrough)
        command = game.walkthrough[position] if walking else choices[int(rng.random() * len(choices))]
        engine.act(command)
        commands.append(command)
    return tuple(commands)


def _text(game: str | os.PathLike[str] | Game) -> str:
    if isinstance(game, Game):
        return to_tw_pddl(game)
    # The text of a game file starts with a brace, unlike a path.
    if isinstance(game, str) and game.lstrip().startswith("{"):
        return game
    return decoded(_content(Path(game)), str(game))


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        return read_bounded(stream, GAME_FILE, str(file))


def _replayed(content: str, commands: tuple[str, ...]) -> ReferenceEngine:
    engine = ReferenceEngine(content)
    for command in commands:
        engine.act(command)
    return engine


def _new_environment() -> Any:
    with _contained():
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler  # pyright: ignore[reportMissingImports]
        from textworld import EnvInfos  # pyright: ignore[reportMissingImports]
        from textworld.envs import PddlEnv  # pyright: ignore[reportMissingImports]

        infos = EnvInfos(feedback=True, admissible_commands=True, won=True)
        return AlfredDemangler(PddlEnv(infos), shuffle=False)


@contextmanager
def _contained() -> Iterator[None]:
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments, data = sys.argv, os.environ.get("ALFWORLD_DATA")
        try:
            yield
        finally:
            sys.argv = arguments
            if data is None:
                # Otherwise `ALFWorldEnv` would use that (empty) folder by default.
                os.environ.pop("ALFWORLD_DATA", None)
