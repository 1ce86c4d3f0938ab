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
                            DEMO=xen: two domains of Xen on arm64, one draws into the other's buffer;
                            DEMO=xen-desktop: in the same way, and weston displays the buffer;
                            DEMO=desktop: Debian's vulkaninfo, weston and GTK with the ioctls and without
make check                  the tests, in half an hour; KERNELS="{k} ..." and SUITES="queue kunit ..." narrow it
make check-full             all there is, in parts; what passed is kept until its inputs change, FORCE=1 runs it again
make upkeep                 each patch against each point release that Debian lists; KERNELS=, SOURCE=newest narrow it
make deps                   install what the other commands need (apt-get, as root or through sudo)
make source [KERNEL={k}]   the unpatched kernel: build/{k}/pristine, a git tree with the tag base;
                            FROM=~/linux takes it from your git tree or tarball; SOURCE=newest, here and with run,
                            tree, check and lint, the newest that Debian lists instead of the tested one
make series [KERNEL={k}]   the queue as mailbox patches: out/{k}/0001-*.patch ...
make am KDIR=~/linux        apply the queue to your own kernel tree, by git am; MERGE=1 merges three-way with the tested source
                            what does not apply; NEAREST=1 takes the topics that go in whole into a tree between two kernels
make tree [KERNEL={k}]     the patched kernel: build/{k}/tree, branch queue, to edit and rebase there;
                            FORCE=1 throws away what was not refreshed
make refresh [KERNEL={k}]  write the edits made in that tree back into the patches and files here
make mail TOPIC=names       a posting of a topic to the kernel's lists, in out/mail/names: a letter, numbered mails, To and Cc;
                            SIGN='Jane Doe <jane@example.org>' signs it off
make topics                 what there is to choose from: FEATURES="names release" has series, tree, am, run and check
                            take these topics and what they need
make base KERNEL=7.2 FROM=7.3
                            support one more kernel: the patches of FROM, merged where they do not apply as they are
make pin                    write the ids of the woven trees into kernels.toml, after a change that was meant
make lint                   checkpatch, sparse and kernel-doc on every patch
make table                  write the README's table of topics and kernels, from series
make verify                 check the queue's own rules: series, headers, no orphan files
make bench                  instructions that the ioctls take on the oldest and the newest kernel, bytes that toggles add;
                            KERNELS= for others. Writes bench.json, the plots and the tables
make bench-xen [KERNEL={k}] instructions of gntdev's ioctls in the first domain of Xen on arm64, into the pages
make bench-check            measures, too, and fails where a figure differs from bench.json by more than 2%

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
    done = trees.make(config.queue(), kernel, force=args.force)
    trees.tell(config.queue(), kernel, done)


def base(args):
    from lab import debian, source as sources
    from weave import newbase
    queue = config.queue()
    if not args.kernel or not args.origin:
        raise Failure("say which kernel, and which supported one it resembles: `make base KERNEL=7.2 FROM=7.3`")
    origin = queue.kernel(args.origin)
    debian.deps()
    package = f"linux-source-{args.kernel}"
    if args.kernel in [kernel.name for kernel in queue.kernels]:
        raise Failure(f"{args.kernel} is supported already; `make tree KERNEL={args.kernel}` says which of its patches do not apply")
    listed = debian.listed(package)
    if not listed:
        raise Failure(f"no suite that kernels.toml or this machine has lists a package {package}")
    for other in filter(None, (origin, newbase.next_older(queue, args.kernel))):
        sources.get(other)
    before = newbase.look(queue, args.kernel, origin)
    kernel = config.Kernel(args.kernel, listed[0], package, tuple(debian.suites_of(package)), "",
                           queue.build / args.kernel, queue.out / args.kernel)
    sources.get(kernel)
    with newbase.saved(queue):
        queue, ranges = newbase.add(queue, origin, kernel)
        done = newbase.merge(queue, kernel, before)
    newbase.report(kernel, done, ranges)


def topics(_args):
    from weave import table as tables
    tables.show(config.queue())


def pin(args):
    from lab import source as sources
    from weave import tree as trees
    for kernel in the_kernels(args):
        sources.get(kernel)
        changed = trees.pin(config.queue(), kernel)
        say(f"{kernel.name}: {'wrote the id of' if changed else 'kernels.toml has'} the woven tree")


def refresh(args):
    from weave import refresh as refreshing
    refreshing.refresh(config.queue(), the_kernel(args))


def am(args):
    from weave import am as applying
    applying.am(config.queue(), args.kdir, args.merge, args.nearest, tested_source)


def tested_source(kernel):
    """What MERGE=1 merges with."""
    from lab import source as sources
    sources.get(kernel)


def mail(args):
    from weave import posting
    posting.post(config.queue(), args.topic, args.sign)


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


def reported(status):
    """Make the page of what was run, and pass on the @status."""
    from suites import page
    page.write(config.queue())
    return status


def check(args):
    from suites import check as checking
    return reported(checking.main(the_kernels(args), args.suites.split(), args.source))


def check_full(args):
    from suites import full
    return reported(full.main(the_kernels(args), args.suites.split(), args.source, args.force))


def upkeep(args):
    from suites import upkeep as keeping
    return reported(keeping.main(config.queue(), the_kernels(args), args.source))


def lint(args):
    from suites import lint as linting
    return reported(linting.main(the_kernels(args), args.source))


def bench(args):
    from suites import bench as benchmark
    return benchmark.main(the_kernels(args) if args.kernels else [])


def bench_xen(args):
    from suites import benchxen
    return benchxen.main(the_kernel(args))


def bench_check(args):
    from suites import bench as benchmark
    return benchmark.check(the_kernels(args) if args.kernels else [])


def parser():
    top = argparse.ArgumentParser(prog="cli.py", add_help=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, function, *options):
        sub = commands.add_parser(name)
        sub.set_defaults(function=function)
        for option in options:
            if option in ("--force", "--merge", "--nearest"):
                sub.add_argument(option, action="store_true")
            else:
                sub.add_argument(option, default="", dest={"--from": "origin"}.get(option))

    command("help", show_help)
    command("deps", deps)
    command("source", source, "--kernel", "--source", "--from")
    command("series", series, "--kernel", "--features")
    command("tree", tree, "--kernel", "--source", "--force", "--features")
    command("base", base, "--kernel", "--from")
    command("topics", topics, "--features")
    command("pin", pin, "--kernels")
    command("refresh", refresh, "--kernel")
    command("am", am, "--kdir", "--features", "--merge", "--nearest")
    command("mail", mail, "--topic", "--sign")
    command("verify", verify)
    command("table", table)
    command("run", run, "--kernel", "--source", "--demo", "--features")
    command("check", check, "--kernels", "--suites", "--source", "--features")
    command("check-full", check_full, "--kernels", "--suites", "--source", "--force")
    command("upkeep", upkeep, "--kernels", "--source")
    command("lint", lint, "--kernels", "--source")
    command("bench", bench, "--kernels")
    command("bench-xen", bench_xen, "--kernel")
    command("bench-check", bench_check, "--kernels")
    return top


def main(argv=None):
    # The variables of this make are not for the makes that commands start in a kernel tree.
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
    args = parser().parse_args(argv)
    config.choose(getattr(args, "features", "").split())
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
