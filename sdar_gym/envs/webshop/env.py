"""`sdar/WebShop-v0`: shopping tasks in a text-based online shop with real or generated products."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.envs.webshop.catalog import SPLITS, split_of, split_task_id
from sdar_gym.envs.webshop.goals import GOAL_KINDS, Goal
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.reward import score_purchase
from sdar_gym.envs.webshop.session import Session, ShopError, listed_action
from sdar_gym.envs.webshop.sources import located, open_catalog
from sdar_gym.envs.webshop.text import OBSERVATIONS, Page, receipt_page
from sdar_gym.envs.webshop.title_nouns import NOUN_SOURCES, noun_source
from sdar_gym.skills.index import BACKENDS
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, flag, whole_number

REWARDS = ("success", "score")
TASK_TYPES = ("department", "options")
# Placeholder for the search box, as in the reference's prompt.
SEARCH_ACTION = "search[<your query>]"
# Seed of the reference environment that determines prices and price limits with `reference_compat`.
_REFERENCE_SEED = 0
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


def options_type(product: Product) -> str:
    """Task type by the options to choose: their names in alphabetical order, such as `color_size`; else `none`."""
    return "_".join(_NOT_A_NAME.sub("_", name.lower()).strip("_") for name in sorted(product.options)) or "none"


class WebShopEnv(TextEnv):
    """WebShop: find and buy the product that an instruction describes.

    Task:
        An instruction names a product type, attributes, options and usually a price limit. Search, open products,
        choose options, buy. The task types are the departments of the shop: `beauty`, `electronics`, `fashion`,
        `garden`, `grocery`; or, with `task_types="options"`, the names of the options to choose, such as `color_size`.

    Observation:
        The page. `text` is WebShop's original format, the visible texts joined by ` [SEP] `, without the chosen
        options. `readable` has the same content in lines, with the chosen options.

    Action:
        `search[words]`, on every page, or `click[x]` with one of the page's buttons, product ids or option values
        (case-insensitive). Any other text has no effect and counts as a turn. A search returns at most 50 products, 10
        per page, ranked by BM25. An option value that equals a button is clicked with its option name as prefix:
        `click[style: buy now]`.

    Reward:
        At the purchase: `success` gives `success_reward` (10) if the score is 1, else 0; `score` gives the score,
        which is WebShop's: type factor x (attributes + options + price met) / (attributes + options wanted + 1).

    Episode end:
        Terminated by `click[buy now]`; truncated after `max_steps` turns (15).

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`. The admissible actions
        are all clicks, and on pages with a search box the placeholder `search[<your query>]`, which, sent unchanged,
        searches for these words. After a purchase also `bought_asin`, `bought_options` and the terms of the score:
        `score_type`, `score_attributes`, `score_options` (None if the goal names no option), `score_price`,
        `query_match`, `category_match`, `title_score`.

    Splits:
        `train` (80 %), `valid` and `test` (10 % each) of the products, by a hash of the product id, so that the splits
        are disjoint by product and equal in every process. Task ids are `<asin>/<n>`, where n numbers the goals of a
        product: the combinations of its option values, or the human instructions for it.

    Arguments:
        data: `"generated"`, a folder with WebShop's files (`items_shuffle*.json`, `items_ins_v2*.json`,
            `items_human_ins.json`, or `documents*.jsonl`), or one of the product files; by default `$WEBSHOP_DATA` if
            it is set, else the generated shop of 1,000 products. In a folder with several sizes the 1,000 products are
            used, as in the reference; pass the file of another size to use that. A relative path is resolved when the
            environment is made.
        split: The split that `reset()` draws from.
        goals: `synthetic`, or `human` if the data have them.
        observation: `text` or `readable`.
        reward: `success` or `score`.
        success_reward: Reward for a score of 1.
        max_steps: Turn limit.
        num_products: Use only this many products, the first ones. A catalog of 2,000 or more is compiled once, with its
            index, and cached under `$XDG_CACHE_HOME/sdar_gym/webshop` (`~/.cache`; about 1.5 kB per product), from
            where it opens in a fraction of a second.
        search_backend: `auto`, `bm25s` or `lucene`. The index is built once per process and data.
        title_nouns: Noun extraction for the type factor: `spacy` as in the reference, `words` as an approximation (all
            words except function words), or `auto`, spaCy if it and its small English model are installed.
        show_attributes: Add an Attributes button to product pages.
        task_types: `department`, or `options`: what has to be done on a product's page, which decides success more than
            the department does.
        reference_compat: Restore the behavior of the reference; see below.

    Differences from the reference:
        Fixed by default, restored by `reference_compat=True`: Goal options are compared as values, with colors reduced
        to their color word on both sides (the reference reduces only the bought color, so that some goals cannot reach
        a score of 1), under the name of their option, sizes only when equal ("large" is in "x-large") and color words
        only as whole words ("dash" is not "ash"). `click[search]`, which has no effect, is not listed. `<r>`, `<a>`,
        `<c>` and `<q>` at the start of a query are ordinary words, not commands; in the reference some of them raise,
        which here is a turn with `action_valid=False` even with `reference_compat`. The page type is stored instead of
        parsed from a URL that contains the query. `Next >` is listed only if there is a next page. Prices within a
        range and price limits depend on the product alone; in the reference they depend on the seed of each worker
        (`reference_compat` uses those of seed 0). Every listed action is valid and every goal option can be chosen:
        option values with brackets, line breaks or capitals, values that equal a button, lower-case ids. Blank values
        are not offered. A query may contain brackets; a product id as query finds the product. A product of more
        than a million dollars satisfies a goal without a price limit. Never restored: splits by position in a list that
        each worker shuffles with its seed, which leak test goals into training; the reset in the middle of the last
        step, after which the listed actions belong to another episode. `sdar_gym.envs.webshop.reference` has both for
        comparisons. As in the reference, the data have no reviews or ratings.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        split: str = "train",
        goals: str = "synthetic",
        observation: str = "text",
        reward: str = "success",
        success_reward: float = 10.0,
        max_steps: int = 15,
        num_products: int | None = None,
        search_backend: str = "auto",
        title_nouns: str = "auto",
        show_attributes: bool = False,
        reference_compat: bool = False,
        task_types: str = "department",
        render_mode: str | None = None,
    ):
        super().__init__(max_steps, render_mode)
        for name, value, known in (
            ("goals", goals, GOAL_KINDS),
            ("observation", observation, OBSERVATIONS),
            ("reward", reward, REWARDS),
            ("task_types", task_types, TASK_TYPES),
            ("search_backend", search_backend, BACKENDS),
            ("title_nouns", title_nouns, NOUN_SOURCES),
        ):
            # The last two are validated where they are resolved, which also checks what is installed.
            if not isinstance(value, str) or (value not in known and known not in (BACKENDS, NOUN_SOURCES)):
                raise ValueError(f"Unknown {name} {shortened(value)}; choose from {', '.join(known)}.")
        if not isinstance(split, str) or split not in SPLITS:
            raise TaskNotFoundError(f"Unknown split {shortened(split)}; WebShop has {', '.join(SPLITS)}.")
        self._success_reward = finite_number("success_reward", success_reward)
        self._show_attributes = flag("show_attributes", show_attributes)
        self._compat = flag("reference_compat", reference_compat)
        self._num_products = None if num_products is None else whole_number("num_products", num_products)
        # Absolute, so that it is independent of the working directory and the environment variable.
        self._data = located(data)
        self._backend = search_backend
        self._noun_source = title_nouns
        self._open()
        self._kind = goals
        self._split = split
        self._observation = observation
        self._reward = reward
        self._task_types = task_types
        self._spec: EnvSpec | None = None
        self._session: Session | None = None
        self._goal: Goal | None = None
        self._score = 0.0
        # Raises for a split without goals now instead of at the first reset.
        self._catalog.task_count(goals, split)

    @property
    def goal(self) -> Goal:
        """Goal of the running episode, including its hidden parts.

        Raises:
            ValueError: No episode is running.
        """
        if self._goal is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._goal

    @property
    def product(self) -> Product:
        """Product from which the goal of the running episode was made.

        Raises:
            ValueError: No episode is running.
        """
        return self._catalog.products[self.goal.asin]

    @property
    def page(self) -> Page:
        """Current page with its clickable texts.

        Raises:
            ValueError: No episode is running.
        """
        if self._session is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._session.page

    @property
    def spec(self) -> EnvSpec | None:
        """Spec from which `gymnasium.make` makes the same environment, with the absolute path of the data."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._spec = None if spec is None else replace(spec, kwargs={**spec.kwargs, "data": self._data})

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with goals of the selected kind."""
        return self._catalog.splits(self._kind)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of all tasks of a split (default: the environment's), in data order.

        Raises:
            TaskNotFoundError: There is no such split, or it has no tasks.
        """
        return self._catalog.task_ids(self._kind, self._split if split is None else split)

    def task_type(self, task_id: str) -> str:
        """Department of the product of a task, or the names of its options, by `task_types`.

        Raises:
            TaskNotFoundError: There is no such product.
        """
        product = self._catalog.product_of(task_id)
        return product.category if self._task_types == "department" else options_type(product)

    def task_group(self, task_id: str) -> str:
        """Product id of a task; splits are disjoint by product."""
        return split_task_id(task_id)[0]

    def _random_task_id(self, split: str | None) -> str:
        # By position: a million products have too many goals to list for one draw.
        split = self._split if split is None else split
        count = self._catalog.task_count(self._kind, split)
        return self._catalog.task_id_at(self._kind, split, int(self.np_random.integers(count)))

    def _load_task(self, task_id: str) -> Task:
        goal = self._make_goal(task_id)
        return Task(task_id, self.task_type(task_id), split_of(goal.asin), goal.instruction)

    def _make_goal(self, task_id: str) -> Goal:
        return self._catalog.goal(self._kind, task_id, reference_seed=_REFERENCE_SEED if self._compat else None)

    def _begin(self, task: Task) -> Turn:
        self._goal = self._make_goal(task.task_id)
        self._score = 0.0
        self._session = Session(task.goal, self._catalog.shelf(self._backend), self._compat, self._show_attributes)
        return self._turn_after(action_valid=True)

    def _act(self, action: str) -> Turn:
        assert self._session is not None  # checked by step()
        try:
            outcome = self._session.act(action)
        except ShopError:
            # Only with `reference_compat`, where the reference would crash.
            return self._turn_after(action_valid=False)
        if outcome == "bought" and self._session.asin is not None:
            return self._buy(self._session.asin, dict(self._session.options))
        return self._turn_after(action_valid=outcome == "done")

    def _turn_after(self, *, action_valid: bool) -> Turn:
        session = self._session
        assert session is not None
        actions = tuple(map(listed_action, session.clickables))
        if session.page.has_search:
            actions = (SEARCH_ACTION, *actions)
        return Turn(session.page.text(self._observation), 0.0, False, action_valid, actions, self._score, False)

    def _buy(self, asin: str, options: dict[str, str]) -> Turn:
        product = self._catalog.products[asin]
        price = self._catalog.price(asin, kind=self._kind, reference_seed=_REFERENCE_SEED if self._compat else None)
        score = score_purchase(product, self.goal, price, options, self._nouns, compat=self._compat)
        self._score = score.total
        won = score.total == 1.0
        return Turn(
            observation=receipt_page(asin, options, score.total).text(self._observation),
            reward=score.total if self._reward == "score" else self._success_reward * won,
            terminated=True,
            action_valid=True,
            admissible_actions=(),
            score=score.total,
            won=won,
            extra={"bought_asin": asin, "bought_options": options, **score.terms()},
        )

    def _open(self) -> None:
        self._catalog = open_catalog(self._data, self._num_products, keep_blanks=self._compat)
        self._catalog.shelf(self._backend)
        self._nouns = noun_source(self._noun_source)

    def __getstate__(self) -> dict[str, Any]:
        # Catalog and index are shared per process; the receiving process opens its own.
        return {name: value for name, value in self.__dict__.items() if name not in ("_catalog", "_nouns")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
        if self._session is not None:
            self._session.shelf = self._catalog.shelf(self._backend)

    def close(self) -> None:
        """Drop the running episode; may be called twice."""
        self._session = None
        self._goal = None
        self._ended = True
