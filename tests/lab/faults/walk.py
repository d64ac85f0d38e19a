"""A walk: one move that meets the same fault in step after step, for as long as it goes on.

Everything is repaired before the next step's fault. Where the move turns back the walk ends, and the
next one starts from a snapshot behind that step; so does one for steps that were over before a fault
could be made in them. What holds at the end is asked of the hosts and the guest once a walk.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler.model.move import Direction, Status
from tests.lab.image.recipe import LabError
from tests.lab.moving import MOVE_S
from tests.lab.records import repeated

from .cell import HELD_S, NEVER, Row, ended, judge, main_command, running
from .drive import Drive, Stage
from .inject import ARMED, FULL_S, fail_once, fill, heal, inject, inner, unmet
from .matrix import MOVED, ON, WAITING, Cell, Fault, expected
from .watch import NotSeen


class Where(enum.Enum):
    """Where a move is, seen from a step."""

    BEFORE = "before"
    HERE = "here"
    PAST = "past"
    TURNED = "turned"


@dataclass
class Walk:
    """The cells of one walk, all of one fault, the first one at the step behind the stage."""

    drive: Drive
    stage: Stage
    cells: Sequence[Cell]
    met: list[Row] = field(default_factory=list)
    held_since_s: float | None = None

    @property
    def fault(self) -> Fault:
        return self.cells[0].fault

    def run(self) -> list[Row]:
        """A row for every cell that was met; if something is wrong, only the last one, which says what."""
        began = time.monotonic()
        end, reason, detail, problems = NEVER, "", "", list[str]()
        try:
            self._go()
            if not self.drive.site.running:
                self.drive.site.start()
            end, reason, detail = ended(self.drive)
            problems = judge(self.drive, end, self.fault)
        except (NotSeen, LabError, AssertionError) as error:
            problems.append(str(error)[-1500:])
        if not self.met:
            self._note(self.cells[0])
        for row in self.met[:-1]:
            row["end"] = end if end == MOVED else ON
        self.met[-1] |= {"end": end, "reason": reason, "detail": detail[:300]}
        for row in self.met:
            row["took_s"] = round((time.monotonic() - began) / len(self.met))
            if (
                str(row["end"]) not in expected(Cell(self.drive.recipe, str(row["step"]), self.fault))
                and row["end"] != NEVER
            ):
                problems.insert(0, f"{row['step']} ended as {row['end']}")
        self.met[-1]["problems"] = "; ".join(problems)
        return self.met[-1:] if problems else self.met

    # -- on the way -----------------------------------------------------------------------------

    def _go(self) -> None:
        drive = self.drive
        if self.fault in ARMED:
            drive.scout(self.stage, [cell.step for cell in self.cells])
        drive.restore(self.stage)
        match self.fault:
            case Fault.TOOL:
                self._fail_in_turn()
            case Fault.FULL:
                self._fill_in_turn()
            case _:
                drive.site.start()
                self._disturb_in_turn()

    def _disturb_in_turn(self) -> None:
        for cell in self.cells:
            where = self._wait(cell)
            if where is Where.TURNED:
                return
            if where is Where.HERE:
                host, _ = self._note(cell)
                inject(self.drive.lab, self.drive.site, cell.fault, host)
                heal(self.drive.lab, cell.fault, host)
                self._one_copy(cell)

    def _fill_in_turn(self) -> None:
        """The daemon is stopped between two steps, as a disk must be full before the step begins.

        No move begins with a host whose disk is full: for the first step it is filled once there is a move.
        """
        drive = self.drive
        for cell in self.cells:
            if self._where(cell) is Where.TURNED:
                return
            self._up_to(cell)
            if self._where(cell) is Where.PAST:
                continue
            host, _ = main_command(drive.watch.intent(cell.step))
            begun = drive.watch.record() is not None
            if begun:
                fill(drive.lab, host)
            drive.site.start()
            if not begun:
                drive.watch.wait("a move", drive.watch.record)
                fill(drive.lab, host)
            if self._wait(cell) is Where.HERE:
                self._note(cell)
                time.sleep(FULL_S)
            heal(drive.lab, Fault.FULL, host)
            self._one_copy(cell)
            drive.watch.wait(f"{cell.step} seen through", partial(self._over, cell), MOVE_S)
            assert drive.site.stop(timeout_s=300) == 0

    def _up_to(self, cell: Cell) -> None:
        """See the steps between the last cell and this one through, undisturbed; then stop the daemon."""
        index = self.drive.acting.index(cell.step)
        before = Cell(cell.recipe, self.drive.acting[index - 1], cell.fault)
        if index and not self._over(before):
            self.drive.site.start()
            self.drive.watch.wait(f"{before.step} seen through", partial(self._over, before), MOVE_S)
            assert self.drive.site.stop(timeout_s=300) == 0

    def _fail_in_turn(self) -> None:
        """Each step's main command fails once; of two steps with the same command only the first is armed."""
        drive, armed = self.drive, dict[tuple[str, str, str], Cell]()
        for cell in self.cells:
            host, argv = main_command(drive.watch.intent(cell.step))
            armed.setdefault((host, *inner(argv)), cell)
        for (host, tool, words), cell in armed.items():
            fail_once(drive.lab, host, cell.step, tool, words)
        drive.site.start()
        drive.watch.wait("the end or a turn", partial(self._over, self.cells[-1]), MOVE_S)
        waiting, begun = unmet(drive.lab), {intent.step for intent in drive.watch.intents()}
        for cell in armed.values():
            if cell.step in begun and cell.step not in waiting:
                self._note(cell)
        if not self.met or self.met[0]["step"] != self.cells[0].step:
            self.met.clear()  # the blame is the first one's alone; what came later is to be seen anew
            raise AssertionError(f"the failure in {self.cells[0].step} was not met")

    # -- where it is ----------------------------------------------------------------------------

    def _wait(self, cell: Cell) -> Where:
        """Wait for a step to begin. The first of the walk counts even if it is over by the time we look."""

        def look() -> Where | None:
            where = self._where(cell)
            return None if where is Where.BEFORE else where

        found: Where = self.drive.watch.wait(f"step {cell.step}", look, MOVE_S)
        return Where.HERE if found is Where.PAST and cell is self.cells[0] else found

    def _over(self, cell: Cell) -> bool:
        return self._where(cell) in (Where.PAST, Where.TURNED)

    def _where(self, cell: Cell) -> Where:
        """A move that is held has turned once it stays so: what it waits for may be about to be repaired."""
        record = self.drive.watch.record()
        if record is None:
            return Where.BEFORE
        now, order = record.progress, self.drive.steps
        if now.status is not Status.HELD:
            self.held_since_s = None
        elif self.held_since_s is None:
            self.held_since_s = time.monotonic()
        if now.status is Status.MOVED:
            return Where.PAST
        if now.ended or now.direction is Direction.BACK:
            return Where.TURNED
        if self.held_since_s is not None and time.monotonic() - self.held_since_s > HELD_S:
            return Where.TURNED
        at, wanted = order.index(now.step), order.index(cell.step)
        if at != wanted:
            return Where.PAST if at > wanted else Where.BEFORE
        return Where.HERE if now.pending or cell.step in WAITING else Where.BEFORE

    def _note(self, cell: Cell) -> tuple[str, tuple[str, ...]]:
        """A row for a cell that is met; what it is about."""
        host, argv = main_command(self.drive.watch.intent(cell.step))
        row: Row = {"recipe": cell.recipe, "step": cell.step, "fault": cell.fault.value}
        row |= {"end": NEVER, "reason": "", "detail": ""}
        row |= {"problems": "", "host": host, "argv": " ".join(argv)[:120], "before": len(self.met)}
        self.met.append(row)
        return host, argv

    def _one_copy(self, cell: Cell) -> None:
        found = running(self.drive)
        assert len(found) <= 1, f"I1 after {cell.step}: runs on {found}"
        twice = repeated(self.drive.lab.observer.heartbeats())
        assert not twice, f"I1 after {cell.step}: heartbeats heard twice: {twice[:5]}"
