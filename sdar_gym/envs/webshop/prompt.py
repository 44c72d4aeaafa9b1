"""WebShop's prompts: the published order of fields, and a compact prompt of notes for very small models."""

from __future__ import annotations

from collections.abc import Mapping

from sdar_gym.envs.prompting import (
    ActionTags,
    EpisodeView,
    Message,
    PastTurn,
    PrivilegedContext,
    PromptTemplate,
    WindowTemplate,
)
from sdar_gym.envs.webshop.notes import Notes, notes_of, option_names
from sdar_gym.envs.webshop.text import SEPARATOR
from sdar_gym.text import well_formed


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


class CompactShopTemplate(ActionTags):
    """The task and notes that keep to what it names, some hundred tokens; for observations in the form `readable`.

    The last search, the page; on results the best product within the price limit that was not opened yet, by rank and
    the task's words in its title; on a product's page which of the task's words it has not shown, and which of its
    option values are offered and chosen. A page that it cannot read is shown as it is.
    """

    def messages(
        self, view: EpisodeView, *, window: int, think: bool, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """One user message; `window` is not used, and there are no instructions on the form of the response."""
        notes = notes_of(view)
        text = render_notes(notes, len(view.history) + 1, privileged)
        if not notes.page:
            text += "\n" + well_formed(page_alone(view.observation, view.goal))
        return [{"role": "user", "content": text}]

    def next_message(self, view: EpisodeView, actions: str) -> str:
        """The page; the past is in the conversation, and this prompt lists no actions."""
        return page_alone(view.observation, view.goal)


def render_notes(notes: Notes, turn: int, privileged: PrivilegedContext | None) -> str:
    """The compact prompt's text."""
    lines = [f"task: {notes.goal.text}"]
    if privileged is not None:
        lines.append(f"{privileged.label}: {privileged.text}")
    lines += [f"turn: {turn}", f"searched: {notes.query or 'nothing'}", f"page: {notes.page or 'other'}"]
    if notes.page == "results":
        fresh = [(code, words) for code, words in notes.listed if code not in notes.opened]
        if fresh:
            code, words = fresh[0]
            lines.append(f"new: {' '.join((code.lower(), *words))}")
        elif notes.more:
            lines.append("more: next")
        elif notes.listed:
            lines.append(f"opened: {notes.listed[0][0].lower()}")
    elif notes.page in ("item", "text"):
        lines.append(f"lacks: {' '.join(notes.lacks) or 'nothing'}")
        lines.append(f"features: {'read' if notes.at in notes.read else 'unread'}")
        if notes.page == "item":
            lines.append(f"offers: {option_names(notes.offers) or 'nothing'}")
            lines.append(f"chosen: {option_names(notes.chosen) or 'nothing'}")
    return well_formed("\n".join(lines))


TEMPLATES: Mapping[str, PromptTemplate] = {
    "window": ShopTemplate(
        "You are shopping in WebShop, an online shop in text. Search with search[words], follow links and choose "
        "options with click[name], and buy one product that fits the task."
    ),
    "compact": CompactShopTemplate(),
}
