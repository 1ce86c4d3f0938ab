# SPDX-License-Identifier: GPL-2.0
"""What the desktop programs printed and asked, as recorded in guests of 5.10, and what is made of it."""

from pathlib import Path

import pytest

from base import config
from base.steps import Failure
from lab import desktop, elf, guest
from suites import clients, full, picture, results
from suites.clients import WITH, WITHOUT, Call

ASKED = "{comm:>16}-{tid}     [000] ...1    15.988966: asked: (dma_buf_ioctl+0x0/0x1b0) cmd={cmd} flags={flags}\n"
DONE = "{comm:>16}-{tid}     [001] d..2    15.988967: done: (__x64_sys_ioctl+0x82/0xa0 <- dma_buf_ioctl) ret={ret}\n"
EXPORT, IMPORT = "0xc0086202", "0x40086203"


def ioctl(comm, cmd, flags, ret=0, tid=126):
    return ASKED.format(comm=comm, tid=tid, cmd=cmd, flags=flags) + DONE.format(comm=comm, tid=tid, ret=ret)


PROBE = ioctl("vulkaninfo", EXPORT, "0x3")
REFUSED = ioctl("vulkaninfo", EXPORT, "0x3", -25)

VULKAN = """\
	deviceName        = llvmpipe (LLVM 19.1.7, 128 bits)
	VK_KHR_external_fence                              : extension revision 1
	VK_KHR_external_memory_fd                          : extension revision 1
"""
VULKAN_MORE = """\
	VK_KHR_external_fence_fd                           : extension revision 1
	VK_KHR_external_semaphore_fd                       : extension revision 1
"""
WESTON = """\
[17:24:03.243] GL renderer: llvmpipe (LLVM 19.1.7, 128 bits)
               view mask clipping: yes
               explicit sync: {}
"""
RENDER = """\
Using Vulkan device 0, queue 0
    dmabuf: \N{CHECK MARK}
    semaphore-export: {0}
    semaphore-import: {0}
"""
BUFFER = """\
TAP version 14
# random seed: R02S2b5b9bd1d0fdcb6b0b0e1f6ed8a5ee2b
1..1
# Start of dmabuf tests
Initializing Vulkan: Vulkan renderer
ok 1 /dmabuf/no-gpu
# slow test /dmabuf/no-gpu executed in 2.21 secs
# End of dmabuf tests
"""
PENDING = """\
320x240 on the screen, red, with a pending fence
8.63: EXPORT_SYNC_FILE
10.63: the fence signals, the buffer is green
10.67: a picture begins with 00c000
"""
EARLY = """\
320x240 on the screen, red, with a pending fence
No support for synchronization when importing DMA-BUFs, image may be corrupted.
6.96: a picture begins with c00000, the fence is pending
"""
YES, NO = "\N{CHECK MARK}", "\N{BALLOT X}"


def test_calls():
    trace = (ioctl("gtk4-rendernode", IMPORT, "0x2") + ioctl("some name-1", EXPORT, "0x1", -25)
             + ioctl("weston", "0x40086200", "0x5") + DONE.format(comm="x", tid=9, ret=0) + ioctl("odd", EXPORT, "(fault)", -14))
    assert clients.calls(trace) == [Call("gtk4-rendernode", "IMPORT(WRITE)", 0), Call("some name-1", "EXPORT(READ)", -25),
                                    Call("odd", "EXPORT((fault))", -14)]


def test_calls_of_two_threads_at_once():
    trace = (ASKED.format(comm="a", tid=1, cmd=EXPORT, flags="0x3") + ASKED.format(comm="b", tid=2, cmd=IMPORT, flags="0x2")
             + DONE.format(comm="a", tid=1, ret=0) + DONE.format(comm="b", tid=2, ret=-22))
    assert clients.calls(trace) == [Call("a", "EXPORT(RW)", 0), Call("b", "IMPORT(WRITE)", -22)]


def test_counted():
    found = clients.calls(PROBE * 2 + ioctl("gtk4", IMPORT, "0x2") + REFUSED)
    assert clients.counted(found) == "1 EXPORT(RW) ENOTTY, 2 EXPORT(RW), 1 IMPORT(WRITE)"
    assert clients.counted([]) == "none"


def right_picture(change=()):
    pixels = bytearray(bytes((0, 0, 0)) * 256 * 256)
    for (x, y), colour in {**clients.PIXELS, **dict(change)}.items():
        pixels[(y * 256 + x) * 3:(y * 256 + x) * 3 + 3] = bytes(colour)
    return picture.png(b"P6\n256 256\n255\n" + pixels)


@pytest.fixture
def boot(tmp_path):
    """A Boot in which each program found the ioctls; its files may be changed."""
    boot = guest.Boot(tmp_path)
    (tmp_path / "console.log").write_text("[    0.1] fine\n", encoding="utf-8")
    for name, log, trace in (
            ("vulkan", VULKAN + VULKAN_MORE, PROBE), ("weston", WESTON.format("yes"), ioctl("weston", EXPORT, "0x3")),
            ("render", RENDER.format(YES), PROBE * 2 + ioctl("gtk4-rendernode", IMPORT, "0x2")),
            ("buffer", BUFFER, PROBE + ioctl("dmabuf-support", EXPORT, "0x1")),
            ("pending", PENDING, PROBE + ioctl("vf#0:0", EXPORT, "0x1")), ("uname", "Linux 5.10.262-queue #1 SMP", "")):
        boot.path(name).mkdir(parents=True)
        write(boot, name, log, trace)
        boot.status[name], boot.seconds[name] = 0, 2.4
    (boot.path("render") / "picture.png").write_bytes(right_picture())
    return boot


def write(boot, name, log, trace):
    (boot.dir / "out" / f"{name}.log").write_text(log, encoding="utf-8")
    (boot.path(name) / "calls").write_text(trace, encoding="utf-8")


def without(boot):
    """Make of @boot one without the ioctls."""
    write(boot, "vulkan", VULKAN, REFUSED)
    write(boot, "weston", WESTON.format("no"), REFUSED)
    write(boot, "render", RENDER.format(NO), REFUSED * 2)
    write(boot, "buffer", BUFFER, REFUSED)
    write(boot, "pending", EARLY, REFUSED)


def states(boot):
    return [clients.look(row, boot).state for row in clients.ROWS]


def test_a_kernel_with_the_ioctls(boot):
    assert states(boot) == [WITH] * 5
    assert not clients.problems(boot, WITH)
    assert [text.partition(":")[0] for text in clients.problems(boot, WITHOUT)] == ["vulkan", "pending", "weston", "render", "buffer"]


def test_a_kernel_without(boot):
    without(boot)
    assert states(boot) == [WITHOUT] * 5
    assert not clients.problems(boot, WITHOUT)
    assert len(clients.problems(boot, WITH)) == 5


@pytest.mark.parametrize("name, log, trace", [
    ("vulkan", VULKAN + VULKAN_MORE.splitlines()[0], PROBE),
    ("vulkan", (VULKAN + VULKAN_MORE).replace("llvmpipe", "other"), PROBE),
    ("weston", WESTON.format("yes").replace("explicit", "implicit"), ""),
    ("render", RENDER.format(YES), PROBE),
    ("render", RENDER.format(NO), ioctl("gtk4-rendernode", IMPORT, "0x2")),
    ("buffer", BUFFER.replace("ok 1", "not ok 1"), PROBE), ("buffer", "", ""),
    # A frame that does not wait, or waits for something else.
    ("pending", PENDING.replace("00c000", "c00000"), PROBE + ioctl("vf#0:0", EXPORT, "0x1")), ("pending", PENDING, PROBE),
    ("pending", PENDING.replace("10.63: the fence", "the fence"), PROBE + ioctl("vf#0:0", EXPORT, "0x1")),
    ("pending", EARLY, PROBE + ioctl("vf#0:0", EXPORT, "0x1")), ("pending", EARLY.replace(", the fence is pending", ""), REFUSED),
    ("pending", "no picture", REFUSED),
    # The kernel was not asked, or answered otherwise.
    ("vulkan", VULKAN + VULKAN_MORE, ""), ("vulkan", VULKAN, PROBE), ("weston", WESTON.format("yes"), PROBE + REFUSED),
    ("buffer", BUFFER, PROBE + ioctl("dmabuf-support", EXPORT, "0x1", -25))])
def test_neither(boot, name, log, trace):
    write(boot, name, log, trace)
    assert states(boot).count("") == 1
    assert len(clients.problems(boot, WITH)) == 1


def test_a_program_that_fails(boot):
    boot.status.update(vulkan=1, weston=137)
    del boot.status["buffer"]
    words = [clients.look(row, boot).words for row in clients.ROWS]
    assert words == ["exit status 1", "fence 2.0 s after EXPORT, finished frame 2.0 s", "it did not end in its time",
                     "the picture is right, 1 IMPORT", "the guest did not come so far"]


@pytest.mark.parametrize("data, problem", [
    (None, "no picture"), (right_picture({(128, 128): (200, 125, 75)}), "the picture has (200, 125, 75) at 128,128")])
def test_a_wrong_picture(boot, data, problem):
    path = boot.path("render") / "picture.png"
    path.write_bytes(data or b"")
    if data is None:
        path.unlink()
    assert clients.look(clients.ROWS[3], boot).words.startswith(problem)
    assert states(boot)[3] == ""


def test_a_console_that_complains(boot):
    (boot.dir / "console.log").write_text("[    9.1] BUG: KASAN: here\n", encoding="utf-8")
    assert len(clients.problems(boot, WITH)) == 1


class Kept(results.Results):
    """Says nothing."""

    def add(self, kernel, suite, test, verdict, reason="", seconds=0.0, log=""):
        self.all.append((test, verdict, reason))


def test_the_suite(boot, toy):
    found = Kept()
    clients.judge(toy.old, boot, WITH, "", found)
    assert [(test, verdict) for test, verdict, _ in found.all] == [
        ("vulkan", "PASS"), ("pending", "PASS"), ("weston", "PASS"), ("render", "PASS"), ("buffer", "PASS"),
        ("console-clean", "PASS")]
    assert found.all[4][2] == "passes, 1 EXPORT(READ); calls: 1 EXPORT(READ), 1 EXPORT(RW)"


@pytest.mark.parametrize("line, verdict", [
    ("BUG: Bad page cache in process dmabuf-support  pfn:7ae34", "PASS"), ("BUG: Bad page state in process weston", "FAIL")])
def test_what_the_unpatched_kernel_may_say(boot, toy, line, verdict):
    found = Kept()
    (boot.dir / "console.log").write_text(f"[   24.841515] {line}\n", encoding="utf-8")
    clients.judge(toy.old, boot, WITH, "", found, known=clients.BAD)
    clients.judge(toy.old, boot, WITH, "", found)
    assert found.all[5][:2] == ("console", verdict) and line in found.all[5][2]
    assert found.all[-1][:2] == ("console-clean", "FAIL")


@pytest.mark.parametrize("name, flavours", [("5.10", ["queue", "off", "control"]), ("6.1", ["queue", "off"])])
def test_the_kernels_of_the_suite(boot, toy, monkeypatch, name, flavours):
    """With the queue it is green; a kernel that shows the same with the toggles off or unpatched is red."""
    booted, found = [], Kept()
    monkeypatch.setattr(clients.images, "kernel_image", lambda kernel, flavour, kind: clients.build.Image(Path(flavour), Path(flavour), kind))
    monkeypatch.setattr(clients, "kernels", lambda kernel: {WITHOUT: Path("off"), WITH: Path("queue")})
    monkeypatch.setattr(clients.tree, "make_control", lambda queue, kernel: None)
    monkeypatch.setattr(clients, "boot", lambda kernel, flavour, image: (booted.append((flavour, image.parts[0])), boot)[1])
    clients.check(toy.queue.kernel(name), found)
    assert booted == [(flavour, flavour) for flavour in flavours]
    assert [verdict for test, verdict, _ in found.all if test in ("vulkan", "toggles-off.vulkan", "control.vulkan")] == (
        ["PASS"] + ["FAIL"] * (len(flavours) - 1))


def test_both_kernels_are_made_in_one_place(tmp_path, monkeypatch):
    image, made = clients.build.Image(tmp_path, tmp_path, "plain"), []
    image.bootable.parent.mkdir(parents=True)

    def kernel_image(*args):
        made.append(args)
        image.bootable.write_text(args[1], encoding="ascii")
        return image

    monkeypatch.setattr(clients.images, "kernel_image", kernel_image)
    found = clients.kernels("kernel")
    assert {state: path.read_text(encoding="ascii") for state, path in found.items()} == {WITHOUT: "off", WITH: "queue"}
    assert made == [("kernel", "off", "plain", {"CONFIG_DMABUF_SYNC_FILE_IOCTLS": "n"}, ".obj-plain"), ("kernel", "queue", "plain")]


def test_full_runs_it():
    assert "clients" in full.SUITES


def test_the_page(boot, tmp_path):
    lines = clients.page({WITHOUT: boot, WITH: boot})
    assert lines[2].split() == ["Linux", "5.10.262-queue"] * 2
    assert len(lines) == 5 + 2 * len(clients.ROWS) and max(map(len, lines)) < 130
    assert clients.keep_pictures({WITH: boot}, tmp_path / "kept") == [tmp_path / "kept" / "with-picture.png"]


def test_the_plan():
    names = [item.name for item in clients.plan()]
    assert names == ["uname", "start", "vulkan", "pending", "weston", "render", "buffer"]
    assert [item.name for item in clients.plan(screen=True)] == [*names, "screen"]
    script = clients.SCRIPT.read_text(encoding="utf-8")
    assert all(f"\n\t{name})" in script for name in [*names[2:], "screen"])


# The packages

def test_packages_that_are_left_out():
    closure = ["iso-codes", "libavcodec61", "libc6", "libflite1", "libgnutls30t64", "libgtk-4-1", "libgtk-4-common", "libicu76",
               "libllvm19", "libpixman-1-0", "libsystemd-shared", "libsystemd0", "libx11-6", "libx265-215", "libxml2",
               "mesa-vulkan-drivers", "systemd-sysv", "xkb-data"]
    assert desktop.wanted(closure) == ["libc6", "libgtk-4-1", "libllvm19", "libpixman-1-0", "libsystemd0", "libx11-6", "libxml2",
                                       "mesa-vulkan-drivers", "xkb-data"]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A directory in which prog needs liba, liba needs libb, and libb is where only prog's package looks."""
    asks = {"prog": (["liba.so"], "/lib64/ld.so"), "liba.so": (["libb.so"], None), "libb.so": (["liba.so"], None)}
    for name in (f"{elf.LIBRARIES}/liba.so", f"{elf.LIBRARIES}/own/libb.so", f"{elf.LIBRARIES}/ld.so", "usr/bin/prog"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="ascii")
    monkeypatch.setattr(elf, "needed", lambda binary: asks[Path(binary).name])
    return tmp_path


def test_libraries(packages):
    assert {name: str(path.relative_to(packages)) for name, path in elf.libraries(
        packages, [packages / "usr/bin/prog"], ("own",)).items()} == {
            f"{elf.LIBRARIES}/liba.so": f"{elf.LIBRARIES}/liba.so", f"{elf.LIBRARIES}/own/libb.so": f"{elf.LIBRARIES}/own/libb.so",
            "lib64/ld.so": f"{elf.LIBRARIES}/ld.so"}


def test_a_library_that_is_missing(packages):
    with pytest.raises(Failure, match="libb.so is in none of the packages"):
        elf.libraries(packages, [packages / "usr/bin/prog"])


def test_only_what_is_needed_is_kept(packages, monkeypatch):
    monkeypatch.setattr(config, "BUILD", packages / "build")
    monkeypatch.setattr(desktop, "PLACES", ("own",))

    class Apt:
        def __init__(self, expected):
            self.expected = expected

        def closure(self, *_):
            return ["prog", "iso-codes"]

        def fetch(self, names, _suite, dest):
            assert names == self.expected
            desktop.shutil.copytree(packages / "usr", dest / "usr")
            (dest / "usr/share").mkdir()

    found = desktop.Desktop("desktop", Apt(["prog"]), elf.LIBRARIES, ("prog",), ("usr/bin/prog",), (), ())
    assert sorted(found.files()) == ["lib64/ld.so", "usr/bin/prog", f"{elf.LIBRARIES}/liba.so", f"{elf.LIBRARIES}/own/libb.so"]
    assert [path.name for path in (packages / "build").iterdir()] == ["desktop"]
    whole = desktop.Desktop("whole", Apt(["prog", "iso-codes"]), elf.LIBRARIES, ("prog",), ("usr/bin/prog",), (), (), all=True)
    assert whole.files().keys() == found.files().keys()


# Pictures

def filtered(kind, rows, step):
    """@rows of bytes, each with that filter of PNG."""
    lines, above = b"", bytes(len(rows[0]))
    for row in rows:
        line = bytearray()
        for at, value in enumerate(row):
            left, up, corner = (row[at - step], above[at], above[at - step]) if at >= step else (0, above[at], 0)
            best = min((left, up, corner), key=lambda guess, p=left + up - corner: abs(p - guess))
            line.append((value - (0, left, up, (left + up) // 2, best)[kind]) & 255)
        lines += bytes([kind]) + line
        above = row
    return lines


@pytest.mark.parametrize("kind", range(5))
def test_a_png_file_is_read(kind):
    rows = [bytes((5 * x + 3 * y * y + 77 * (x % 4)) & 255 for x in range(12)) for y in range(4)]
    data = picture.SIGNATURE
    for name, body in ((b"IHDR", picture.struct.pack(">IIBBBBB", 3, 4, 8, 6, 0, 0, 0)),
                       (b"IDAT", picture.zlib.compress(filtered(kind, rows, 4))), (b"IEND", b"")):
        data += picture.struct.pack(">I", len(body)) + name + body + bytes(4)
    assert picture.read_png(data) == [[tuple(row[at:at + 4]) for at in (0, 4, 8)] for row in rows]


@pytest.mark.parametrize("data", [b"GIF89a", picture.SIGNATURE + picture.struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1, 1, 16, 6, 0, 0, 0, 0)])
def test_other_files_are_refused(data):
    with pytest.raises(Failure):
        picture.read_png(data)
