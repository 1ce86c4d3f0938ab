# SPDX-License-Identifier: GPL-2.0
"""The developer's loop: build any kernel tree, boot it, run programs and load modules in it.

    boot.py TREE [FILE...] [-c COMMAND]...

The FILEs (static programs, .ko modules) are put into /test in the guest. Each COMMAND is run by sh
there; without any, each module is loaded and unloaded and each other FILE is run. The output of
each, and whatever looks like a fault on the console, is printed.
"""

import argparse
import sys
from pathlib import Path

import build
import guest
from steps import Failure, say


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
    args = parser.parse_args()
    tree = args.tree.resolve()
    image = build.Image(tree, tree / ".obj")
    if not args.no_build:
        image = build.image(tree, toggles_optional=True)
    modules = [path.name for path in args.files if path.suffix == ".ko"]
    programs = [path.name for path in args.files if path.suffix != ".ko"]
    commands = args.command or [
        *(f"dmesg -c >/dev/null; insmod /test/{name}; dmesg; rmmod {name.removesuffix('.ko')}" for name in modules),
        *(f"/test/{name}" for name in programs)]
    plan = [guest.Item(f"{number}", args.seconds, command) for number, command in enumerate(commands, 1)]
    boot = guest.run(args.name, image.bzimage, {f"test/{path.name}": path for path in args.files}, plan,
                     append=args.append, leaks=not args.quick, ended=lambda boot, item: say(
                         f"--- {commands[int(item) - 1]}\n{boot.log(item)}--- exit status {boot.status[item]}, "
                         f"{boot.seconds[item]:.1f} s"))
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
