"""People's requests to the real daemon: answered in the report, heeded between steps, safe in a freeze."""

from __future__ import annotations

import datetime
import time
from typing import Any

from reconciler import mailbox
from reconciler.model.request import Verb
from reconciler.simulator.live import Handle
from tests.site import Site, entry
from tests.test_daemon import at, fleet, in_step, link, site

__all__ = ["fleet", "site"]


def answer(report: dict[str, Any], verb: str) -> dict[str, Any]:
    return next((row for row in report["requests"] if row["verb"] == verb), {})


def resting(report: dict[str, Any]) -> bool:
    web1 = entry(report)
    return web1.get("state") == "held" and bool(web1.get("held_by_operator"))


def test_abort_in_the_sync_goes_back_and_the_domain_stays(site: Site, fleet: Handle) -> None:
    link(fleet, 1e6)
    commit = site.place(web1="xen2")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    told = site.call("explain", "web1")
    assert told.returncode == 0, told.stderr
    for text in ("step sync of phase mirror", "xen1: nothing of web1", "web1 is running", "xr-web1 Primary"):
        assert text in told.stdout, told.stdout
    done = site.call("abort", "web1", "--reason", "not now", "--wait", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes back from step" in done.stdout
    report = site.wait("the end", lambda r: bool(r["history"]) and entry(r)["state"] == "later", 60)
    assert report["history"][0]["reason"] == "aborted"
    assert answer(report, "abort")["outcome"] == "done"
    assert entry(report)["held_by_operator"] == {
        "since": answer(report, "abort")["at"],
        "by": "abort",
        "reason": "not now",
        "while_commit": commit,
    }
    time.sleep(2)
    assert entry(site.report())["move"] is None
    assert fleet.where("web1") == "xen1"
    assert fleet.violations() == []
    link(fleet, 110e6)
    done = site.call("resume", "web1", "--wait", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    site.wait("web1 on xen2", at("xen2"), 60)
    assert fleet.violations() == []


def test_a_hold_stops_a_move_between_steps_and_resume_lets_it_go_on(site: Site, fleet: Handle) -> None:
    link(fleet, 1e6)
    site.place(web1="xen2")
    site.start()
    site.wait("the sync", in_step("sync"), 60)
    done = site.call("hold", "web1", "--reason", "a backup runs", "--wait", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    report = site.wait("the hold", resting, 30)
    held = entry(report)
    assert held["held_by_operator"]["reason"] == "a backup runs"
    assert held["move"]["frozen"] is False
    step = held["move"]["step"]
    link(fleet, 110e6)
    time.sleep(3)
    assert entry(site.report())["move"]["step"] == step
    assert fleet.where("web1") == "xen1"
    assert site.stop() == 0
    site.start()
    time.sleep(3)
    assert entry(site.report())["move"]["step"] == step
    done = site.call("resume", "web1", "--wait", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on at step" in done.stdout
    report = site.wait("web1 on xen2", at("xen2"), 60)
    assert entry(report)["held_by_operator"] is None
    assert fleet.violations() == []


def test_a_hold_in_the_freeze_lets_the_domain_run_first_and_after_go_abort_is_refused(
    site: Site, fleet: Handle
) -> None:
    fleet.live.speed = 5.0  # the freeze takes more than a second, the report is looked at five times in each
    site.place(web1="xen2")
    site.start()
    site.wait("the freeze", in_step("cutover-live", "source-demote", "target-drbd-down"), 60)
    request = mailbox.new(Verb.HOLD, "web1", None, "", datetime.datetime.now(datetime.UTC))
    mailbox.put(mailbox.folder_of(site.report_file.parent), request)
    report = site.wait("the hold", resting, 60)
    assert "stops as soon as web1 surely runs" in answer(report, "hold")["text"]
    assert entry(report)["move"]["step"] == "source-drbd-down"
    assert entry(report)["move"]["frozen"] is False
    assert fleet.where("web1") == "xen2"
    done = site.call("abort", "web1", "--wait", "30")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "refused: web1 was seen running on xen2, which holds the truth" in done.stderr
    assert answer(site.report(), "abort")["outcome"] == "refused"
    assert site.call("resume", "web1", "--wait", "30").returncode == 0
    site.wait("web1 on xen2", at("xen2"), 60)
    assert fleet.violations() == []


def test_requests_are_kept_for_the_next_start_and_no_move_is_begun(site: Site, fleet: Handle) -> None:
    site.place(web1="xen1")
    assert site.call("once").returncode == 0
    done = site.call("hold", "web1", "--wait", "0.5")
    assert done.returncode == 2
    assert "The request is kept" in done.stderr
    site.place(web1="xen2")
    assert site.call("once").returncode == 2
    report = site.report()
    assert answer(report, "hold")["outcome"] == "done"
    assert (entry(report)["state"], entry(report)["move"]) == ("later", None)
    assert fleet.where("web1") == "xen1"
    site.call("hold", "nobody", "--wait", "0")
    site.call("release", "web1", "--i-have-checked", "--wait", "0")
    site.call("resume", "web1", "--wait", "0")
    done = site.call("once")
    assert done.returncode == 0, done.stdout + done.stderr
    report = site.report()
    told = {row["verb"]: (row["outcome"], row["text"]) for row in reversed(report["requests"])}
    assert told["resume"][0] == "done"
    assert told["release"] == ("refused", "no move of web1 is under way")
    assert told["hold"][0] == "refused"
    assert fleet.where("web1") == "xen2"
    assert site.call("release", "web1").returncode == 1
    assert fleet.violations() == []
