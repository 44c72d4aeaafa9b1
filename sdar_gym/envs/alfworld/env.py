"""`sdar/ALFWorld-v0`: household tasks in the text version of ALFRED, on a native engine."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.game_source import SPLITS, GameSource, MissingGamesError, check_split
from sdar_gym.envs.alfworld.generator import GeneratedSource, task_type_of
from sdar_gym.envs.alfworld.reward import goal_conditions
from sdar_gym.envs.alfworld.sources import load_cached, open_source
from sdar_gym.envs.alfworld.world import TASK_TYPES, Game
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.extras import require
from sdar_gym.paths import local_path
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, text_list

if TYPE_CHECKING:
    from sdar_gym.envs.alfworld.reference import ReferenceEngine

# Value of `games` that selects generated games instead of a path to real ones.
GENERATED = "generated"
_VARIABLE = "ALFWORLD_DATA"
GOALS = ("templated", "human")
BACKENDS = ("native", "textworld")
# Canonical numbers only, so that an episode has one id.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")


class ALFWorldEnv(TextEnv):
    """ALFWorld: text-based household tasks.

    Task:
        Find objects in a room, change them (heat, cool, clean) and put them in or on a receptacle; or examine one under
        a lamp. Six task types. The first observation ends with the task sentence.

    Observation:
        The text feedback, identical to ALFWorld 0.4.2 on TextWorld.

    Action:
        One command, such as `go to fridge 1` or `take apple 1 from fridge 1`. It must match an admissible command
        exactly; any other text gives "Nothing happens." and counts as a turn.

    Reward:
        `success_reward` when the goal is reached, else 0. Default 1, as in ALFWorld.

    Episode end:
        Terminated when won; truncated after `max_steps` turns (50 as in the published runs).

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`, and
        `goal_condition_rate`: the fraction of ALFRED's goal conditions that hold, 1 exactly when won (0 or 1 on the
        `textworld` backend, which does not expose its state).

    Splits:
        `train`, `valid_seen`, `valid_unseen`: the official folders of real games. Generated games have the same three:
        `valid_unseen` uses floor plans that do not occur in `train`.

    Arguments:
        games: `"generated"`, or a folder or archive (zip or tar) of real games; by default `$ALFWORLD_DATA` if it is
            set, else generated games.
        split: The split that `reset()` draws from.
        task_types: One task type or several; default all six.
        scene: Size of generated rooms, `full` or `small`.
        max_steps: Turn limit.
        success_reward: Reward for winning.
        goals: `templated` for the task sentence of the game, `human` for a sentence by an annotator (from the
            `traj_data.json` beside a real game). The task id determines which one; `<task id>#2` selects the third.
        backend: `native`, or `textworld` for ALFWorld's original engine (extra `alfworld`), for parity checks only: it
            is a thousand times slower and executes code from the game file.

    Differences from the reference:
        Only the engine: no planner, no expert plans in `info`. The grammar inside a game file is never evaluated.
        Human goals are used verbatim, except for white space.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        games: str | os.PathLike[str] | None = None,
        split: str = "train",
        task_types: str | Sequence[str] | None = None,
        scene: str = "full",
        max_steps: int = 50,
        success_reward: float = 1.0,
        goals: Literal["templated", "human"] = "templated",
        backend: Literal["native", "textworld"] = "native",
        render_mode: str | None = None,
    ):
        super().__init__(max_steps, render_mode)
        self._made_with: EnvSpec | None = None
        kinds = frozenset(TASK_TYPES if task_types is None else text_list("task_types", task_types))
        unknown = sorted(kinds - set(TASK_TYPES))
        if unknown or not kinds:
            raise ValueError(
                f"Unknown ALFWorld task type(s) in task_types, {shortened(unknown)}; "
                f"choose from {', '.join(TASK_TYPES)}."
            )
        check_split(split)
        if goals not in GOALS:
            raise ValueError(f"Unknown goals {shortened(goals)}; choose one of {', '.join(GOALS)}.")
        if backend not in BACKENDS:
            raise ValueError(f"Unknown backend {shortened(backend)}; choose one of {', '.join(BACKENDS)}.")
        if backend == "textworld":
            require("alfworld", "The backend 'textworld'")
            if goals == "human":
                raise ValueError("The backend 'textworld' plays the game files as they are; goals='human' is native.")
        self._games = _located(games)
        self._source = game_source(games, scene)
        self._human_goals = goals == "human"
        self._backend = backend
        self._split = split
        self._task_types = kinds
        self._success_reward = finite_number("success_reward", success_reward)
        self._choices: dict[str, tuple[str, ...]] = {}
        self._game: Game | None = None
        self._engine: Engine | ReferenceEngine | None = None
        self.task_ids(split)  # Raises for an empty split now instead of at the first reset.

    @property
    def game(self) -> Game:
        """Game of the running episode.

        Raises:
            ValueError: No episode is running.
        """
        if self._game is None:
            raise ValueError("No game is running: call reset() first.")
        return self._game

    @property
    def spec(self) -> EnvSpec | None:
        """Spec from which `gymnasium.make` makes the same environment, in any directory or process."""
        return self._made_with

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        # A relative path or the environment variable may refer to other games when the environment is made again.
        self._made_with = None if spec is None else replace(spec, kwargs={**spec.kwargs, "games": self._games})

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that `games` has."""
        return self._source.splits

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of all tasks of a split (default: the environment's) with one of the selected task types.

        Raises:
            TaskNotFoundError: The split has no such tasks.
        """
        split = self._split if split is None else split
        check_split(split)
        if split not in self._choices:
            ids = self._source.task_ids(split)
            if self._task_types != frozenset(TASK_TYPES):
                ids = tuple(task_id for task_id in ids if self.task_type(task_id) in self._task_types)
            if not ids:
                raise TaskNotFoundError(f"Split {split!r} holds no tasks of type(s) {sorted(self._task_types)}.")
            self._choices[split] = ids
        return self._choices[split]

    def task_type(self, task_id: str) -> str:
        """Task type of an id, taken from the id where possible.

        Raises:
            TaskNotFoundError: There is no such task.
        """
        named = next((kind for kind in TASK_TYPES if kind in task_id), None)
        if named is not None:
            return named
        if isinstance(self._source, GeneratedSource):
            return task_type_of(task_id)
        return load_cached(self._source, task_id).task_type

    def task_group(self, task_id: str) -> str:
        """Floor plan of a real game; for `valid_seen`, which shares floor plans with `train` by design, the game."""
        parts = task_id.partition("#")[0].split("/")
        # Ids that do not exist are their own group; reset() raises for them.
        if isinstance(self._source, GeneratedSource) or parts[0] == "valid_seen" or len(parts) != 3:
            return "/".join(parts)
        return f"floor plan {parts[1].rsplit('-', 1)[-1]}"

    def _load_task(self, task_id: str) -> Task:
        game = self._load(task_id)
        split = next((split for split in SPLITS if split in task_id.split("/")[:2]), self._split)
        return Task(game.task_id, game.task_type, split, game.task)

    def _load(self, task_id: str) -> Game:
        if not self._human_goals:
            return load_cached(self._source, task_id)
        game_id, hash_sign, number = task_id.partition("#")
        game, sentences = load_cached(self._source, game_id), self._source.human_goals(game_id)
        if not sentences:
            raise TaskNotFoundError(
                f"{game_id!r} has no goals written by people: no traj_data.json with annotations is beside the game. "
                "Use goals='templated', or get ALFRED's json_2.1.0 data."
            )
        # Without a number, a hash of the id selects the sentence, so that each id is one episode.
        numbered = _NUMBER.fullmatch(number) is not None
        chosen = int(number) if numbered else zlib.crc32(game_id.encode()) % len(sentences)
        if (hash_sign and not numbered) or chosen >= len(sentences):
            raise TaskNotFoundError(
                f"{shortened(task_id)}: {game_id} has {len(sentences)} human goals, #0 to #{len(sentences) - 1}."
            )
        return replace(game, task_id=task_id, task=sentences[chosen])

    def _begin(self, task: Task) -> Turn:
        self.close()
        self._ended = False
        self._game = self._load(task.task_id)
        if self._backend == "textworld":
            from sdar_gym.envs.alfworld.reference import ReferenceEngine

            self._engine = ReferenceEngine(next(iter(self._source.files([task.task_id])))[1])
        else:
            self._engine = Engine(self._game)
        return self._turn_after(self._engine.intro(), True)

    def _act(self, action: str) -> Turn:
        assert self._engine is not None  # checked by step()
        return self._turn_after(*self._engine.act(action))

    def _turn_after(self, observation: str, action_valid: bool) -> Turn:
        engine = self._engine
        assert engine is not None
        won = engine.won
        met, conditions = goal_conditions(engine) if isinstance(engine, Engine) else (int(won), 1)
        return Turn(
            observation=observation,
            reward=self._success_reward if won else 0.0,
            terminated=won,
            action_valid=action_valid,
            admissible_actions=engine.admissible(),
            score=float(won),
            won=won,
            extra={"goal_condition_rate": met / conditions},
        )

    def __getstate__(self) -> dict[str, Any]:
        # The ids of a generated split take a megabyte and are computed again on demand.
        return {**self.__dict__, "_choices": {}}

    def close(self) -> None:
        """Drop the running episode; may be called twice."""
        if self._engine is not None and not isinstance(self._engine, Engine):
            self._engine.close()
        self._engine = self._game = None
        self._ended = True


def game_source(games: str | os.PathLike[str] | None, scene: str) -> GameSource:
    """Game source of an `ALFWorldEnv` with these arguments.

    Raises:
        ValueError: The folder contains no games, or the scene size is unknown.
    """
    generated, place = GeneratedSource(scene), _located(games)
    if place == GENERATED:
        return generated
    try:
        return open_source(place)
    except MissingGamesError as error:
        if games is not None:
            raise
        # Name the variable, which the user may have set long ago.
        raise MissingGamesError(f"{_VARIABLE} is set, but: {error}") from error


def _located(games: str | os.PathLike[str] | None) -> str:
    """`"generated"` or the absolute path of the games."""
    if games is not None:
        return GENERATED if games == GENERATED else str(local_path("games", games))
    named = os.environ.get(_VARIABLE)
    return GENERATED if not named or named == GENERATED else str(local_path(f"${_VARIABLE}", named))
