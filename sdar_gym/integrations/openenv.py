"""OpenEnv: an environment behind OpenEnv's HTTP and WebSocket server (`sdar-gym serve-env`)."""

# The package is optional, and its types are not there to check against.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State
from pydantic import Field

from sdar_gym.integrations.conversation import ConversationEnv


class TextAction(Action):
    """A model's response, or an action alone."""

    message: str = Field(description="The response, in the form that the first prompt asks for; or the action alone.")


class TextObservation(Observation):
    """The next user message, and what a trainer may want to know beside it.

    `done` covers both ends of an episode; `truncated` says which it was. `metadata` has the environment's own entries.
    """

    prompt: str = Field(description="The next user message.")
    goal: str = ""
    task_id: str = ""
    task_type: str = ""
    admissible_actions: list[str] = Field(default_factory=list)
    action_valid: bool = True
    form_valid: bool = True
    score: float = 0.0
    won: bool = False
    truncated: bool = False


class TextState(State):
    """The episode's task, and the sum of its rewards."""

    task_id: str = ""
    total_reward: float = 0.0


class OpenEnvEnvironment(Environment[TextAction, TextObservation, TextState]):
    """One session's environment.

    `reset` takes `task_id`, or `split` and `index`, or `split` and `seed`; the tasks are listed by OpenEnv's task API.

    Args:
        env_id: A registered environment.
        settings: Those of `ConversationEnv`: prompt, `show_actions`, and the environment's arguments.

    Source: openenv 0.10.0, `openenv.core.env_server.interfaces.Environment` and `TaskProvider`.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env_id: str, settings: Mapping[str, Any]):
        super().__init__()
        self._env_id = env_id
        self._conversation = ConversationEnv(env_id, **settings)
        self._state = TextState()

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        **kwargs: Any,
    ) -> TextObservation:
        """Starts an episode.

        Raises:
            ValueError: There is no such task, or an argument is unknown.
        """
        if kwargs:
            raise ValueError(f"reset() knows seed, task_id, split and index, not {', '.join(sorted(kwargs))}.")
        if index is not None:
            task_id = self.get_task(split or self._conversation.env.splits[0], index)["task_id"]
        prompt, info = self._conversation.reset(task_id=task_id, split=split, seed=seed)
        self._state = TextState(episode_id=episode_id, step_count=0, task_id=info["task_id"])
        return _observation(prompt, info)

    def step(self, action: TextAction, timeout_s: float | None = None, **kwargs: Any) -> TextObservation:
        """Plays a response.

        Raises:
            gymnasium.error.ResetNeeded: The episode is over, or never began.
        """
        prompt, reward, terminated, truncated, info = self._conversation.step(action.message)
        self._state.step_count += 1
        self._state.total_reward = self._conversation.total_reward
        return _observation(prompt, info, reward=reward, done=terminated or truncated, truncated=truncated)

    @property
    def state(self) -> TextState:
        """The episode's task, number of turns, and sum of rewards."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Name and description."""
        description = (type(self._conversation.env).__doc__ or self._env_id).partition("\n")[0]
        return EnvironmentMetadata(name=self._env_id, description=description)

    def list_splits(self) -> list[str]:
        """The splits."""
        return list(self._conversation.env.splits)

    def num_tasks(self, split: str) -> int:
        """Number of tasks of a split."""
        return len(self._conversation.task_ids(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks of a split."""
        return [self._task(task_id, number) for number, task_id in enumerate(self._conversation.task_ids(split))]

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """A task by its place in a split.

        Raises:
            IndexError: There is no such place.
        """
        ids = self._conversation.task_ids(split)
        if not 0 <= index < len(ids):
            raise IndexError(f"{split!r} has tasks 0 to {len(ids) - 1}, not {index}.")
        return self._task(ids[index], index)

    def close(self) -> None:
        """Closes the environment."""
        self._conversation.close()

    def _task(self, task_id: str, index: int) -> dict[str, Any]:
        return {"task_id": task_id, "index": index, "task_type": self._conversation.env.task_type(task_id)}


def create_app(env_id: str, settings: Mapping[str, Any], max_sessions: int) -> FastAPI:
    """The server application; each WebSocket session has an environment of its own.

    Args:
        env_id: A registered environment.
        settings: Those of `ConversationEnv`.
        max_sessions: Most sessions at once.

    Raises:
        ValueError: The environment cannot be made.
    """
    ConversationEnv(env_id, **settings).close()  # Errors now, not in the first session.
    return create_fastapi_app(
        lambda: OpenEnvEnvironment(env_id, settings),
        TextAction,
        TextObservation,
        max_concurrent_envs=max_sessions,
        env_name=env_id.rpartition("/")[2],
        state_cls=TextState,
    )


# The worked solution is for teachers: some clients show the policy everything that an observation holds.
_HIDDEN = ("admissible_actions", "reference")
_FIELDS = ("goal", "task_id", "task_type", "action_valid", "form_valid", "score", "won")


def _observation(prompt: str, info: Mapping[str, Any], **values: Any) -> TextObservation:
    """An observation as the wire takes it: numbers and texts only."""
    known = {name: info[name] for name in _FIELDS if name in info}
    other = {
        name: value
        for name, value in info.items()
        if name not in (*_FIELDS, *_HIDDEN) and isinstance(value, str | int | float | bool | None)
    }
    return TextObservation(
        prompt=prompt, admissible_actions=list(info["admissible_actions"]), metadata=other, **known, **values
    )
