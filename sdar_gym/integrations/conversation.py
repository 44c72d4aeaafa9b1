"""Conversation environment: an environment as a chat, with prompts and parsing by its own template; no torch."""

from __future__ import annotations

from typing import Any

from sdar_gym.envs.prompting import EpisodeView, PastTurn, action_list, next_message, prompt_template
from sdar_gym.rollout.environments import make_env


class ConversationEnv:
    """An environment whose observations are user messages and whose actions are a model's responses.

    The messages are those of the gym's own rollouts with `rollout.context=conversation`: the first one has the task,
    the observation, the admissible actions and the required form of a response; a later one what changed. Responses
    are parsed by the template, so that one without the required form costs a turn, as in training here.

    Args:
        env_id: A registered environment, such as `sdar/ALFWorld-v0`.
        prompt: Name of its prompt template, or `module:NAME`.
        think: Whether responses reason in `<think>` tags first.
        show_actions: Where messages list the admissible actions: `each`, `first` or `never`.
        **env_config: Arguments of the environment.

    Attributes:
        env: The environment.
        total_reward: Sum of the rewards of this episode.
        over: Whether the episode has ended, or never began.

    Raises:
        ValueError: The environment, the template or an argument is unknown.
    """

    def __init__(
        self, env_id: str, *, prompt: str = "window", think: bool = False, show_actions: str = "each", **env_config: Any
    ):
        if show_actions not in ("each", "first", "never"):
            raise ValueError(f"show_actions must be 'each', 'first' or 'never', got {show_actions!r}.")
        self._template = prompt_template(env_id, prompt)
        self._think, self._show_actions = think, show_actions
        self.env = make_env(env_id, env_config)
        self.total_reward = 0.0
        self.over = True
        self._history: list[PastTurn] = []
        self._view = EpisodeView("", (), "", ())

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of the tasks of a split; default the environment's first, the training split."""
        return self.env.task_ids(split or self.env.splits[0])

    def reset(
        self, *, task_id: str | None = None, split: str | None = None, seed: int | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Starts an episode: the given task, or a random one of the split drawn with the seed.

        Returns:
            The first user message, and the environment's `info`.

        Raises:
            ValueError: There is no such task or split.
        """
        options = {name: value for name, value in (("task_id", task_id), ("split", split)) if value is not None}
        observation, info = self.env.reset(seed=seed, options=options or None)
        self.total_reward, self.over = 0.0, False
        self._history.clear()
        view = self._seen(observation, info, listed=self._show_actions != "never")
        messages = self._template.messages(view, window=0, think=self._think)
        return "\n\n".join(message["content"] for message in messages), info

    def step(self, response: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Plays a response.

        Returns:
            The next user message (after the last turn the observation alone), reward, terminated, truncated, and
            `info` with `action`, what was sent to the environment, and `form_valid`, whether the response had the
            required form.

        Raises:
            gymnasium.error.ResetNeeded: The episode is over, or never began.
        """
        parsed = self._template.parse(response, think=self._think)
        observation, reward, terminated, truncated, info = self.env.step(parsed.action)
        self._history.append(PastTurn(self._view.observation, parsed.action, parsed.tagged))
        self.total_reward += reward
        self.over = terminated or truncated
        view = self._seen(observation, info, listed=self._show_actions == "each")
        shown = observation if self.over else next_message(self._template, view, action_list(view.admissible_actions))
        return shown, reward, terminated, truncated, {**info, "action": parsed.action, "form_valid": parsed.valid}

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def _seen(self, observation: str, info: dict[str, Any], *, listed: bool) -> EpisodeView:
        actions = tuple(info["admissible_actions"]) if listed else ()
        self._view = EpisodeView(info["goal"], tuple(self._history), observation, actions)
        return self._view
