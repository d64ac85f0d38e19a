"""The steps that make a new domain."""

from __future__ import annotations

from dataclasses import replace

from reconciler.commands import files, lvm, xl
from reconciler.model.facts import (
    DomainSeen,
    DomainState,
    Vbd,
    View,
    VolumeGroup,
)
from reconciler.moves.step import Mark, Verdict
from tests.moves.journeys import at, back
from tests.moves.states import (
    FLUSH_FAST,
    MADE,
    NEW,
    NEW_LINK,
    NEW_TEXT,
    PAUSED,
    S,
    acts,
    again,
    dom,
    judge,
    new,
    rebooted,
)
from tests.planning.site import MIB, changed, empty, volume


def test_what_was_made_for_a_new_domain_stays_so_after_a_loss_of_power() -> None:
    written = changed(MADE, NEW_TEXT, NEW.config_text)
    assert again(at("new-links"), empty("xen1"), MADE, NEW) == [files.sync_folder(files.LINKS_DIR)]
    assert again(at("new-config"), empty("xen1"), written, NEW) == [files.sync_folder("/etc/xen")]


def test_new_volumes() -> None:
    bare = empty("xen2")
    assert new("new-volumes").mark is Mark.DONE
    assert new("new-volumes", view=bare).mark is Mark.READY
    two = replace(NEW, disks=(*NEW.disks, replace(NEW.disks[0], volume="web1-data")))
    (created,) = acts(at("new-volumes"), empty("xen1"), MADE, two)
    assert "web1-data" in created[1].argv, "what is there is not made again"
    assert (
        "never reused"
        in new("new-volumes", view=changed(bare, lvm.VOLUMES, (volume("web1-root", group="fast"),))).why
    )
    full = changed(bare, lvm.GROUPS, (VolumeGroup("fast", 1 << 40, 4 * MIB, 4 * MIB),))
    assert "bytes needed" in new("new-volumes", view=full).why
    assert new("new-links").mark is Mark.DONE
    assert "already points to" in new("new-links", view=changed(MADE, files.LINKS, {NEW_LINK: "/dev/x"})).why


def test_new_contents() -> None:
    assert new("populate").mark is Mark.READY
    there = changed(MADE, xl.DOMAINS, (PAUSED,))
    assert "its disks are not written" in new("populate", view=there).why
    marked = frozenset({NEW.tag, "xr.populated"})
    filled = changed(there, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast", tags=marked),))
    assert new("populate", view=filled).mark is Mark.DONE
    assert NEW.provision is not None
    disk = NEW.provision.disks[0]
    tarball = replace(disk, source=replace(disk.source, image=None, tarball="/t.tar"))
    order = replace(NEW, provision=replace(NEW.provision, disks=(tarball,)))
    commands = [c.argv[0] for _, c in acts(at("populate"), empty("xen1"), MADE, order)]
    assert commands[0] == "mkfs.ext4" and commands[-1] == "lvchange"
    nothing = replace(disk, source=replace(disk.source, image=None))
    order = replace(NEW, provision=replace(NEW.provision, disks=(nothing,)))
    assert [c.argv[0] for _, c in acts(at("populate"), empty("xen1"), MADE, order)] == ["lvchange"]


def test_new_configuration() -> None:
    assert new("new-config", view=changed(MADE, NEW_TEXT, None)).mark is Mark.READY
    assert new("new-config", view=changed(MADE, NEW_TEXT, NEW.config_text)).mark is Mark.DONE
    assert "other content" in new("new-config", view=changed(MADE, NEW_TEXT, "mine")).why


def test_a_new_domain_is_created_and_started() -> None:
    def copy(found: DomainSeen, numbers: tuple[int, int] = (253, 10), joined: bool = False) -> View:
        view = changed(MADE, xl.DOMAINS, (found,))
        return changed(view, xl.VBDS, (Vbd(3, NEW.disks[0].device, numbers, joined),))

    assert new("create").mark is Mark.READY
    assert new("create", view=copy(PAUSED)).mark is Mark.DONE
    assert "other devices open" in new("create", view=copy(PAUSED, (8, 0))).why
    ready = new("start", view=copy(PAUSED))
    assert (ready.mark, ready.never_ran) == (Mark.READY, True)
    assert not new("start", view=rebooted(copy(PAUSED))).never_ran
    assert "other devices open" in new("start", view=copy(PAUSED, (8, 0))).why
    assert new("start", view=rebooted(copy(PAUSED, (8, 0)))).mark is Mark.WAIT
    assert new("start", view=copy(dom())).mark is Mark.DONE
    assert "is not there" in new("start").why
    created = acts(at("start"), empty("xen1"), rebooted(MADE), NEW)
    assert created[-1][1].argv[:3] == ("xl", "create", "-p")


def test_a_new_domain_leaves_nothing_but_itself() -> None:
    clean = changed(MADE, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast"),))
    assert new("new-untagged").mark is Mark.READY
    assert new("new-untagged", view=clean).mark is Mark.DONE
    half = changed(clean, files.UNFINISHED, {f"{NEW_LINK}.xr-new": 0, f"{NEW.config_path}.xr-new": 9})
    assert new("new-untagged", view=half).mark is Mark.READY
    removed = [command for _, command in acts(at("new-untagged"), empty("xen1"), half, NEW)]
    assert removed == [
        files.remove(f"{NEW.config_path}.xr-new", f"{NEW_LINK}.xr-new"),
        files.sync_folder("/etc/xen"),
    ]


def test_a_new_domain_that_is_given_up() -> None:
    def going(view: View, *tried: str) -> Verdict:
        return judge(back("back-provision-removed", *tried), empty("xen1"), view, NEW)

    there = changed(changed(MADE, xl.DOMAINS, (PAUSED,)), NEW_TEXT, NEW.config_text)
    tried = ("create", "new-config", "new-autostart")
    auto = changed(there, files.CONFIG_FILES, S.get(files.CONFIG_FILES))
    commands = [
        " ".join(c.argv) for _, c in acts(back("back-provision-removed", *tried), empty("xen1"), auto, NEW)
    ]
    assert commands[0] == "xl destroy web1"
    assert commands[1].startswith("rm -f /etc/xen/auto/web1.cfg") and commands[-2:] == [
        "lvremove -y fast/web1-root",
        FLUSH_FAST,
    ]
    nothing = changed(empty("xen2"), NEW_TEXT, None)
    assert going(nothing).mark is Mark.DONE
    link_only = changed(nothing, files.LINKS, {NEW_LINK: "/dev/fast/web1-root"})
    assert going(link_only).mark is Mark.DONE, "not this order's"
    given_up = acts(back("back-provision-removed", "new-links"), empty("xen1"), link_only, NEW)
    assert [command for _, command in given_up] == [files.remove(NEW_LINK), files.sync_folder("/etc/xen")]
    of_another = changed(link_only, lvm.VOLUMES, (volume("web1-root", 512, 10, "fast"),))
    assert going(of_another, "new-links").mark is Mark.DONE, "it may be that one's"
    full = changed(nothing, files.UNFINISHED, {f"{NEW.config_path}.xr-new": 0})
    removed = acts(back("back-provision-removed"), empty("xen1"), full, NEW)
    assert removed[0][1] == files.remove(f"{NEW.config_path}.xr-new")
    assert going(changed(changed(MADE, xl.DOMAINS, (dom(),)), NEW_TEXT, None)).ran_there
    paused = changed(changed(MADE, xl.DOMAINS, (dom(DomainState.PAUSED),)), NEW_TEXT, None)
    assert "nothing is removed" in going(paused).why
    assert going(rebooted(paused)).mark is Mark.WAIT
    stopped = changed(auto, xl.DOMAINS, ())
    assert going(stopped, *tried).mark is Mark.READY
    assert going(rebooted(stopped), *tried).ran_there  # its host started it at the boot, and it has stopped
    assert going(rebooted(stopped), "create", "new-config").mark is Mark.READY
