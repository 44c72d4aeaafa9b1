"""WebShop's prompt: the published order of fields, with the instruction once instead of in every observation."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.prompting import (
    EpisodeView,
    Message,
    PastTurn,
    PrivilegedContext,
    PromptTemplate,
    WindowTemplate,
)
from sdar_gym.envs.webshop.text import SEPARATOR


class ShopTemplate(WindowTemplate):
    """The generic window prompt over pages without their instruction, which the task line has already.

    Source: the SDAR code cuts observations in the same way (arXiv 2605.15155).
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message with everything in it."""
        cut = EpisodeView(
            view.goal,
            tuple(PastTurn(page_alone(turn.observation, view.goal), turn.action) for turn in view.history),
            page_alone(view.observation, view.goal),
            view.admissible_actions,
        )
        return super().messages(cut, window=window, think=think, privileged=privileged)

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """The page, and the actions."""
        return "\n\n".join(part for part in (page_alone(view.observation, view.goal), actions) if part)


def page_alone(observation: str, goal: str) -> str:
    """An observation without its part up to and including the instruction, in either form."""
    for before, after in ((f"Instruction:{SEPARATOR}", SEPARATOR), ("Instruction: ", "\n")):
        head, found, rest = observation.partition(f"{before}{goal.strip()}{after}")
        # Only a heading may come before it; the words of a product page that quotes the instruction stay.
        if found and head in ("", f"WebShop{SEPARATOR}"):
            return rest
    return observation


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ShopTemplate(
        "You are shopping in WebShop, an online shop in text. Search with search[words], follow links and choose "
        "options with click[name], and buy one product that fits the task."
    ),
}
