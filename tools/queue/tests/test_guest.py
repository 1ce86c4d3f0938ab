# SPDX-License-Identifier: GPL-2.0
"""A guest only passes if it ran its whole plan, and if its console shows no fault."""

import pytest

from lab import guest
from lab.guest import Boot, Item

PLAN = [Item("one", 10, "true"), Item("two", 10, "true")]
GOOD = ["BOOT", "START one", "END one 0", "START two", "END two 3", "DONE 2"]


class FakeMachine:
    """Prints all its lines immediately, and has then ended."""

    def __init__(self, lines):
        self.said = lines

    def lines(self):
        return self.said

    def ended(self):
        return True


def follow(tmp_path, lines, plan=PLAN):
    (tmp_path / "out").mkdir(exist_ok=True)
    boot = Boot(tmp_path)
    return guest.follow(FakeMachine(lines), boot, plan, None), boot


def test_the_whole_plan(tmp_path):
    error, boot = follow(tmp_path, GOOD)
    assert error is None
    assert boot.status == {"one": 0, "two": 3}
    assert boot.running is None


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_a_guest_that_stops_early(tmp_path, cut):
    error, boot = follow(tmp_path, GOOD[:cut])
    assert "stopped" in error
    assert boot.running == {2: "one", 4: "two"}.get(cut)


class SilentMachine(FakeMachine):
    """Has printed its lines and keeps running."""

    def ended(self):
        return False


def test_a_machine_that_stands_still(tmp_path, monkeypatch):
    (tmp_path / "console.log").write_text("guest: alive\n", encoding="utf-8")
    monkeypatch.setattr(guest, "DEAD_SECONDS", -1)
    boot = Boot(tmp_path)
    assert "stands still in one" in guest.follow(SilentMachine(GOOD[:2]), boot, PLAN, None, heartbeat=True)
    assert boot.dead and not boot.status


@pytest.mark.parametrize("lines", [
    ["BOOT", "START two"],
    ["BOOT", "START one", "END two 0"],
    ["BOOT", "DONE 0"],
    ["BOOT", "START one", "END one 0", "START two", "END two 0", "DONE 1"],
    [*GOOD, "START three"],
])
def test_another_plan(tmp_path, lines):
    error, _ = follow(tmp_path, lines)
    assert "the guest says" in error


def test_a_hang_names_the_item(tmp_path, monkeypatch):
    monkeypatch.setattr(guest, "GRACE_SECONDS", -10)
    machine = FakeMachine(GOOD[:2])
    machine.ended = lambda: False
    (tmp_path / "out").mkdir()
    error = guest.follow(machine, Boot(tmp_path), PLAN, None)
    assert "hangs in one" in error


@pytest.mark.parametrize("item, hangs", [("one", True), ("zero", False)])
def test_a_deadlock_is_not_waited_for(tmp_path, item, hangs):
    boot = Boot(tmp_path)
    (tmp_path / "console.log").write_text(f"guest: START {item}\nWARNING: possible recursive locking detected\n",
                                          encoding="ascii")
    boot.running = "one"
    assert guest.deadlocked(boot) == hangs


@pytest.mark.parametrize("line", [
    "WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-resv.c:1 f+0x1/0x2",
    "BUG: KASAN: use-after-free in dma_buf_poll+0x1/0x2",
    "kernel BUG at drivers/dma-buf/dma-buf.c:74!",
    "WARNING: possible circular locking dependency detected",
    "WARNING: inconsistent lock state",
    "WARNING: suspicious RCU usage",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "kmemleak: Kernel memory leak detector disabled",
    "refcount_t: underflow; use-after-free.",
    "Oops: 0000 [#1] PREEMPT SMP KASAN",
    "general protection fault, probably for non-canonical address",
    "swapper: page allocation failure: order:0",
    "INFO: task sh:1 blocked for more than 60 seconds.",
    "BUG: sleeping function called from invalid context at mm/slab.h:1",
    "ODEBUG: free active (active state 0) object type: rcu_head",
    "(XEN) Xen WARN at common/grant_table.c:1",
    "(XEN) DOM1: WARNING: CPU: 0 PID: 1 at drivers/xen/gntalloc.c:1",
])
def test_splats(tmp_path, line):
    (tmp_path / "console.log").write_text(
        f"[    1.0] guest: START one\n[    1.1] {line}\n[    1.2] guest: END one 0\n[    1.3] {line}\n")
    assert [item for item, _ in Boot(tmp_path).splats()] == ["one", None]


@pytest.mark.parametrize("line", [
    "kasan: KernelAddressSanitizer initialized",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 6921)",
    "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
    "rcu: \tRCU debug extended QS entry/exit.",
    "rcu: \tRCU callback double-/use-after-free debug enabled.",
    "FAULT_INJECTION: forcing a failure.",
    "(XEN) WARNING: PVH is an experimental mode with limited functionality",
])
def test_what_a_healthy_kernel_says(tmp_path, line):
    (tmp_path / "console.log").write_text(f"[    1.1] {line}\n")
    assert Boot(tmp_path).splats() == []


DIED = """[   33.1] guest: START one
[   34.5] {oops} [#1] PREEMPT SMP KASAN
[   34.6] CPU: 0 PID: 184 Comm: names Not tainted
[   34.6] RIP: 0010:trace_dma_fence_destroy+0xbe/0xe0
[   34.6] Code: 48 89 da 4c 89 e6 {before} <6e> ea ff ff 65 ff 0d a7 22
[   34.7] Kernel panic - not syncing: Fatal exception in interrupt
"""


@pytest.mark.parametrize("oops, before, emulated, stale", [
    ("int3: 0000", "e8", True, True),
    ("Oops: int3: 0000", "0f", True, True),
    ("int3: 0000", "cc", True, False),
    ("int3: 0000", "e8", False, False),
    ("invalid opcode: 0000", "e8", True, False),
])
def test_a_breakpoint_that_memory_does_not_hold(tmp_path, oops, before, emulated, stale):
    (tmp_path / "console.log").write_text("[   30.0] WARNING: before\n" + DIED.format(oops=oops, before=before))
    boot = Boot(tmp_path, emulated=emulated)
    assert bool(boot.fault()) == stale
    assert [item for item, _ in boot.splats()] == [None] + ([] if stale else ["one", "one"])


@pytest.mark.parametrize("start, emulated, fault", [("", True, True), ("", False, False), ("guest: START one", True, False)])
def test_a_timer_that_comes_too_early(tmp_path, start, emulated, fault):
    (tmp_path / "console.log").write_text(
        f"[    0.01] APIC: Switch to symmetric I/O mode setup\n{start}\n=====\n"
        "[    0.02] BUG: KASAN: null-ptr-deref in mask_ioapic_irq+0x3b/0x130\n[    0.02] Kernel panic\n")
    boot = Boot(tmp_path, emulated=emulated)
    assert bool(boot.fault()) == fault and len(boot.splats()) == (0 if fault else 2)


def test_a_plan_that_the_guest_would_misread(tmp_path):
    with pytest.raises(guest.Failure):
        guest.initramfs(tmp_path / "initramfs.cpio", {}, [Item("with space", 1, "true")])
    with pytest.raises(guest.Failure):
        guest.initramfs(tmp_path / "initramfs.cpio", {}, [Item("lines", 1, "true\nfalse")])


def test_a_guest_with_a_device(tmp_path):
    assert guest.qemu(tmp_path, "image", "ramdisk", "tcg", devices=["virtio-gpu-pci"])[-2:] == ["-device", "virtio-gpu-pci"]


def test_a_guest_that_counts(tmp_path):
    command = guest.qemu(tmp_path, "image", "ramdisk", "count")
    assert command[command.index("-icount") + 1] == "shift=0,sleep=off" and command[command.index("-smp") + 1] == "1"
    assert "-icount" not in guest.qemu(tmp_path, "image", "ramdisk", "tcg")
