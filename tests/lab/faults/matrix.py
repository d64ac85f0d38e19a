"""Which faults are tried at which steps, and the ends that the rules allow. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reconciler.model.move import Phase
from reconciler.moves import recipe
from reconciler.moves.step import Step

MOVED, BACK, HELD, ON = "moved", "back", "held", "went on"
"""How the move ended. It went on where only the same fault in a later step made it end otherwise."""
GO = "go"


class Fault(enum.Enum):
    """What is done to the lab while a step's commands are out."""

    KILL = "kill"
    CUT_MANAGEMENT = "cut-mgmt"
    CUT_REPLICATION = "cut-repl"
    OFF_SOURCE = "off-source"
    OFF_TARGET = "off-target"
    OFF_BOTH = "off-both"
    REBOOT = "reboot"
    ABORT = "abort"
    FULL = "full"
    TOOL = "tool"


WORDS = {
    Fault.KILL: "daemon killed (kill -9), started again",
    Fault.CUT_MANAGEMENT: "management link of the acting host cut for 25 s",
    Fault.CUT_REPLICATION: "replication link cut for 25 s",
    Fault.OFF_SOURCE: "power off at the source, on again after 10 s",
    Fault.OFF_TARGET: "power off at the target, on again after 10 s",
    Fault.OFF_BOTH: "power off at both, on again after 10 s",
    Fault.REBOOT: "the source shut down and booted in order (systemctl reboot): xendomains saves, restores",
    Fault.ABORT: "`reconciler abort web1`",
    Fault.FULL: "root file system of the acting host full until 20 s into the step",
    Fault.TOOL: "the step's main command fails once",
}
POWER = frozenset({Fault.OFF_SOURCE, Fault.OFF_TARGET, Fault.OFF_BOTH, Fault.REBOOT})
TURNING = (Fault.OFF_SOURCE, Fault.OFF_TARGET, Fault.OFF_BOTH, Fault.REBOOT, Fault.ABORT)
"""Make a move go back nearly always, until GO."""
WAITING = frozenset({"sync"})
"""Has no commands of its own and is worth a row."""

SILENT = frozenset(
    {"source-resource-file-again", "connect", "cutover-ready", "target-runs", "target-runs-on"}
)
"""Only look, in a move that nothing disturbs; what fails there fails in the step before or after."""


@dataclass(frozen=True)
class Recipe:
    """A way to move, what the domain's policy says to get it, and the phases in which it has rows of its own.

    What it shares with an earlier one in the other phases is seen there.
    """

    policy: str
    steps: tuple[Step, ...]
    phases: frozenset[Phase]
    idle: frozenset[str] = frozenset()
    """Steps that have nothing to do in it."""
    again: frozenset[str] = frozenset()
    """Steps that have rows of their own all the same: something else goes on while they act."""


@dataclass(frozen=True)
class Cell:
    """One row and column of the table."""

    recipe: str
    step: str
    fault: Fault

    @property
    def name(self) -> str:
        return f"{self.recipe}:{self.step}:{self.fault.value}"


_NOTHING_LEFT = frozenset({"target-open", "source-image-removed", "target-image-removed"})
"""By stream and live there is no image, and «target-drbd-down» opens the volumes as well."""
RECIPES = {
    "stream": Recipe(
        "{attach: pivot, cutover: stream, compression: zstd}",
        recipe.STREAM_MOVE,
        frozenset(Phase),
        idle=_NOTHING_LEFT,
    ),
    "live": Recipe(
        "{attach: pivot, cutover: live}",
        recipe.LIVE_MOVE,
        frozenset(),
        idle=frozenset({"source-demote", "target-received", *_NOTHING_LEFT}),
        again=frozenset({"target-drbd-down"}),
    ),
    "store": Recipe("{attach: pivot, cutover: store}", recipe.PIVOT_MOVE, frozenset({Phase.CUTOVER})),
    "suspend": Recipe("{attach: suspend, cutover: store}", recipe.MOVE, frozenset()),
}


def steps(name: str) -> tuple[str, ...]:
    """All steps of a move, in order."""
    return tuple(step.name for step in RECIPES[name].steps)


def acting(name: str) -> tuple[str, ...]:
    """The steps at which a fault can be made."""
    silent = SILENT | RECIPES[name].idle
    return tuple(step for step in steps(name) if step not in silent)


def rows(name: str) -> tuple[str, ...]:
    """The steps that have a row of this recipe."""
    earlier = list(RECIPES)[: list(RECIPES).index(name)]
    taken = {step for other in earlier for step in acting(other)}
    own, again = RECIPES[name].phases, RECIPES[name].again
    return tuple(step for step in acting(name) if phase_of(step) in own or step in again or step not in taken)


def cells_of(recipe: str, step: str) -> tuple[Cell, ...]:
    """A row. Where no command is sent none can fail."""
    return tuple(
        Cell(recipe, step, fault) for fault in Fault if not (step in WAITING and fault is Fault.TOOL)
    )


def all_cells() -> tuple[Cell, ...]:
    """The whole matrix."""
    return tuple(cell for way in RECIPES for name in rows(way) for cell in cells_of(way, name))


def phase_of(name: str) -> Phase:
    """The phase of a step of a move."""
    return next(step.phase for each in RECIPES.values() for step in each.steps if step.name == name)


def expected(cell: Cell) -> frozenset[str]:
    """The ends that the table of authority allows for a fault that heals."""
    ends = _ends(cell)
    return ends | {ON} if MOVED in ends else ends


def _ends(cell: Cell) -> frozenset[str]:
    phase = phase_of(cell.step)
    if phase is Phase.SETTLE:
        return frozenset({MOVED})
    if cell.fault is Fault.ABORT:
        return frozenset({MOVED if cell.step == GO else BACK})
    if cell.step == GO or phase is Phase.CUTOVER:
        started = cell.step == GO and cell.fault is Fault.OFF_SOURCE
        calm = cell.fault in (Fault.KILL, Fault.CUT_MANAGEMENT)
        return frozenset({MOVED}) if started or calm else frozenset({MOVED, BACK})
    match cell.fault:
        case Fault.KILL | Fault.CUT_MANAGEMENT | Fault.CUT_REPLICATION:
            return frozenset({MOVED})
        case Fault.OFF_SOURCE | Fault.OFF_BOTH | Fault.REBOOT:
            return frozenset({BACK})
        case _:
            return frozenset({MOVED, BACK})


def table(seen: list[dict[str, object]]) -> str:
    """A Markdown table: steps down, faults across; an end that was not expected is set in bold."""
    found = {(row["recipe"], row["step"], row["fault"]): row for row in seen}
    head = ["recipe", "step", *(fault.value for fault in Fault)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for way in RECIPES:
        for name in rows(way):
            cells = [_word(found.get((way, name, fault.value)), Cell(way, name, fault)) for fault in Fault]
            lines.append(f"| {way} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _word(row: dict[str, object] | None, cell: Cell) -> str:
    allowed = " or ".join(sorted(_ends(cell), reverse=True))
    if row is None:
        return f"({allowed})" if cell in cells_of(cell.recipe, cell.step) else "–"
    end = str(row["end"]) + (f" ({row['reason']})" if row["end"] == HELD else "")
    if row["problems"]:
        return f"**{end}: {row['problems']}** ({allowed})"
    return f"{end} ({allowed})"
