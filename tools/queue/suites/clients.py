# SPDX-License-Identifier: GPL-2.0
"""Desktop programs that ask for the sync_file ioctls by themselves, as Debian ships them, on a kernel with and without.

Probes in the guest's kernel see what each asks of a dma-buf. A row is one program: what it says and what it asks tell
whether it found the ioctls. On the kernel with the queue it has to, on others that would be a fault of the test.
"""

import re
import shutil
from collections import Counter
from dataclasses import dataclass

from base import config, steps
from lab import build, desktop, guest
from suites import images, inguest, picture
from suites.results import FAIL, PASS
from weave import patchfile, tree

KIND = "plain"
MEMORY = 2048       # MiB: the programs are in the initramfs, and once more beside it while the kernel unpacks that
DISPLAY = "virtio-gpu-pci,xres=320,yres=240"
SECONDS = 300       # a program may take; 30 are usual under emulation
SCRIPT = config.HERE / "guest" / "desktop"
PICTURE = config.HERE / "guest" / "picture.node"
SCANOUT = config.HERE / "guest" / "scanout.c"
# What PICTURE has where, as GTK draws it.
PIXELS = {(2, 2): (30, 60, 120), (10, 128): (255, 255, 255), (26, 26): (30, 60, 120), (128, 128): (232, 125, 75),
          (28, 128): (243, 165, 68), (228, 128): (222, 84, 82)}
TOLERANCE = 6
WITH, WITHOUT = "with", "without"
IOCTLS = {0xc0086202: "EXPORT", 0x40086203: "IMPORT"}
ACCESS = {1: "READ", 2: "WRITE", 3: "RW"}
CALL = re.compile(r"^ *(?P<comm>.+)-(?P<tid>\d+) +\[\d+\] .*? (?:asked: \(\S+\) cmd=0x(?P<cmd>[0-9a-f]+) flags=(?P<flags>0x[0-9a-f]+|\(fault\))"
                  r"|done: \(.*\) ret=(?P<ret>-?\d+))$", re.MULTILINE)
ENOTTY = -25
TOGGLES = {"CONFIG_DMABUF_SYNC_FILE_IOCTLS": "n"}
UPSTREAM = (6, 0)   # the first kernel that has the ioctls without the queue


@dataclass(frozen=True)
class Call:
    """One of the ioctls: what a program asked for and got."""

    comm: str
    name: str       # EXPORT(READ), say
    result: int


def calls(trace):
    """The Calls in a guest's @trace. What a thread asked last is what it gets an answer to."""
    asked, found = {}, []
    for line in CALL.finditer(trace):
        tid = line["tid"]
        if line["cmd"]:
            ioctl = IOCTLS.get(int(line["cmd"], 16))
            access = ACCESS.get(int(line["flags"], 16) if line["flags"].startswith("0x") else 0, line["flags"])
            asked[tid] = f"{ioctl}({access})" if ioctl else None
        elif name := asked.pop(tid, None):
            found.append(Call(line["comm"], name, int(line["ret"])))
    return found


def counted(found):
    """How many of which calls, in words."""
    words = []
    for (name, result), number in sorted(Counter((call.name, call.result) for call in found).items()):
        words.append(f"{number} {name}" + ("" if result == 0 else " ENOTTY" if result == ENOTTY else f" {result}"))
    return ", ".join(words) or "none"


@dataclass(frozen=True)
class Seen:
    """What one program showed: @state is WITH or WITHOUT, or "" where it is neither."""

    state: str
    words: str
    calls: tuple


def state(*answers):
    """WITH if all are true, WITHOUT if none is."""
    return WITH if all(answers) else "" if any(answers) else WITHOUT


def succeeded(found, name):
    return sum(call.name == name and call.result == 0 for call in found)


# Of each program: (state, words), by what it printed, its calls, and the directory that it left.

def read_vulkan(log, _found, _where):
    names = [name for name in ("VK_KHR_external_semaphore_fd", "VK_KHR_external_fence_fd") if re.search(rf"\b{name}\b", log)]
    if "llvmpipe" not in log:
        return "", "no lavapipe"
    short = [name.removeprefix("VK_KHR_") for name in names]
    return state(len(names) == 2, bool(names)), ", ".join(short) or "no external_semaphore_fd, _fence_fd"


def read_weston(log, _found, _where):
    answer = re.search(r"explicit sync: (yes|no)", log)
    if not answer or "llvmpipe" not in log:
        return "", "no word of explicit sync on llvmpipe"
    return state(answer[1] == "yes"), f"explicit sync: {answer[1]}"


def read_render(log, found, where):
    answers = [f"semaphore-{way}: \N{CHECK MARK}" in log for way in ("export", "import")]
    if problem := wrong_picture(where / "picture.png"):
        return "", problem
    number = succeeded(found, "IMPORT(WRITE)")
    return state(*answers, number > 0), f"the picture is right, {number or 'no'} IMPORT"


def read_buffer(log, found, _where):
    if set(re.findall(r"^(not ok|ok|Bail out!)(?= |$)", log, re.MULTILINE)) != {"ok"}:
        return "", "the test does not pass"
    number = succeeded(found, "EXPORT(READ)")
    return state(number > 0), f"passes, {number or 'no'} EXPORT(READ)"


def read_pending(log, found, _where):
    """The frame is red before the fence signals, and green from then on. See scanout.c."""
    times = {what: float(when) for when, what in re.findall(r"^([\d.]+): (EXPORT|the fence|a picture)", log, re.MULTILINE)}
    frame = re.search(r": a picture begins with (\w+)(, the fence is pending)?$", log, re.MULTILINE)
    if not frame:
        return "", "no frame"
    number = succeeded(found, "EXPORT(READ)")
    if frame[1] == "00c000" and {"EXPORT", "the fence"} < times.keys() and number:
        fence, came = (times[what] - times["EXPORT"] for what in ("the fence", "a picture"))
        return WITH, f"fence {fence:.1f} s after EXPORT, finished frame {came:.1f} s"
    early = frame[1] == "c00000" and frame[2] and "No support for synchronization" in log and not number
    return (WITHOUT if early else ""), "an unfinished frame, at once" if early else f"a frame {frame[1]}"


def wrong_picture(path):
    """What is wrong with the picture that GTK drew, or ""."""
    if not path.exists():
        return "no picture"
    pixels = picture.read_png(path.read_bytes())
    for (x, y), expected in PIXELS.items():
        if max(abs(a - b) for a, b in zip(pixels[y][x], expected)) > TOLERANCE:
            return f"the picture has {pixels[y][x][:3]} at {x},{y}, not {expected}"
    return ""


@dataclass(frozen=True)
class Row:
    name: str
    program: str
    read: object


ROWS = (Row("vulkan", "vulkaninfo on lavapipe", read_vulkan),
        # Before weston, which is the first to open the display and keeps it.
        Row("pending", "ffmpeg grabs a pending frame", read_pending),
        Row("weston", "weston, headless, GL on llvmpipe", read_weston),
        Row("render", "gtk4-rendernode-tool, Vulkan", read_render),
        Row("buffer", "GTK's test gdk/dmabuf-support", read_buffer))
# What 5.10 says without udmabuf-pfnmap.patch, when GTK's test closes its buffer.
BAD = "BUG: Bad page cache in process dmabuf-support"
SCREEN = "screen"       # shows weston's own picture, for the demonstration
FLAVOURS = {WITHOUT: "off", WITH: "queue"}
NOTE = "EXPORT(RW) is Mesa's driver, which asks when it starts; READ and WRITE are the program's own. None of the programs was changed."


def look(row, boot):
    """What the program of @row showed in that @boot: a Seen."""
    status = boot.status.get(row.name)
    trace = boot.path(row.name) / "calls"
    found = tuple(calls(trace.read_text(encoding="utf-8", errors="replace"))) if trace.exists() else ()
    if status is None:
        return Seen("", "the guest did not come so far", found)
    if status:
        return Seen("", inguest.timeout(boot, row.name) or f"exit status {status}", found)
    shown, words = row.read(boot.log(row.name), found, boot.path(row.name))
    # Each of them asks, whatever the kernel says.
    if shown and {call.result for call in found} != {0 if shown == WITH else ENOTTY}:
        return Seen("", f"{words}, though the kernel answered otherwise", found)
    return Seen(shown, words, found)


def plan(screen=False):
    names = [row.name for row in ROWS] + [SCREEN] * screen
    return [guest.Item("uname", 60, "uname -srv"), guest.Item("start", 60, "sh /test/desktop start"),
            *(guest.Item(name, SECONDS, f"sh /test/desktop {name}") for name in names)]


def files(kernel):
    return {**desktop.CLIENTS.files(), **{f"ffmpeg/{name}": path for name, path in desktop.FFMPEG.files().items()},
            "test/desktop": SCRIPT, "test/picture.node": PICTURE, "test/scanout": scanout(kernel)}


def scanout(kernel):
    """The program of SCANOUT, with the headers that @kernel has for user space."""
    program = config.BUILD / f"scanout-{kernel.name}"
    steps.run(["gcc", "-O2", "-Wall", "-static", "-D__user=", "-idirafter", kernel.tree / "include/uapi", "-o", program, SCANOUT],
              log=config.BUILD / "log" / "scanout.log", what=f"building {SCANOUT.name}")
    return program


def kernels(kernel):
    """{WITHOUT: , WITH: } the files to boot: the woven kernel with the ioctls' toggle off, and on.

    Both are made in one place, since few objects differ; elsewhere, or with more toggles off, all of them were made again.
    """
    place = build.KINDS[KIND].place
    off = images.kernel_image(kernel, "off", KIND, TOGGLES, place).bootable
    kept = off.with_name("bzImage-off")
    shutil.copy(off, kept)
    return {WITHOUT: kept, WITH: images.kernel_image(kernel, "queue", KIND).bootable}


def boot(kernel, flavour, image, screen=False):
    """Run it all in a guest; with @screen also what is only for show."""
    with steps.step(f"booting {kernel.name} {flavour}: {len(ROWS)} desktop programs"):
        return guest.run(f"{kernel.name}-clients-{flavour}", image, files(kernel), plan(screen), leaks=False, memory=MEMORY,
                         devices=[DISPLAY])


def problems(boot, wanted):
    """What is not as it should be in a @boot on a kernel of which each row has to show the state @wanted."""
    found = [boot.error] if boot.error else []
    for row in ROWS:
        seen = look(row, boot)
        if seen.state != wanted:
            found.append(f"{row.name}: {seen.words}, where {wanted} the ioctls is due; see {boot.dir}/out/{row.name}.log")
    return found + [f"the kernel complained: {line}; see {boot.dir}/console.log" for _, line in boot.splats()[:1]]


def page(boots):
    """Lines that show both @boots, {WITHOUT: , WITH: }, side by side."""
    seen = {state: [look(row, boot) for row in ROWS] for state, boot in boots.items()}
    cells = [["", *(f"{state} the ioctls" for state in boots)],
             ["", *(boot.log("uname").strip().split(" #")[0] for boot in boots.values())]]
    for number, row in enumerate(ROWS):
        cells.append([row.program, *(seen[state][number].words for state in boots)])
        cells.append(["  its calls", *(counted(seen[state][number].calls) for state in boots)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["", *("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells), "", NOTE]


def keep_pictures(boots, directory):
    """Copy the pictures that programs left into @directory; returns their new paths."""
    found = []
    directory.mkdir(parents=True, exist_ok=True)
    for state, boot in boots.items():
        for path in sorted(boot.dir.glob("out/*/*.png")):
            found.append(directory / f"{state}-{path.name}")
            shutil.copy(path, found[-1])
    return found


def check(kernel, results):
    """The suite: on the kernel with the queue each program finds the ioctls; with the toggles off, and unpatched, none does."""
    made = kernels(kernel)
    for state, prefix in ((WITH, ""), (WITHOUT, "toggles-off.")):
        judge(kernel, boot(kernel, FLAVOURS[state], made[state]), state, prefix, results)
    if patchfile.version(kernel.name) < UPSTREAM:
        tree.make_control(config.queue(), kernel)
        plain = images.kernel_image(kernel, "control", KIND).bootable
        judge(kernel, boot(kernel, "control", plain), WITHOUT, "control.", results, known=BAD)


def judge(kernel, boot, wanted, prefix, results, known=None):
    """A result for each row of @boot, which has to show the state @wanted, and one for the console, which may say @known."""
    for row in ROWS:
        seen = look(row, boot)
        good = seen.state == wanted
        results.add(kernel.name, "clients", f"{prefix}{row.name}", PASS if good else FAIL,
                    f"{seen.words}; calls: {counted(seen.calls)}", boot.seconds.get(row.name, 0.0),
                    boot.dir / "out" / f"{row.name}.log")
    if boot.error:
        results.add(kernel.name, "clients", f"{prefix}guest", FAIL, boot.error, log=boot.dir / "console.log")
    said = [line.partition("] ")[2] for _, line in boot.splats()]
    bad = [line for line in said if not (known and known in line)]
    reason = f"{len(bad)} lines, first {bad[0]}; see {boot.dir}/console.log" if bad else f"as it should: {said[0]}" if said else ""
    results.add(kernel.name, "clients", f"{prefix}console{'' if known else '-clean'}", FAIL if bad else PASS, reason,
                log=boot.dir / "console.log")
