"""The reference environment's own way to be reset and stepped: by session number, with one stream of random numbers."""

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random

from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.goals import Goal
from sdar_gym.envs.webshop.reward import Score, score_purchase
from sdar_gym.envs.webshop.session import Session, ShopError
from sdar_gym.envs.webshop.text import Page, receipt_page
from sdar_gym.envs.webshop.title_nouns import Nouns


@dataclass(frozen=True, slots=True)
class ReferenceStep:
    """What one step of the reference gives.

    Attributes:
        observation: The page, as text; None if the reference raises.
        reward: The score at a purchase, else 0.
        done: Whether something was bought.
        score: The score with its terms at a purchase.
        bought: Product and options at a purchase.
        error: What the reference raises: name and message.
        next_goal: After a purchase the position of the goal that the environment has reset itself to.
    """

    observation: str | None
    reward: float = 0.0
    done: bool = False
    score: Score | None = None
    bought: tuple[str, dict[str, str]] | None = None
    error: tuple[str, str] | None = None
    next_goal: int | None = None


class ReferenceShop:
    """Plays as `WebAgentTextEnv` with text observations does, to compare with recordings of it.

    `WebShopEnv(reference_compat=True)` plays the same pages and scores; what only this class has is the reference's
    numbering of goals, which differs from seed to seed, and its reset in the middle of a step.

    Source: princeton-nlp/WebShop, as carried by ZJU-REAL/SDAR (commit 8b85c23); checked against recordings.

    Args:
        catalog: Products.
        nouns: Finds the nouns of a title.
        seed: The environment's, which decides prices, price limits and the order of goals.
        kind: `synthetic` or `human` goals.
        show_attributes: Whether product pages have an Attributes button.
        search_backend: Of the index.
    """

    def __init__(
        self,
        catalog: Catalog,
        nouns: Nouns,
        *,
        seed: int = 0,
        kind: str = "synthetic",
        show_attributes: bool = False,
        search_backend: str = "auto",
    ):
        self.goals = catalog.reference_goals(kind, seed)
        self._shelf = catalog.shelf(search_backend)
        self._nouns = nouns
        self._show_attributes = show_attributes
        self._rng = Random(seed)
        self._place = 0
        self._session = self._visit(0, "0")

    @property
    def goal(self) -> Goal:
        """The goal of the running episode."""
        return self.goals.goals[self.goals.order[self._place]]

    @property
    def page(self) -> Page:
        """What is shown."""
        return self._session.page

    @property
    def session(self) -> Session:
        """The visit with its hidden state."""
        return self._session

    def reset(self, session: int, random_seed: int) -> str:
        """Start the episode of a position in the order of goals.

        Args:
            session: The position.
            random_seed: Seeds what is random from here on.
        """
        self._rng = Random(random_seed)
        self._session = self._visit(session, str(session))
        return self._session.page.text("text")

    def step(self, action: str) -> ReferenceStep:
        """Carry out one action."""
        session = self._session
        try:
            outcome = session.act(action)
        except ShopError as error:
            return ReferenceStep(None, error=(error.kind, error.message))
        if outcome != "bought" or session.asin is None:
            return ReferenceStep(session.page.text("text"))
        product = self._shelf.products[session.asin]
        price = self.goals.prices[product.asin]
        score = score_purchase(product, self.goal, price, session.options, self._nouns, compat=True)
        receipt = receipt_page(product.asin, session.options, score.total)
        # The environment is on its next goal before anybody has seen the receipt.
        name = "".join(self._rng.choices(string.ascii_lowercase, k=10))
        self._session = self._visit(self.goals.draw(self._rng), name)
        return ReferenceStep(
            receipt.text("text"), score.total, True, score, (product.asin, session.options), None, self._place
        )

    def _visit(self, place: int, name: str) -> Session:
        self._place = place
        goal = self.goals.goals[self.goals.order[place]]
        return Session(goal.instruction, self._shelf, True, self._show_attributes, self._rng, name)
