"""A scripted shopper: searches with the instruction's words, finds the product it knows of, chooses, buys."""

from __future__ import annotations

import re
from typing import Any

from sdar_gym.envs.text_env import TextEnv
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.goals import Goal
from sdar_gym.envs.webshop.text import BUY, NEXT

# How many pages of the first search are looked through; turns are left for a second search, options and the purchase.
_PAGES = 3
_PRICE = re.compile(r",? and price lower than [\d.]+ dollars$")
_FRAME = re.compile(r"^(?:find me|i am looking for|i'm looking for|i need|i want)\s+", re.IGNORECASE)


class Expert:
    """Plays what an agent could: search, click, buy; see `sdar_gym.envs.policies`.

    From the environment's hidden state it takes which product the goal was made from and which options it wants. It
    searches for the words of the instruction first, and for the product's title if that does not show the product.
    """

    def __init__(self) -> None:
        self._goal: Goal | None = None
        self._queries: list[str] = []
        self._wanted: list[str] = []
        self._pages = 0

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Plan the episode.

        Raises:
            TypeError: The environment is not WebShop.
        """
        if not isinstance(env, WebShopEnv):
            raise TypeError(f"WebShop's expert plays WebShopEnv, not {type(env).__name__}.")
        goal, product = env.goal, env.product
        self._goal = goal
        # Title alone, then with the description's beginning: some titles are shared by several products.
        title = " ".join(product.title.split())
        self._queries = [" ".join(product.search_text.split()[:60]), title, query_of(goal)]
        self._wanted = [value for _, value in goal.options]
        self._pages = 0

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """The next action."""
        if self._goal is None:
            raise ValueError("Expert.begin() comes before act().")
        actions = info["admissible_actions"]
        buy, follow = f"click[{BUY.lower()}]", f"click[{NEXT.lower()}]"
        if buy in actions:
            while self._wanted:
                option = f"click[{self._wanted.pop(0)}]"
                if option in actions:
                    return option
            return buy
        product = f"click[{self._goal.asin.lower()}]"
        if product in actions:
            return product
        if follow in actions and self._pages < _PAGES:
            self._pages += 1
            return follow
        if self._queries:
            # The first search may be paged through, the later ones name the product and need not.
            self._pages = 1 if len(self._queries) == 3 else _PAGES
            return f"search[{self._queries.pop()}]"
        return follow if follow in actions else f"search[{self._goal.title}]"


def query_of(goal: Goal) -> str:
    """What an instruction asks for, without the words around it and the price."""
    text = _PRICE.sub("", goal.instruction)
    words = _FRAME.sub("", text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    return " ".join(word for word in words if word not in ("with", "and", "for"))
