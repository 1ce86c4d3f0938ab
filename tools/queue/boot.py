# SPDX-License-Identifier: GPL-2.0
"""Build any kernel tree, boot it, and run programs and load modules in it, during development.

    boot.py TREE [FILE...] [-c COMMAND]...

boot.py puts each FILE (a static program or a .ko module) into /test in the guest. There sh runs each
COMMAND. Without a COMMAND, the guest loads and unloads each module and runs each program. boot.py
prints their output, and what looks like a fault on the console.

    boot.py --xen arm64 TREE [FILE...] [-c COMMAND]... [--peer COMMAND]...

boots the tree as the first domain of Xen, on arm64. Each --peer adds a domain (domids 1, 2 ...) that
runs the COMMAND of that --peer, without a shell; these domains have the FILEs, too. --xen pvh and
--xen pv boot the tree on x86-64, as a first domain of that kind without other domains. With

    --make tools/testing/selftests/drivers/xen

boot.py builds all programs in that directory of the tree for the guest, and adds them to the FILEs.
"""

import argparse
import sys
from pathlib import Path

from base import config
from base.steps import Failure, say
from lab import build, guest, xen
from suites import kselftest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("-c", "--command", action="append", default=[])
    parser.add_argument("-t", "--seconds", type=int, default=120, help="limit of each command")
    parser.add_argument("-n", "--no-build", action="store_true", help="boot what was built before")
    parser.add_argument("-q", "--quick", action="store_true", help="without the scan for leaks")
    parser.add_argument("--name", default="boot", help="directory of the results under build/guest")
    parser.add_argument("--append", default="", help="more of the kernel's command line")
    parser.add_argument("--xen", choices=("arm64", "pvh", "pv"), help="boot it as that kind of first domain")
    parser.add_argument("--peer", action="append", default=[], help="command of a second domain")
    parser.add_argument("--make", default="", help="a directory of selftests to build and put in")
    args = parser.parse_args()
    tree = args.tree.resolve()
    kind = args.xen if args.xen in build.KINDS else "guest"
    image = build.Image(tree, tree / build.KINDS[kind].place, kind)
    if not args.no_build:
        image = build.image(tree, kind=kind, toggles_optional=True)
    if args.make:
        built = kselftest.programs(image, config.BUILD / "log" / "kselftest-boot.log", (args.make,),
                                   kselftest.NATIVE)
        args.files += [program.path for program in built]
    modules = [path.name for path in args.files if path.suffix == ".ko"]
    programs = [path.name for path in args.files if path.suffix != ".ko"]
    commands = args.command or [
        *(f"dmesg -c >/dev/null; insmod /test/{name}; dmesg; rmmod {name.removesuffix('.ko')}" for name in modules),
        *(f"/test/{name}" for name in programs)]
    plan = [guest.Item(f"{number}", args.seconds, command) for number, command in enumerate(commands, 1)]
    options = {"append": args.append, "leaks": not args.quick, "ended": lambda boot, item: say(
        f"--- {commands[int(item) - 1]}\n{boot.log(item)}--- exit status {boot.status[item]}, "
        f"{boot.seconds[item]:.1f} s")}
    files = {f"test/{path.name}": path for path in args.files}
    if args.xen:
        boot = xen.run(args.name, image, files, plan, peers=args.peer, mode=args.xen, **options)
    else:
        boot = guest.run(args.name, image.bootable, files, plan, **options)
    faults = [line for _, line in boot.splats()]
    for line in faults:
        say(f"console: {line}")
    say(f"kmemleak: {boot.leaks.strip() or 'nothing' if boot.leaks is not None else 'not run'}")
    say(f"whole console: {boot.dir}/console.log")
    if boot.error:
        raise Failure(boot.error)
    return 1 if faults or boot.leaks or any(boot.status.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        say(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
