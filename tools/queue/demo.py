# SPDX-License-Identifier: GPL-2.0
"""`make run`: from nothing to a patched kernel that shows in QEMU what the queue gives it."""

import time

import build
import config
import debian
import guest
import kselftest
import source
import steps
import tree
import weave
from steps import Failure, say

SECONDS = 60


def main(kernel):
    start = time.monotonic()
    debian.deps()
    source.pristine(kernel)
    with steps.step(f"weaving the queue for {kernel.name}"):
        patches = weave.write(config.queue(), kernel)
    for path in patches:
        say(f"    {path.name}")
    tree.make(config.queue(), kernel)
    image = build.kernel_image(kernel, "queue")
    with steps.step("building the demonstration"):
        programs = kselftest.programs(image, config.BUILD / "log" / f"kselftest-{kernel.name}.log")
    program = next((program for program in programs if program.name == kselftest.DEMO), None)
    if program is None:
        raise Failure(f"the woven tree's selftests have no {kselftest.DEMO}; it belongs into TEST_GEN_PROGS_EXTENDED")
    with steps.step("booting it in QEMU"):
        boot = guest.run(f"{kernel.name}-demo", image.bootable, kselftest.files([program], image),
                         [guest.Item("uname", SECONDS, "uname -srv"),
                          guest.Item("demo", SECONDS, f"/test/kselftest/{program.name}")], leaks=False)
    show(kernel, boot)
    say(f"\n{kernel.name}: all of it took {time.monotonic() - start:.0f} s. "
        f"The patches are in {kernel.out}, the kernel is {image.bootable}.\n"
        f"Next: `make am KDIR=` puts the patches onto your own {kernel.name} tree, `make check` runs every test.")


def show(kernel, boot):
    """What the guest printed; an error if it did not get through, or the kernel complained."""
    say(f"\n---- in the guest: {boot.log('uname').strip()}")
    say(boot.log("demo").rstrip())
    say("----")
    if boot.error:
        raise Failure(f"{kernel.name}: {boot.error}")
    if boot.status["demo"]:
        raise Failure(f"{kernel.name}: the demonstration failed with status {boot.status['demo']}; see {boot.dir}")
    if boot.splats():
        raise Failure(f"{kernel.name}: the kernel complained: {boot.splats()[0][1]}; see {boot.dir}/console.log")
    say("The kernel's console is clean (KASAN, lockdep, PROVE_RCU and the other debugging aids are on).")
