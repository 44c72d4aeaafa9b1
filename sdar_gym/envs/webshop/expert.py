"""WebShop expert: a scripted policy that searches for the product of the goal, chooses its options and buys it."""

from __future__ import annotations

import re
from typing import Any

from sdar_gym.envs.text_env import TextEnv
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.goals import Goal
from sdar_gym.envs.webshop.session import listed_action
from sdar_gym.envs.webshop.text import BUY, NEXT

# Result pages of the first search; leaves turns for a second search, options and the purchase.
_PAGES = 3
# Number of queries: instruction, title, product text, product id.
_SEARCHES = 4
_PRICE = re.compile(r",? and price lower than [\d.]+ dollars$")
_FRAME = re.compile(r"^(?:find me|i am looking for|i'm looking for|i need|i want)\s+", re.IGNORECASE)


class Expert:
    """Scripted policy that uses ordinary actions; see `sdar_gym.envs.policies`.

    It reads the product and options of the goal from the hidden state of the environment. It searches for the words of
    the instruction first, and for the title of the product if those do not find it.
    """

    def __init__(self) -> None:
        self._env: WebShopEnv | None = None
        self._goal: Goal | None = None
        self._queries: list[str] = []
        self._wanted: list[tuple[str, str]] = []
        self._pages = 0

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Plan the episode.

        Raises:
            TypeError: The environment is not WebShop.
        """
        if not isinstance(env, WebShopEnv):
            raise TypeError(f"WebShop's expert plays WebShopEnv, not {type(env).__name__}.")
        goal, product = env.goal, env.product
        self._env, self._goal = env, goal
        # In reverse order: title, then title with description, since products may share a title, then the id.
        queries = [product.asin, " ".join(_words(product.search_text)[:60]), " ".join(_words(product.title))]
        self._queries = [*queries, query_of(goal)]
        # In page order: if options share a value, the order determines which option a click chooses.
        wanted = dict(goal.options)
        in_order = [(name, wanted[name]) for name in product.options if name in wanted]
        self._wanted = in_order if len(in_order) == len(goal.options) else list(goal.options)
        self._pages = 0

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Next action."""
        if self._env is None or self._goal is None:
            raise ValueError("Expert.begin() comes before act().")
        page = self._env.page
        if page.click_on("button", BUY):
            while self._wanted:
                name, value = self._wanted.pop(0)
                if option := page.click_on("option", value, name):
                    return listed_action(option)
            return listed_action(BUY.lower())
        if product := page.click_on("product", self._goal.asin):
            return listed_action(product)
        follow = page.click_on("button", NEXT)
        if follow and self._pages < _PAGES:
            self._pages += 1
            return listed_action(follow)
        if self._queries:
            # Only the first search is paged through; the later ones name the product.
            self._pages = 1 if len(self._queries) == _SEARCHES else _PAGES
            return f"search[{self._queries.pop()}]"
        return listed_action(follow) if follow else f"search[{self._goal.title}]"


def _words(text: str) -> list[str]:
    return text.replace("[", " ").replace("]", " ").split()


def query_of(goal: Goal) -> str:
    """Query for an instruction, without its filler words and price."""
    text = _PRICE.sub("", goal.instruction)
    words = _words(_FRAME.sub("", text).replace(",", " "))
    return " ".join(word for word in words if word not in ("with", "and", "for"))
