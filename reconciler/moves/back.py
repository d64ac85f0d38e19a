"""Going back: the domain runs on the source, the target keeps nothing. Only before GO, or when it never ran.

Order: first make sure the target's copy can't run, then bring the source back, then clean up. What the
target has to answer for depends on how far the move was: a target where no restore was ever tried holds
no copy of the domain, so the source need not wait for it.
"""

from __future__ import annotations

from reconciler.model.move import Side
from reconciler.moves.back_plain import SourcePlain
from reconciler.moves.back_source import (
    SourceAutostart,
    SourceDetached,
    SourceFlipped,
    SourceLeftovers,
    SourceRestored,
    SourceRuns,
    SourceStill,
    SourceWrongDestroyed,
)
from reconciler.moves.back_target import TargetCleaned, TargetDestroyed, TargetDetached
from reconciler.moves.fence import Fence
from reconciler.moves.step import Step

_FIRST: tuple[Step, ...] = (
    Fence("back-target-fence", Side.TARGET, always=False),
    TargetDestroyed(),
    Fence("back-source-fence", Side.SOURCE, always=True),
)
_THEN: tuple[Step, ...] = (
    SourceWrongDestroyed(),
    SourceDetached(),
    SourceFlipped(),
    SourceRestored(),
    SourceRuns(),
    SourceAutostart(),
    SourceLeftovers(),
    Fence("back-target-fence-late", Side.TARGET, always=True),
    TargetDetached(),
    TargetCleaned(),
    SourceStill(),
)
STEPS: tuple[Step, ...] = (*_FIRST, *_THEN)
PIVOT_STEPS: tuple[Step, ...] = (*_FIRST, SourcePlain(), *_THEN)
