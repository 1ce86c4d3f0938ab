# SPDX-License-Identifier: GPL-2.0
"""`make run`: from nothing to a patched kernel that shows in QEMU what the queue gives it."""

import re
import time

from base import config, steps
from base.steps import Failure, say
from lab import debian, desktop, guest, source, window, xen
from suites import clients, images, inguest, kselftest, kunit, picture, xensuite
from weave import mails, series, tree

SECONDS, XEN_SECONDS = 60, 300
DEMOS = {"sync": "", "xen": "gntdev", "xen-desktop": "gntdev", "desktop": "sync-file"}    # and the topic that each shows
FRAME = "frame.ppm"
SCREEN = config.HERE / "guest" / "screen"
PICTURES, SHOTS = 60, 3
# What each picture of gntdev_dmabuf_demo.c has: grass below, and a sun above that is elsewhere in each.
GRASS, SUN = (30, 90, 47), (255, 215, 94)


def main(kernel, which, wanted_source=""):
    which = which or next(iter(DEMOS))
    if which not in DEMOS:
        raise Failure(f"no demonstration {which}; there is: {' '.join(DEMOS)}")
    names = series.chosen(config.queue())
    if DEMOS[which] and DEMOS[which] not in names:
        raise Failure(f"DEMO={which} shows {DEMOS[which]}, which is none of {' '.join(names)}")
    start = time.monotonic()
    source.announce([kernel], wanted_source)
    debian.deps()
    source.get(kernel, wanted_source)
    with steps.step(f"weaving the queue for {kernel.name}"):
        patches = mails.write(config.queue(), kernel)
    for path in patches:
        say(f"    {path.name}")
    done = tree.make(config.queue(), kernel)
    try:
        _, image = {"xen": on_xen, "xen-desktop": on_screen, "desktop": with_desktop}.get(which, alone)(kernel)
    finally:
        tree.tell(config.queue(), kernel, done)
    say(f"\n{kernel.name}: all of it took {time.monotonic() - start:.0f} s. "
        f"The patches are in {kernel.out}, the kernel is {image}.\n"
        f"Next: `make am KDIR=` puts the patches onto your own {kernel.name} tree, `make check` runs the tests.")


def the_program(programs, name):
    program = next((program for program in programs if program.name == name), None)
    if program is None:
        raise Failure(f"the woven tree's selftests have no {name}; it belongs into TEST_GEN_PROGS_EXTENDED")
    return program


def alone(kernel):
    image = images.kernel_image(kernel, "queue")
    with steps.step("building the demonstration"):
        programs = kselftest.programs(image, config.BUILD / "log" / f"kselftest-{kernel.name}.log")
    if config.queue().features and not any(program.name == kselftest.DEMO for program in programs):
        return tests(kernel, image, [program for program in programs if program.tests and not program.stress]), image.bootable
    program = the_program(programs, kselftest.DEMO)
    with steps.step("booting it in QEMU"):
        boot = guest.run(f"{kernel.name}-demo", image.bootable, kselftest.files([program], image),
                         [guest.Item("uname", SECONDS, "uname -srv"),
                          guest.Item("demo", SECONDS, f"/test/kselftest/{program.name}")], leaks=False)
    show(kernel, boot)
    return boot, image.bootable


def tests(kernel, image, programs):
    """The tests of the chosen topics, which show what these do where there is no demonstration."""
    own = inguest.own_files(kernel)
    programs = [program for program in programs if program.source in own and not program.name.startswith("compat.")]
    modules = image.test_modules
    items = [*map(kunit.item, modules), *map(kselftest.item, programs)]
    with steps.step("booting it in QEMU"):
        boot = guest.run(f"{kernel.name}-demo", image.bootable, {**kunit.files(modules), **kselftest.files(programs, image)},
                         [guest.Item("uname", SECONDS, "uname -srv"), *items], leaks=False)
    if not items:
        say("\nThe chosen topics have no test of their own; the kernel with them has booted.")
    for item in items:
        say(f"\n---- in the guest: {item.name}")
        for line in re.findall(r"(?:not )?ok \d+ .*", boot.log(item.name)):
            say(line)
    judge(kernel, boot, [item.name for item in items])
    return boot


def on_xen(kernel):
    """Two domains on arm64: what one draws appears in the other one's buffer."""
    image = images.kernel_image(kernel, "queue", "arm64")
    with steps.step("building the demonstration"):
        program = the_program(xensuite.programs(image, kernel.name), xensuite.DEMO)
    command = f"/test/kselftest/{program.name}"
    with steps.step("booting Xen with two domains in QEMU"):
        boot = xen.run(f"{kernel.name}-demo-xen", image, kselftest.files([program], image),
                       [guest.Item("uname", SECONDS, "uname -srvm"),
                        guest.Item("demo", XEN_SECONDS, f"mkdir /out/demo && {command} show /out/demo/{FRAME}")],
                       peers=[f"{command} draw"], leaks=False)
    say("\n---- in the second domain, on Xen's console")
    drawn = re.findall(r"DOM1: (draw: .*)", boot.console)
    if not drawn and not boot.error:
        raise Failure(f"the second domain says nothing on Xen's console, {boot.dir}/console.log")
    for line in drawn:
        say(line.rstrip())
    show(kernel, boot)
    path = config.OUT / f"demo-xen-{kernel.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture.png((boot.path("demo") / FRAME).read_bytes()))
    say(f"The second picture, as the first domain saw it: {path}")
    return boot, image.bootable


def on_screen(kernel):
    """Two domains on arm64: what one draws is displayed by a compositor of the other, which gets the dma-buf itself."""
    debian.deps(debian.WAYLAND)
    image = images.kernel_image(kernel, "queue", "arm64")
    with steps.step("building the demonstration"):
        program = the_program(xensuite.programs(image, kernel.name), xensuite.DEMO)
        large = {**desktop.COMPOSITOR.files(), "test/window": window.program(), "test/screen": SCREEN}
    with steps.step("booting Xen with two domains in QEMU"):
        boot = xen.run(f"{kernel.name}-demo-screen", image, kselftest.files([program], image),
                       [guest.Item("uname", SECONDS, "uname -srvm"),
                        guest.Item("screen", XEN_SECONDS, f"sh /test/screen {PICTURES}")],
                       peers=[f"/test/kselftest/{program.name} draw"], leaks=False, large=large)
    show(kernel, boot, "screen")
    suns = []
    for number in range(1, SHOTS + 1):
        found = boot.path("screen") / f"{number}.png"
        suns.append(sun(found))
        path = config.OUT / f"demo-xen-desktop-{kernel.name}-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.read_bytes())
        say(f"weston's screen, with the sun at {suns[-1]}: {path}")
    if len(set(suns)) < SHOTS:
        raise Failure(f"the pictures on weston's screen do not move: the sun is at {suns}")
    return boot, image.bootable


def sun(path):
    """The column of the sun's centre in a screenshot of what the second domain has drawn."""
    if not path.exists():
        raise Failure(f"there is no screenshot {path}")
    rows = picture.read_png(path.read_bytes())
    columns = [x for row in rows for x, pixel in enumerate(row) if pixel[:3] == SUN]
    if not columns or not any(pixel[:3] == GRASS for row in rows for pixel in row):
        raise Failure(f"{path} does not have what the second domain draws")
    return round(sum(columns) / len(columns))


def with_desktop(kernel):
    """Debian's desktop programs, on the kernel with its toggle off and on."""
    made = clients.kernels(kernel)
    desktop.CLIENTS.root()
    boots = {state: clients.boot(kernel, clients.FLAVOURS[state], image, screen=True) for state, image in made.items()}
    for line in clients.page(boots):
        say(line)
    for path in clients.keep_pictures(boots, config.OUT / f"desktop-{kernel.name}"):
        say(f"picture: {path}")
    problems = [problem for wanted, boot in boots.items() for problem in clients.problems(boot, wanted)]
    if problems:
        raise Failure(f"{kernel.name}: {'; '.join(problems)}")
    return boots[clients.WITH], made[clients.WITH]


def show(kernel, boot, item="demo"):
    """What the guest printed; an error if it did not get through, or the kernel complained."""
    say(f"\n---- in the guest: {boot.log('uname').strip()}")
    say(boot.log(item).rstrip())
    judge(kernel, boot, [item])


def judge(kernel, boot, items):
    """Raise Failure unless all of @items went well and the kernel did not complain."""
    say("----")
    if boot.error:
        raise Failure(f"{kernel.name}: {boot.error}")
    for item in items:
        if boot.status[item]:
            raise Failure(f"{kernel.name}: {item} failed with status {boot.status[item]}; see {boot.dir}")
    if boot.splats():
        raise Failure(f"{kernel.name}: the kernel complained: {boot.splats()[0][1]}; see {boot.dir}/console.log")
    say("The kernel's console is clean (lockdep, PROVE_RCU and other debugging aids are on, KASAN on x86-64).")
