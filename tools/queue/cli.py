# SPDX-License-Identifier: GPL-2.0
"""The queue's commands, as the Makefile calls them; `cli.py help` lists them.

Each command imports the modules it needs when it runs, so that weaving works on a machine that
has nothing but Python and git.
"""

import argparse
import os
import sys

from base import config
from base.steps import Failure, say

HELP = """\
make run [KERNEL={k}]      build the patched kernel, boot it in QEMU, show every feature at work;
                            DEMO=xen: two domains of Xen on arm64, one draws into the other's buffer
make check                  the tests, in half an hour; KERNELS="{k} ..." and SUITES="queue kunit ..." narrow it
make check-full             all there is, in parts; what passed is kept until its inputs change, FORCE=1 runs it again
make upkeep                 each patch against each point release that Debian lists; KERNELS=, SOURCE=newest narrow it
make deps                   install what the other commands need (apt-get, as root or through sudo)
make source [KERNEL={k}]   the unpatched kernel: build/{k}/pristine, a git tree with the tag base;
                            FROM=~/linux takes it from your git tree or tarball; SOURCE=newest, here and with run,
                            tree, check and lint, the newest that Debian lists instead of the tested one
make series [KERNEL={k}]   the queue as mailbox patches: out/{k}/0001-*.patch ...
make am KDIR=~/linux        apply the queue to your own kernel tree, by git am
make tree [KERNEL={k}]     the patched kernel: build/{k}/tree, branch queue, to edit and rebase there;
                            FORCE=1 throws away what was not refreshed, LOOSE=1 accepts moved hunks
make refresh [KERNEL={k}]  write the edits made in that tree back into the patches and files here
make lint                   checkpatch, sparse and kernel-doc on every patch
make table                  write the README's table of features and kernels, from series
make verify                 check the queue's own rules: series, headers, no orphan files
make bench                  the measurements (none yet)

KERNEL is one of: {kernels}. The default is the oldest, KERNELS is all of them.\
"""


def the_kernel(args):
    return config.kernel(args.kernel) if args.kernel else config.kernels()[0]


def the_kernels(args):
    return [config.kernel(name) for name in args.kernels.split()] or config.kernels()


def show_help(_args):
    names = [kernel.name for kernel in config.kernels()]
    say(HELP.format(k=names[0], kernels=" ".join(names)))


def deps(_args):
    from lab import debian
    return debian.deps()


def source(args):
    from base import origin
    from lab import source as sources
    kernel = the_kernel(args)
    if args.origin and args.source:
        raise Failure("FROM= names a source, SOURCE= one of Debian's: give one of them")
    if not args.origin:
        sources.announce([kernel], args.source)
    path = sources.take(kernel, args.origin) if args.origin else sources.get(kernel, args.source)
    package, version = origin.recorded(config.queue(), kernel)
    say(f"{path}: {package} {version}, tag base")


def series(args):
    from weave import mails
    kernel = the_kernel(args)
    say(f"{kernel.out}: {len(mails.write(config.queue(), kernel))} patches")


def tree(args):
    from lab import source as sources
    from weave import tree as trees
    kernel = the_kernel(args)
    sources.announce([kernel], args.source)
    sources.get(kernel, args.source)
    done = trees.make(config.queue(), kernel, force=args.force, loose=args.loose)
    trees.tell(config.queue(), kernel, done)


def refresh(args):
    from weave import refresh as refreshing
    refreshing.refresh(config.queue(), the_kernel(args))


def am(args):
    from weave import am as applying
    applying.am(config.queue(), args.kdir)


def verify(_args):
    from weave import verify as verifying
    return verifying.main(config.queue())


def table(_args):
    from suites import tested
    from weave import table as tables
    tables.main(config.queue())
    tested.main(config.queue())


def run(args):
    from suites import demo
    return demo.main(the_kernel(args), args.demo, args.source)


def check(args):
    from suites import check as checking
    return checking.main(the_kernels(args), args.suites.split(), args.source)


def check_full(args):
    from suites import full
    return full.main(the_kernels(args), args.suites.split(), args.source, args.force)


def upkeep(args):
    from suites import upkeep as keeping
    return keeping.main(config.queue(), the_kernels(args), args.source)


def lint(args):
    from suites import lint as linting
    return linting.main(the_kernels(args), args.source)


def bench(_args):
    say("make bench: there is no benchmark yet", file=sys.stderr)
    return 2


def parser():
    top = argparse.ArgumentParser(prog="cli.py", add_help=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, function, *options):
        sub = commands.add_parser(name)
        sub.set_defaults(function=function)
        for option in options:
            if option in ("--force", "--loose"):
                sub.add_argument(option, action="store_true")
            else:
                sub.add_argument(option, default="", dest={"--from": "origin"}.get(option))

    command("help", show_help)
    command("deps", deps)
    command("source", source, "--kernel", "--source", "--from")
    command("series", series, "--kernel")
    command("tree", tree, "--kernel", "--source", "--force", "--loose")
    command("refresh", refresh, "--kernel")
    command("am", am, "--kdir")
    command("verify", verify)
    command("table", table)
    command("run", run, "--kernel", "--source", "--demo")
    command("check", check, "--kernels", "--suites", "--source")
    command("check-full", check_full, "--kernels", "--suites", "--source", "--force")
    command("upkeep", upkeep, "--kernels", "--source")
    command("lint", lint, "--kernels", "--source")
    command("bench", bench)
    return top


def main(argv=None):
    # The variables of this make are not for the makes that commands start in a kernel tree.
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
    args = parser().parse_args(argv)
    try:
        return args.function(args) or 0
    except Failure as failure:
        say(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
