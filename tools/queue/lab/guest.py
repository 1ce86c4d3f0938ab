# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel in QEMU, with static programs in an initramfs, and runs a plan of commands in it.

No result of a guest counts without an end marker: a guest that stops early, runs another plan, or
hangs is an error, never a pass. guest/init is the other side.
"""

import os
import re
import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from base import config
from base.steps import Failure

INIT = config.HERE / "guest" / "init"
# Newer kernels run KUnit modules only if told by these two words; older ones ignore them.
CMDLINE = ("console=ttyS0 panic=-1 oops=panic printk.devkmsg=on mitigations=off tsc=reliable "
           "kasan_multi_shot kunit.enable=1 kunit.autorun=1")
BOOT_SECONDS = 300      # under TCG on a slow machine; 5 are usual, 40 with second domains of Xen
LEAK_SECONDS = 300      # for kmemleak's scans; 30 are usual
GRACE_SECONDS = 60      # beyond an item's own limit, which the guest enforces
PROBE_SECONDS = 15
MEMORY = 1024           # MiB
# One processor, whose clock advances by one nanosecond for each instruction. The guest's time depends on nothing else, so
# every run is the same. This also requires a machine that gets no random seed from the host.
COUNT = ("-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off", "-rtc", "base=2026-11-21,clock=vm")
MACHINES = {
    "tcg": ("-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2,sockets=2"),
    "kvm": ("-M", "pc", "-accel", "kvm", "-cpu", "host", "-smp", "2,sockets=2"),
    "count": ("-M", "pc-i440fx-7.1", "-cpu", "qemu64", *COUNT),
}
HEARTBEAT = "queue.heartbeat"   # on the kernel's command line: init reports every ten seconds that it is alive
DEAD_SECONDS = 120              # without a report; neither a hanging task nor a starving process stops the reports
# A task that takes a lock which it already holds never continues; lockdep reports this first.
DEADLOCK = "possible recursive locking"
DEADLOCK_SECONDS = 20   # without a verdict

# Text that a healthy kernel never prints.
SPLAT = re.compile(r"""
    WARNING: | BUG: | \bBUG\ at\b | \bOops\b | general\ protection | Kernel\ panic | KASAN | UBSAN
    | possible\ (circular|recursive|irq)\ lock | inconsistent\ lock\ state | bad\ unlock\ balance
    | held\ lock\ freed | lock\ held\ when\ returning | suspicious\ RCU | detected\ stall
    | rcu.*stall | unreferenced\ object | new\ suspected\ memory\ leaks | refcount_t
    | sleeping\ function\ called | scheduling\ while\ atomic | ODEBUG | list_(add|del)\ corruption
    | page\ allocation\ failure | blocked\ for\ more\ than | soft\ lockup | hard\ LOCKUP
    | Bad\ page\ state | Kernel\ memory\ leak\ detector\ disabled | turning\ off\ the\ locking
    | Xen\ (BUG|WARN|call\ trace) | Panic\ on\ CPU
""", re.VERBOSE)
# Printed by Xen itself, whatever the kernel.
HARMLESS = "PVH is an experimental mode"
# See Boot.fault().
EARLY = re.compile(r"[^\n]*BUG: KASAN: null-ptr-deref in mask_ioapic_irq")
# A kernel that crashes at a breakpoint shows the code around it, and marks the byte after it.
INT3 = re.compile(r"[^\n]*int3: 0000 \[#1\].*?Code:[0-9a-f ]* ([0-9a-f]{2}) <[0-9a-f]{2}>", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One line of the plan: @command for sh, with a limit of @seconds."""

    name: str
    seconds: int
    command: str


@dataclass
class Boot:
    """The result of one boot. @error is None if the whole plan ran and the guest ended as it should."""

    dir: Path
    error: str | None = None
    status: dict = field(default_factory=dict)      # item -> exit status
    seconds: dict = field(default_factory=dict)     # item -> time it took
    running: str | None = None                      # the item that did not end
    dead: bool = False                              # the machine itself stopped, whatever ran on it
    emulated: bool = False

    @property
    def console(self):
        return (self.dir / "console.log").read_text(encoding="utf-8", errors="replace")

    @property
    def leaks(self):
        """What kmemleak reported after the plan; None if the guest did not get that far."""
        path = self.dir / "out" / "kmemleak.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None

    def log(self, item):
        path = self.dir / "out" / f"{item}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def path(self, item):
        """Directory that an item left beside its log."""
        return self.dir / "out" / item

    def fault(self):
        """The end of a console whose kernel crashed because of the emulator, not of a test or a patch; or None.

        There are two such faults. One is a breakpoint that is no longer in memory: a kernel that switches
        tracepoints rewrites its code while other processors run it, and puts a breakpoint there meanwhile.
        QEMU drops its translation of that code before the new byte is written. Another processor may
        translate the old byte again in between, and this translation stays.

        The other, before user space, is a timer interrupt that arrives while the timer is moved from one
        interrupt controller to another. Stock kernels do not expect it, and a busy host causes it.
        """
        console = self.console if self.emulated else ""
        found = INT3.search(console)
        if not found or found[1] == "cc":
            found = EARLY.search(console.partition("guest: START")[0])
        return console[found.start():] if found else None

    def splats(self):
        """(item or None, line) of every console line that a healthy kernel does not print.

        The lines of a fault() are left out, because the kernel did not cause it.
        """
        found, item = [], None
        for line in self.console.removesuffix(self.fault() or "").splitlines():
            marker = re.search(r"guest: (START|END) (\S+)", line)
            if marker:
                item = marker[2] if marker[1] == "START" else None
            elif SPLAT.search(line) and HARMLESS not in line:
                found.append((item, line.strip()))
        return found


def initramfs(dest, files, plan, leaks=True, *, busybox=None, init=INIT):
    """Pack busybox, guest/init, the @files {path in the guest: path here} and the @plan.

    With @leaks the guest has kmemleak scan its memory after the plan, which takes half a minute.
    @busybox: a busybox for a processor other than this machine's. @init: another script.
    """
    root = dest.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "out", "etc", "test"):
        (root / name).mkdir(parents=True)
    busybox = busybox or next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if busybox is None:
        raise Failure("no busybox; run `make deps`")
    shutil.copy(busybox, root / "bin" / "busybox")
    shutil.copy(init, root / "init")
    (root / "init").chmod(0o755)
    for target, source in files.items():
        path = root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
    for item in plan:
        if not re.fullmatch(r"[\w.+-]+", item.name) or "\n" in item.command:
            raise Failure(f"the plan's item {item.name!r} needs a plain name and a command of one line")
    (root / "plan").write_text("".join(f"{i.name}\t{i.seconds}\t{i.command}\n" for i in plan), encoding="utf-8")
    if leaks:
        (root / "leaks").touch()
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    # Not compressed: an emulated kernel with KASAN inflates two megabytes a second.
    with open(dest, "wb") as file:
        packed = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "--owner=0:0"], cwd=root,
                                input="\n".join(names).encode(), stdout=file, check=False)
    if packed.returncode:
        raise Failure(f"cannot pack {dest}")
    shutil.rmtree(root)


def qemu(where, image, ramdisk, accel, append="", memory=MEMORY, devices=()):
    """The command that boots @image by itself: console, verdicts and results are its serial ports. @devices: more of QEMU's."""
    machine = MACHINES[accel]
    return ["qemu-system-x86_64", *machine, "-m", str(memory), "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", image, "-initrd", ramdisk, "-append", f"{CMDLINE} {append}".strip(),
            "-serial", f"file:{where}/console.log", "-serial", f"file:{where}/verdicts",
            "-serial", f"file:{where}/out.tar", *(word for device in devices for word in ("-device", device))]


class Machine:
    """A running QEMU; a context manager, so that it always ends."""

    def __init__(self, where, cmd):
        self.where = where
        self.cmd = [str(word) for word in cmd]

    def __enter__(self):
        for name in ("console.log", "verdicts", "out.tar"):
            (self.where / name).write_bytes(b"")
        try:
            self.process = subprocess.Popen(self.cmd, stdin=subprocess.DEVNULL,
                                            stdout=open(self.where / "qemu.log", "wb"),
                                            stderr=subprocess.STDOUT)
        except FileNotFoundError as error:
            raise Failure(f"{self.cmd[0]} is not installed; run `make deps`") from error
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def lines(self):
        """Complete lines of verdicts so far."""
        text = (self.where / "verdicts").read_text(encoding="utf-8", errors="replace")
        return text.replace("\r", "").split("\n")[:-1]

    def ended(self):
        return self.process.poll() is not None


def kvm_works(image):
    """Whether a guest boots under KVM here. Guests may hang even if /dev/kvm can be opened."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    where = config.BUILD / "guest" / "probe"
    where.mkdir(parents=True, exist_ok=True)
    known = where / "verdict"
    machine_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    if known.exists() and known.read_text(encoding="ascii").startswith(machine_id):
        return known.read_text(encoding="ascii").endswith("yes")
    initramfs(where / "initramfs.cpio", {}, [], leaks=False)
    works = False
    with Machine(where, qemu(where, image, where / "initramfs.cpio", "kvm")) as machine:
        end = time.monotonic() + PROBE_SECONDS
        while not works and time.monotonic() < end and not machine.ended():
            time.sleep(0.2)
            works = "BOOT" in machine.lines()
    known.write_text(f"{machine_id} {'yes' if works else 'no'}", encoding="ascii")
    return works


def unpack(where):
    """Unpack the results that have arrived into @where/out."""
    try:
        with tarfile.open(where / "out.tar", ignore_zeros=True) as tar:
            for member in tar:
                if member.name.startswith("/") or ".." in Path(member.name).parts:
                    continue
                if member.isfile() or member.isdir():
                    tar.extract(member, where / "out", set_attrs=False)
    except tarfile.TarError:
        pass    # nothing yet, or the last one is incomplete: its log is then missing


def fresh(name):
    """The empty directory of a boot's files under build/guest."""
    where = config.BUILD / "guest" / name
    shutil.rmtree(where, ignore_errors=True)
    (where / "out").mkdir(parents=True)
    return where


def run(name, image, files, plan, *, append="", ended=None, leaks=True, accel="", memory=MEMORY, devices=()):
    """Boot @image and run the @plan; return a Boot.

    @name: directory of this boot's files under build/guest. @ended(boot, item): called when an item has
    ended and its log exists. @accel: one of MACHINES; by default the fastest that works. @memory: MiB.
    @devices: for QEMU's option of that name.
    """
    where = fresh(name)
    ramdisk = where / "initramfs.cpio"
    initramfs(ramdisk, files, plan, leaks)
    accel = accel or ("kvm" if kvm_works(image) else "tcg")
    return ride(Machine(where, qemu(where, image, ramdisk, accel, append, memory, devices)), plan, ended)


def ride(machine, plan, ended, *, heartbeat=False):
    """Start the @machine and follow it through the @plan; return a Boot. @heartbeat: the command line has HEARTBEAT."""
    boot = Boot(machine.where, emulated="kvm" not in machine.cmd)
    with machine:
        boot.error = follow(machine, boot, plan, ended, heartbeat)
    unpack(machine.where)
    return boot


def follow(machine, boot, plan, ended, heartbeat=False):
    """Read the verdicts until the guest is done; return what went wrong, or None."""
    expected = ["BOOT"]
    for item in plan:
        expected += [f"START {item.name}", f"END {item.name}"]
    expected.append(f"DONE {len(plan)}")
    limits = {f"END {item.name}": item.seconds + GRACE_SECONDS for item in plan}
    limits[expected[-1]] = LEAK_SECONDS
    seen, since = 0, time.monotonic()
    while True:
        ended_already = machine.ended()     # before reading, so that its last output is read
        lines = machine.lines()
        for line in lines[seen:]:
            if seen >= len(expected):
                return f"the guest says {line!r} after the end of its plan"
            word = line.rsplit(" ", 1)[0] if line.startswith("END ") else line
            if word != expected[seen]:
                return f"the guest says {line!r} where {expected[seen]!r} is due"
            seen += 1
            now = time.monotonic()
            kind, _, rest = line.partition(" ")
            if kind == "START":
                boot.running = rest
            elif kind == "END":
                item, status = rest.rsplit(" ", 1)
                boot.status[item], boot.seconds[item] = int(status), now - since
                boot.running = None
                if ended:
                    unpack(boot.dir)
                    ended(boot, item)
            since = now
        if seen == len(expected):
            return None
        due = expected[seen]
        place = f"in {boot.running}" if boot.running else f"before {due!r}"
        if ended_already:
            return f"the guest stopped {place}; see {boot.dir}/console.log"
        waited = time.monotonic() - since
        if heartbeat and boot.running and time.time() - (boot.dir / "console.log").stat().st_mtime > DEAD_SECONDS:
            boot.dead = True
            return f"the machine stands still {place}; see {boot.dir}/console.log"
        if waited > limits.get(due, BOOT_SECONDS) or (waited > DEADLOCK_SECONDS and deadlocked(boot)):
            return f"the guest hangs {place}; see {boot.dir}/console.log"
        time.sleep(0.1 if waited < DEADLOCK_SECONDS else 1)


def deadlocked(boot):
    """Whether the running item did what lockdep calls a deadlock."""
    return boot.running is not None and any(item == boot.running and DEADLOCK in line for item, line in boot.splats())
