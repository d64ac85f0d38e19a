"""Journeys as the report shows them: under way, and finished. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from reconciler.model.move import Direction, Phase, Prediction, Progress, Reason, Status
from reconciler.moves import recipe
from reconciler.moves.journal import Event, EventKind, Record
from reconciler.moves.mirror import Sync
from reconciler.report import advice
from reconciler.report.advice import Advice
from reconciler.report.timings import Timings, phase_of, timings
from reconciler.report.words import clean, moment, rounded

CLOSED = "closed"
MIN_RATE_S = 1.0


def under_way(record: Record, times: Timings, now: datetime.datetime) -> dict[str, Any]:
    """A journey that has not ended."""
    progress = record.progress
    phase = phase_of(record.order, progress.step)
    return {
        **_ordered(record),
        "status": progress.status.value,
        "direction": progress.direction.value,
        "phase": phase.value if phase else None,
        "step": progress.step,
        "step_began": moment(progress.step_began),
        "attempts": max(0, progress.attempts),
        "retry_at": moment(progress.retry_at),
        "frozen": times.frozen,
        "sync": _sync(record, times, now),
        **_spans(times, now),
    }


def finished(record: Record, events: Sequence[Event]) -> dict[str, Any]:
    """A journey that has ended; one without an end of its own was closed by hand."""
    times = timings(record, events)
    progress = record.progress
    ended = record.ended or progress.step_began
    reason, detail = why_back(record, events) if progress.status is Status.BACK else (None, "")
    return {
        "domain": record.order.domain,
        **_ordered(record),
        "outcome": progress.status.value if progress.ended else CLOSED,
        "ended": moment(ended),
        "duration_s": rounded(max(0.0, (ended - record.began).total_seconds())),
        "reason": reason.value if reason else None,
        "detail": clean(detail) or None,
        **_spans(times, ended),
    }


def _ordered(record: Record) -> dict[str, Any]:
    order = record.order
    return {
        "id": order.move_id,
        "kind": order.kind.value,
        "epoch": order.epoch,
        "commit": order.commit,
        "source": order.source.name if order.source else None,
        "target": order.target.name,
        "standby": order.standby,
        "began": moment(record.began),
        "disk_bytes": sum(disk.size_bytes for disk in order.disks),
        "memory_mib": order.memory_mb,
        "predicted": predicted(order.prediction) if order.source else None,
    }


def predicted(prediction: Prediction) -> dict[str, Any]:
    return {
        "sync_s": prediction.sync_s,
        "freeze_attach_s": prediction.freeze_attach_s,
        "freeze_cutover_s": prediction.freeze_cutover_s,
        "learned_from_moves": prediction.learned,
    }


def _spans(times: Timings, now: datetime.datetime) -> dict[str, Any]:
    return {
        "phases": [
            {
                "phase": span.phase.value,
                "began": moment(span.began),
                "ended": moment(span.ended),
                "duration_s": rounded(span.seconds_at(now)),
            }
            for span in times.phases
        ],
        "steps": [
            {
                "step": span.step,
                "phase": span.phase.value if span.phase else None,
                "began": moment(span.began),
                "ended": moment(span.ended),
                "duration_s": rounded(span.seconds_at(now)),
            }
            for span in times.steps
        ],
        "freezes": [
            {
                "kind": span.kind.value,
                "began": moment(span.began),
                "ended": moment(span.ended),
                "measured_s": rounded(span.seconds_at(now)),
                "predicted_s": span.predicted_s,
                "exact": span.exact,
                "parts": [
                    {"step": step, "duration_s": rounded(seconds)}
                    for step, seconds in span.parts(times.steps, now)
                ],
            }
            for span in times.freezes
        ],
    }


def _sync(record: Record, times: Timings, now: datetime.datetime) -> dict[str, Any] | None:
    """None before the sync and on the way back; the time left follows from the mean rate so far."""
    if record.progress.direction is Direction.BACK:
        return None
    span = next((step for step in reversed(times.steps) if step.step == Sync.name), None)
    if span is None:
        return None
    if span.ended is not None:
        return {"percent": 100.0, "eta_s": None}
    percent = record.progress.sync_percent
    if percent is None:
        return {"percent": None, "eta_s": None}
    past_s = span.seconds_at(now)
    eta_s = past_s * (100.0 - percent) / percent if percent > 0 and past_s >= MIN_RATE_S else None
    return {"percent": percent, "eta_s": rounded(eta_s)}


def why_back(record: Record, events: Sequence[Event]) -> tuple[Reason | None, str]:
    """Why a journey turned back: what was written then, as later trouble on the way back covers it up."""
    for event in events:
        if event.kind is EventKind.TURNED_BACK and event.detail.get("reason"):
            return Reason(event.detail["reason"]), str(event.detail.get("detail", ""))
    return record.progress.reason, record.progress.detail


def last_error(record: Record, events: Sequence[Event], times: Timings) -> dict[str, Any] | None:
    """The trouble a journey under way is in, or None."""
    order, progress = record.order, record.progress
    if progress.status is Status.HELD and progress.reason:
        told = advice.stopped(order, progress, progress.reason, times.frozen)
        return error(_last(events, EventKind.HELD), progress.reason, progress.detail, told)
    if progress.direction is Direction.BACK:
        reason, detail = why_back(record, events)
        told = advice.stopped(order, progress, reason or Reason.STEP_FAILED, times.frozen)
        return error(_last(events, EventKind.TURNED_BACK), reason, detail, told)
    told = advice.retried(order, progress, times.frozen)
    if progress.unknown_since is not None:
        return error(progress.unknown_since, None, progress.detail, told)
    failed = _failed(events, progress)
    return error(failed[0], None, failed[1], told) if failed else None


def gone_back(record: Record, events: Sequence[Event]) -> dict[str, Any]:
    """The trouble that made a finished journey go back."""
    reason, detail = why_back(record, events)
    return error(record.ended, reason, detail, advice.went_back(record.order, reason))


def error(at: datetime.datetime | None, reason: Reason | None, text: str, told: Advice) -> dict[str, Any]:
    return {
        "at": moment(at),
        "reason": reason.value if reason else None,
        "text": clean(text),
        "safe": clean(told.safe),
        "what_to_do": [clean(line) for line in told.what_to_do],
        "page": told.page,
    }


def _last(events: Sequence[Event], kind: EventKind) -> datetime.datetime | None:
    return next((event.at for event in reversed(events) if event.kind is kind), None)


def _failed(events: Sequence[Event], progress: Progress) -> tuple[datetime.datetime, str] | None:
    """The last command of the step at hand, if it did not succeed."""
    outcomes = [event for event in events if event.kind is EventKind.OUTCOME]
    if not outcomes or outcomes[-1].step != progress.step or progress.attempts == 0:
        return None
    for row in outcomes[-1].detail.get("commands", []):
        if row.get("exit") != 0:
            line = " ".join(row.get("argv", []))
            said = (
                row.get("no_answer")
                or row.get("skipped")
                or f"exit {row.get('exit')} {row.get('stderr', '')}"
            )
            return outcomes[-1].at, f"{row.get('host')}: «{line}»: {str(said).strip()}"
    return None


def standing(record: Record, times: Timings) -> str | None:
    """The host the domain is on, as far as the journey knows; None while it is on no one host for sure."""
    order, progress = record.order, record.progress
    source = order.source.name if order.source else None
    if progress.status is Status.MOVED:
        return order.target.name
    if progress.status is Status.BACK:
        return source
    if progress.reason is Reason.TWO_RUNNERS:
        return None
    if progress.direction is Direction.BACK:
        return source
    started = any(step.step in recipe.START_STEPS and step.ended for step in times.steps)
    if started or phase_of(order, progress.step) is Phase.SETTLE:
        return order.target.name
    return None if recipe.START_STEPS & progress.tried else source
