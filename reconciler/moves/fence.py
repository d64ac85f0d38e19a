"""The first thing on the way back: a host that refuses whatever was sent before the turn."""

from __future__ import annotations

from reconciler.commands import files
from reconciler.model.move import Order, Phase, Progress, Side
from reconciler.moves.cutover import COPIES
from reconciler.moves.step import DONE, READY, Action, Looks, Mark, Step, Verdict, Views, outdated


class Fence(Step):
    """A host refuses every command of this journey that was sent before it turned back and comes late.

    To store the newer epoch the host's lock had to be free, so none of those commands runs there either.
    Before anything was restored on the target, the way back does not wait for the target.
    """

    phase = Phase.BACK

    def __init__(self, name: str, side: Side, *, always: bool) -> None:
        self.name, self.side, self.always = name, side, always

    def _needed(self, progress: Progress) -> bool:
        return self.always or bool(COPIES & progress.tried)

    def looks(self, order: Order, progress: Progress) -> Looks:
        return {self.side: (files.EPOCHS,)} if self._needed(progress) else {}

    def judge(self, order: Order, progress: Progress, views: Views) -> Verdict:
        if not self._needed(progress):
            return DONE
        stored = views[self.side].get(files.EPOCHS).get(order.domain, 0)
        if (refused := outdated(order, progress, self.side, stored)) is not None:
            return refused
        return DONE if stored == order.claim(progress.serial).epoch else READY

    def act(self, order: Order, progress: Progress, views: Views) -> tuple[Action, ...]:
        return (Action(self.side, (files.NOTHING,)),)


def ran_there(order: Order) -> Verdict:
    return Verdict(Mark.WRONG, f"{order.domain} may have run on {order.target.name}", ran_there=True)
