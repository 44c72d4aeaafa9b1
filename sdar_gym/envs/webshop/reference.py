"""`ReferenceShop`: emulates reset, step and random numbers of the reference environment, for parity checks."""

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
    """Result of a step of the reference.

    Attributes:
        observation: The page as text; None if the reference raises.
        reward: The score after a purchase, else 0.
        done: Whether a product was purchased.
        score: The score with its terms after a purchase.
        bought: Product and options of a purchase.
        error: Name and message of the exception that the reference raises.
        next_goal: After a purchase, the position of the goal to which the environment has reset itself.
    """

    observation: str | None
    reward: float = 0.0
    done: bool = False
    score: Score | None = None
    bought: tuple[str, dict[str, str]] | None = None
    error: tuple[str, str] | None = None
    next_goal: int | None = None


class ReferenceShop:
    """Emulation of `WebAgentTextEnv` with text observations, to compare with recordings of it.

    `WebShopEnv(reference_compat=True)` has the same pages and scores; only this class has the goal numbers of the
    reference, which depend on the seed, and its reset in the middle of a step.

    Source: princeton-nlp/WebShop, as carried by ZJU-REAL/SDAR (commit 8b85c23); checked against recordings.

    Args:
        catalog: The catalog.
        nouns: Extracts the nouns of a title.
        seed: Seed of the environment, which determines prices, price limits and the order of goals.
        kind: `synthetic` or `human` goals.
        show_attributes: Whether product pages have an Attributes button.
        search_backend: Backend of the index.
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
        self._session = self._new_session(0, "0")

    @property
    def goal(self) -> Goal:
        """Goal of the running episode."""
        return self.goals.goals[self.goals.order[self._place]]

    @property
    def page(self) -> Page:
        """Current page."""
        return self._session.page

    @property
    def session(self) -> Session:
        """Session with its hidden state."""
        return self._session

    def reset(self, session: int, random_seed: int) -> str:
        """Start the episode of a session number.

        Args:
            session: Position in the order of goals.
            random_seed: Seed of all later random numbers.
        """
        self._rng = Random(random_seed)
        self._session = self._new_session(session, str(session))
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
        # The reference resets itself before it returns the receipt.
        name = "".join(self._rng.choices(string.ascii_lowercase, k=10))
        self._session = self._new_session(self.goals.draw(self._rng), name)
        return ReferenceStep(
            receipt.text("text"), score.total, True, score, (product.asin, session.options), None, self._place
        )

    def _new_session(self, place: int, name: str) -> Session:
        self._place = place
        goal = self.goals.goals[self.goals.order[place]]
        return Session(goal.instruction, self._shelf, True, self._show_attributes, self._rng, name)
