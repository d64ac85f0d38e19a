"""`xl save` and `xl restore`."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import TYPE_CHECKING

from reconciler.simulator.domain import Domain, Image
from reconciler.simulator.filesystem import File, FileError
from reconciler.simulator.process import Fail, Result, Steps
from reconciler.simulator.tools.hotplug import (
    FATAL,
    check_memory,
    named,
    new_domain,
    plug_all,
    rebuild_failed,
)

if TYPE_CHECKING:
    from reconciler.simulator.host import SimHost

IMAGE_BYTES_PER_S = 400e6
SUSPEND_PATIENCE_S = 60.0


def save(host: SimHost, args: list[str]) -> Steps:
    """Suspends, writes the image, destroys. On failure the guest runs on, as the real one does."""
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15
    if len(words) < 2:
        raise Fail(2, "'xl save' requires at least 2 arguments.")
    domain, path = named(host, words[0]), words[1]
    image = Image(copy.deepcopy(domain.config), domain.memory_mib, copy.copy(domain.guest), complete=False)
    file = File(thing=image, bulk=0)
    try:
        file_path = host.files.put(path, file)
    except FileError as error:
        raise Fail(2, f"Failed to open temp file {path} for writing: {error}") from error
    head = f"Saving to {path} new xl format (info 0x3/0x0/1458)\n"
    if domain.paused:
        yield from not_suspended(domain, head)
    domain.suspended = True
    image.guest.last = domain.guest.last
    size = domain.memory_mib << 20
    for _ in range(8):
        yield size / IMAGE_BYTES_PER_S / 8
        if host.domains.get(domain.domid) is not domain:
            raise Fail(1, head + "Failed to save domain, resuming domain")
        if size // 8 > host.files.available or host.files.nodes.get(file_path) is not file:
            domain.suspended = False
            raise Fail(1, head + no_space(domain))
        file.bulk += size // 8
    image.complete = True
    host.destroy(domain)
    frames = domain.memory_mib * 256
    said = f"{head}xc: info: Saving domain {domain.domid}, type x86 PV\n"
    for done in range(2048, frames + 1, 2048):
        said += f"xc: progress: Frames: {done}/{frames} {100 * done // frames:>4}%\n"
    said += "xc: progress: End of stream: 0/0    0%\n"
    return Result(0, "", said)


def not_suspended(domain: Domain, head: str) -> Generator[float, None, None]:
    """A paused guest cannot be saved: one that never ran at once, another after it had time to answer."""
    number = domain.domid
    said = f"{head}xc: info: Saving domain {number}, type x86 PV\n"
    why = "Success"
    if domain.connected:
        yield SUSPEND_PATIENCE_S
        place = "libxl_dom_suspend.c:269:domain_suspend_common_pvcontrol_suspending"
        said += f"{FATAL}{place}: Domain {number}:guest didn't acknowledge suspend, cancelling request\n"
        said += "xc: error: Domain has not been suspended: shutdown 0, reason 255: Internal error\n"
        said += "xc: error: Save failed (0 = Success): Internal error\n"
    else:
        yield 1.0
        why = "Numerical result out of range"
        said += "xc: error: Bad mfn 0x5af1b0005a during page table walk: Internal error\n"
        said += f"xc: error: Save failed (34 = {why}): Internal error\n"
    done = "libxl_stream_write.c:347:libxl__xc_domain_save_done"
    said += (
        f"{FATAL}{done}: Domain {number}:saving domain: domain did not respond to suspend request: {why}\n"
    )
    said += f"Failed to save domain, resuming domain\nxc: error: Dom {number} not suspended: "
    said += "(shutdown 0, reason 255): Internal error\n"
    last = "libxl_dom_suspend.c:666:domain_resume_done"
    raise Fail(1, f"{said}{FATAL}{last}: Domain {number}:xc_domain_resume failed: Invalid argument")


def no_space(domain: Domain) -> str:
    error = "(28 = No space left on device): Internal error"
    return (
        f"xc: info: Saving domain {domain.domid}, type x86 PV\n"
        f"xc: error: Failed to write page data to stream {error}\n"
        f"xc: error: Save failed {error}\n"
        f"{FATAL}libxl_stream_write.c:347:libxl__xc_domain_save_done: Domain {domain.domid}:saving domain: "
        "domain responded to suspend request: No space left on device\n"
        "Failed to save domain, resuming domain\n"
    )


def restore(host: SimHost, args: list[str]) -> Steps:
    words = [arg for arg in args if not arg.startswith("-")]
    yield 0.15
    if len(words) != 1:
        raise Fail(2, "'xl restore' requires at least 1 argument.")
    try:
        node = host.files.get(words[0])
    except FileError as error:
        raise Fail(1, f"Can't open restore file: {error}") from error
    image = node.thing if isinstance(node, File) else None
    if not isinstance(image, Image):
        short = f"libxl_utils.c:505:libxl_read_exactly: file/stream truncated reading header from {words[0]}"
        asked = 'libxl_read_exactly( ctx, restore_fd, &hdr, sizeof(hdr), restore_source, "header")'
        fatal = f"xl: fatal error: xl_vmcontrol.c:713: Protocol error: {asked}"
        raise Fail(1, f"{FATAL}{short}\n{fatal}")
    head = (
        f"Loading new save file {words[0]} (new xl fmt info 0x3/0x0/1458)\n"
        " Savefile contains xl domain config in JSON format\nParsing config from <saved>\n"
    )
    try:
        domain = new_domain(host, image.config, copy.copy(image.guest))
        yield from check_memory(host, domain)
        yield (image.memory_mib << 20) / IMAGE_BYTES_PER_S
        if not image.complete:
            raise cut_short(host, domain)
        if image.memory_mib > image.config["b_info"]["target_memkb"] // 1024 + 1:
            raise too_large(host, domain)
        yield from plug_all(host, domain)
    except Fail as fail:
        raise Fail(1, head + fail.result.stderr) from fail
    domain.pauses, domain.connected = int("-p" in args), "-p" not in args
    lines = (
        "Found x86 PV domain from Xen 4.17",
        "Restoring domain",
        "Restore successful",
        "XenStore: mfn 0x5a052, dom 0, evt 1",
        "Console: mfn 0x5a051, dom 0, evt 2",
    )
    return Result(0, "", head + "".join(f"xc: info: {line}\n" for line in lines))


def too_large(host: SimHost, domain: Domain) -> Fail:
    """The guest had more memory than its target when it was saved: a balloon that never came down."""
    lines = ("Found x86 PV domain from Xen 4.17", "Restoring domain")
    first = "".join(f"xc: info: {line}\n" for line in lines)
    busy = "(16 = Device or resource busy): Internal error"
    first += f"xc: error: Failed to populate physmap {busy}\n"
    first += "xc: error: Failed to populate pfns for batch of 1024 pages: Internal error\n"
    first += f"xc: error: Restore failed {busy}"
    last = "libxl_stream_read.c:850:libxl__xc_domain_restore_done: restoring domain: Device or resource busy"
    return rebuild_failed(host, domain, first, last)


def cut_short(host: SimHost, domain: Domain) -> Fail:
    read = "Failed to read 4202504 bytes of data for record (0x00000001, Page data) (0 = Success)"
    lines = ("Found x86 PV domain from Xen 4.17", "Restoring domain")
    first = "".join(f"xc: info: {line}\n" for line in lines)
    first += f"xc: error: {read}: Internal error\nxc: error: Restore failed (0 = Success): Internal error"
    last = "libxl_stream_read.c:850:libxl__xc_domain_restore_done: restoring domain: Success"
    return rebuild_failed(host, domain, first, last)
