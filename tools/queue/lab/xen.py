# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel as the first domain of a real Xen, in QEMU, and runs a plan of commands in it.

On arm64 there can be further domains beside it, without a toolstack: Xen creates those that the
machine's device tree lists ("dom0less"). They run the same kernel and one command each. On x86-64 the
first domain is a PVH or a PV domain.

As in guest.py, no result counts without an end marker. Developers can use `boot.py --xen`.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from base import config, steps
from base.steps import Failure
from lab import debian, guest

PEER = config.HERE / "guest" / "peer"
CMDLINE = "console=hvc0 panic=-1 oops=panic printk.devkmsg=on kasan_multi_shot slub_debug=FZP"
CMA = "cma=32M"         # of the first domain, for the CMA heap and the display
PEER_CMDLINE = "console=ttyAMA0 panic=-1"
DOM0_MIB, PEER_MIB, MACHINE_MIB = 640, 160, 1792
# With a large initramfs. Xen maps the first domain one to one, in blocks of powers of two, and puts the initramfs into the first.
LARGE_DOM0_MIB, LARGE_MACHINE_MIB = 1024, 3328
# In one of three runs the emulated machine loses a timer interrupt of a PVH domain, or delays it by minutes: the domain stops.
ATTEMPTS = 8
# Where the loader puts the files that Xen starts; QEMU places Xen itself and the device tree below.
LOAD, STEP = 0x5000_0000, 0x20_0000
# A fake display controller: the driver finds its registers in a flash memory that nothing else uses, and writes to them
# only when it shows something. It exports and imports buffers like the drivers of real boards.
DISPLAY = """\tarcpgu@4000000 {
\t\tcompatible = "snps,arcpgu";
\t\treg = <0 0x4000000 0 0x1000>;
\t\tclocks = <&{/apb-pclk}>;
\t\tclock-names = "pxlclk";
\t};
"""


@dataclass(frozen=True)
class Module:
    """A file that is in the machine's memory when Xen starts."""

    path: Path
    kind: str           # kernel or ramdisk
    address: int
    bootargs: str = ""

    def node(self, indent):
        lines = [f"module@{self.address:x} {{",
                 f'\tcompatible = "multiboot,{self.kind}", "multiboot,module";',
                 f"\treg = <0 {self.address:#x} 0 {self.path.stat().st_size:#x}>;",
                 *([f'\tbootargs = "{self.bootargs}";'] if self.bootargs else []), "};"]
        return "".join(f"{indent}{line}\n" for line in lines)


def tree(kernel, ramdisk, peer_ramdisk, peers, append, memory):
    """Source of the device tree nodes for Xen: the first domain, and a domain for each command in @peers."""
    cmdline = f"{CMDLINE} {CMA} {append}".strip()
    # Several domains may use one module: Xen copies it.
    domains = "".join(
        f"\t\tdomU{number} {{\n"
        '\t\t\tcompatible = "xen,domain";\n\t\t\t#address-cells = <2>;\n\t\t\t#size-cells = <2>;\n'
        f'\t\t\tmemory = <0 {PEER_MIB * 1024:#x}>;\n\t\t\tcpus = <1>;\n\t\t\tvpl011;\n\t\t\txen,enhanced = "no-xenstore";\n'
        + Module(kernel.path, "kernel", kernel.address, f"{PEER_CMDLINE} -- {command}").node("\t\t\t")
        + peer_ramdisk.node("\t\t\t") + "\t\t};\n"
        for number, command in enumerate(peers, 1))
    return (f"/ {{\n{DISPLAY}"
            "\tchosen {\n\t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n"
            '\t\tstdout-path = "/pl011@9000000";\n'
            f'\t\txen,xen-bootargs = "dom0_mem={memory}M dom0_max_vcpus=2 conring_size=1m console=dtuart dtuart=/pl011@9000000";\n'
            f'\t\txen,dom0-bootargs = "{cmdline}";\n'
            f'{kernel.node(chr(9) * 2)}{ramdisk.node(chr(9) * 2)}{domains}\t}};\n}};\n')


def place(*files):
    """Modules for the (path, kind) pairs, consecutive in memory."""
    placed, address = [], LOAD
    for path, kind in files:
        placed.append(Module(path, kind, address))
        address += -(-path.stat().st_size // STEP) * STEP
    return placed


def qemu_arm64(where, image, ramdisk, peer_ramdisk, peers, append, accel, memory):
    """Write the device tree; return the command. @memory: MiB of the first domain, and of the machine."""
    machine = ["qemu-system-aarch64", "-machine", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a57",
               *(guest.COUNT if accel == "count" else ("-accel", "tcg,thread=multi", "-smp", "2")), "-m", f"{memory[1]}"]
    steps.run([*machine[:2], f"{machine[2]},dumpdtb={where}/machine.dtb", *machine[3:], "-display", "none"],
              what="asking QEMU for its device tree")
    modules = place((image, "kernel"), (ramdisk, "ramdisk"), (peer_ramdisk, "ramdisk"))
    source = steps.run(["dtc", "-q", "-I", "dtb", "-O", "dts", where / "machine.dtb"], what="reading the device tree")
    (where / "xen.dts").write_text(source + tree(*modules, peers, append, memory[0]), encoding="utf-8")
    steps.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", where / "xen.dtb", where / "xen.dts"], what="writing the device tree")
    return [*machine, "-nodefaults", "-display", "none", "-no-reboot", "-dtb", where / "xen.dtb",
            "-kernel", debian.xen("arm64"),
            *(word for module in modules for word in
              ("-device", f"loader,file={module.path},addr={module.address:#x},force-raw=on")),
            "-serial", f"file:{where}/console.log", "-device", "virtio-serial-device",
            "-chardev", f"file,id=verdicts,path={where}/verdicts", "-device", "virtserialport,nr=1,chardev=verdicts",
            "-chardev", f"file,id=results,path={where}/out.tar", "-device", "virtserialport,nr=2,chardev=results"]


def qemu_x86_64(where, image, ramdisk, mode, append):
    """The command. A second processor hangs a PVH domain here, and the third serial port usually shares Xen's interrupt.

    For its hangs see ATTEMPTS: idle=poll and tcg,thread=single do not help.
    """
    return ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt",
            "-device", "intel-iommu,intremap=off", "-smp", "1", "-m", "1536", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", debian.xen("amd64"),
            "-append", f"{'dom0=pvh ' if mode == 'pvh' else ''}dom0_mem=1024M conring_size=1m com1=115200,8n1 console=com1",
            "-initrd", f"{image} {CMDLINE} {CMA if mode == 'pvh' else ''} {append},{ramdisk}",
            "-serial", f"file:{where}/console.log", "-serial", f"file:{where}/verdicts",
            "-chardev", f"file,id=results,path={where}/out.tar", "-device", "isa-serial,index=2,iobase=0x3e8,irq=7,chardev=results"]


def run(name, image, files, plan, *, peers=(), mode="pvh", append="", ended=None, leaks=True, accel="", large=None):
    """Boot @image, a build.Image, under Xen and run the @plan in the first domain; return a guest.Boot.

    @peers: the command of each second domain, whose domids are 1, 2 ...; only on arm64. They have the
    same @files. @mode: of an x86-64 first domain, "pvh" or "pv". @accel: "count" or nothing, on arm64. @large: more files
    that only an arm64 first domain gets, and with them more memory. The rest is as in guest.run().
    """
    pvh = image.arch != "arm64" and mode == "pvh"
    for attempt in range(1, ATTEMPTS + 1):
        # The console of a machine that stopped is kept.
        where = name if attempt == 1 else f"{name}-attempt{attempt}"
        machine = prepare(where, image, files, plan, peers, mode, f"{guest.HEARTBEAT if pvh else ''} {append}".strip(), leaks, accel, large or {})
        boot = guest.ride(machine, plan, ended, heartbeat=pvh)
        # Items that have ended are already reported, so do not start again.
        if not boot.dead or boot.status or attempt == ATTEMPTS:
            return boot
        steps.say(f"note: {boot.error}; attempt {attempt} of {ATTEMPTS}")


def prepare(name, image, files, plan, peers, mode, append, leaks, accel, large):
    """The machine of one attempt, with all its files."""
    where = guest.fresh(name)
    ramdisk = where / "initramfs.cpio"
    if image.arch == "arm64":
        busybox = debian.arm64() / "bin" / "busybox"
        guest.initramfs(ramdisk, {**files, **large}, plan, leaks, busybox=busybox)
        peer_ramdisk = where / "peer.cpio"
        guest.initramfs(peer_ramdisk, files if peers else {}, [], leaks=False, busybox=busybox, init=PEER)
        command = qemu_arm64(where, image.bootable, ramdisk, peer_ramdisk, peers, append, accel,
                             (LARGE_DOM0_MIB, LARGE_MACHINE_MIB) if large else (DOM0_MIB, MACHINE_MIB))
    else:
        if peers:
            raise Failure("second domains are made on arm64 only")
        guest.initramfs(ramdisk, files, plan, leaks)
        command = qemu_x86_64(where, image.bootable, ramdisk, mode, append)
    (where / "command").write_text(shlex.join(map(str, command)) + "\n", encoding="utf-8")
    return guest.Machine(where, command)
