"""Answers the questions of analysts: waits for what their reader wants to see in them, and asks the same thing once."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from commands.accounts.principal import Principal, require_admin
from commands.ports import EventLog
from commands.positions import AT_LEAST_WAIT_S
from commands.routing.groups import Groups
from domain.errors import BadRequest, Forbidden, ProjectionBehind
from projections.figures.elo import Ranked, ranked
from projections.figures.ports import FigureQueries
from projections.figures.question import Answer, Question

KEPT_ANSWERS: Final = 128
KEPT_ROWS_MAX: Final = 2_000  # a longer answer is asked again
NAMES_PEOPLE: Final = frozenset({"person", "conversation"})  # dimensions that only admins see and choose by


def require_analyst(principal: Principal) -> None:
    """Raises ``Forbidden``."""
    if principal.role not in ("admin", "analyst"):
        raise Forbidden("figures are for analysts and admins")


def require_may_ask(principal: Principal, question: Question) -> None:
    """An analyst sees sums, and nobody's own. Raises ``Forbidden``."""
    require_analyst(principal)
    if NAMES_PEOPLE & {*question.dimensions, *(name for name, _ in question.filters)}:
        require_admin(principal)


class Analytics:
    """No access is checked here: see ``require_may_ask``."""

    def __init__(self, figures: FigureQueries, log: EventLog, groups: Groups) -> None:
        self.figures = figures
        self._log = log
        self._groups = groups
        self._answers: OrderedDict[Question, Answer] = OrderedDict()
        self._ranks: dict[tuple[datetime | None, datetime | None], tuple[int, list[Ranked]]] = {}
        self.asked = 0  # questions that were not answered from memory

    async def wait(self, at_least: int | None) -> None:
        """Until everything up to that position is counted. Raises ``ProjectionBehind``, ``BadRequest`` if the log is not so long."""
        if at_least is None:
            return
        head = await self._log.head()
        if at_least > head:
            raise BadRequest(f"expected at_least up to {head}, the log's last position; received {at_least}", param="at_least")
        if not await self.figures.reached(at_least, AT_LEAST_WAIT_S):
            raise ProjectionBehind(at_least)

    async def ask(self, question: Question) -> Answer:
        """An answer is kept until more of the log is counted."""
        known = self._answers.get(question)
        if known is not None and known.position == await self.figures.position():
            self._answers.move_to_end(question)
            return known
        answer = await self.figures.ask(question)
        self.asked += 1
        if len(answer.rows) <= KEPT_ROWS_MAX:
            self._answers[question] = answer
            self._answers.move_to_end(question)
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    async def ranks(self, since: datetime | None, until: datetime | None) -> tuple[int, list[Ranked]]:
        """``(position, models)``, the best model first."""
        position = await self.figures.position()
        known = self._ranks.get((since, until))
        if known is not None and known[0] == position:
            return known
        duels = await self.figures.duels(since, until)
        made = position, await asyncio.to_thread(ranked, duels)
        if len(self._ranks) >= KEPT_ANSWERS:
            self._ranks.clear()
        self._ranks[since, until] = made
        return made

    async def members(self, group_id: UUID) -> Sequence[str]:
        """The accounts in a group, as values of the dimension ``person``. Raises ``GroupNotFound``."""
        group = await self._groups.existing(group_id)
        return sorted(str(user_id) for user_id in group.state.member_ids)
