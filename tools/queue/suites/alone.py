# SPDX-License-Identifier: GPL-2.0
"""Each topic alone, with the topics it needs: the suite `topics` of `make check-full`, and the part that `make check` runs.

A topic alone applies (promises.py), and compiles with the toggles on and off, for x86-64 and arm64; its selftests compile
for x86-64. So an integrator may take any selection, and the order of the topics in series does not matter.
"""

import time
from dataclasses import replace

from base import config, steps
from base.steps import Failure
from lab import build
from suites import commits, kselftest, tip
from suites.results import FAIL, PASS
from weave import mails, series, tree

NUMBER = 8000       # of the logs, beside those of commits.py and tip.py


def stack(kernel, git, name, rehearsal=False):
    """The tree.Stack of the topic @name and the topics it needs, on @kernel's unpatched source, in the repository of @git."""
    queue = replace(config.queue(), features=(name,))
    return tree.stack(git, git.commit("refs/tags/base"), kernel, mails.woven(queue, kernel), queue, rehearsal)


def topics(kernel):
    """The names of the topics that have a patch for @kernel."""
    return [name for name, topic in series.topics(series.load(config.queue())).items()
            if any(kernel.name in entry.kernels for entry in topic.entries)]


def check(kernel, results):
    git, _ = commits.checkout(kernel)
    variants = [commits.Variant(git.directory, kernel, arch) for arch in commits.CONFIGS]
    again = True        # nothing has been compiled yet
    for name in topics(kernel):
        done = stack(kernel, git, name)
        if not done.whole:
            results.add(kernel.name, "topics", f"{name}.applies", FAIL, done.refused())
            continue
        touched = sorted({path for woven in done.applied for path in woven.edits})
        compiled = set()
        for toggles in ("on", "off"):
            # A warning is compared with those of the unpatched source, which is checked out here, too.
            git("checkout", "--quiet", "--force", "--detach", done.tip)
            for variant, (seconds, *said) in zip(variants, compile_both(variants, toggles, touched, again)):
                targets, problems = tip.judged(kernel, variant, toggles, *said)
                compiled.update(targets)
                if targets and toggles == "on" and variant is variants[0]:
                    problems += unset(done.applied, variant)
                results.add(kernel.name, "topics", f"{name}.{variant.name}-toggles-{toggles}", FAIL if problems else PASS,
                            problems[0] if problems else "", seconds, variant.log(NUMBER))
        again = again and not compiled
        git("checkout", "--quiet", "--force", "--detach", done.tip)
        missed = commits.missed(touched, compiled, git.directory)
        results.add(kernel.name, "topics", f"{name}.all-compiled", FAIL if missed else PASS, " ".join(missed))
        selftests(kernel, name, touched, variants[0], results)


def compile_both(variants, toggles, paths, again):
    """[seconds, and what tip.compile_all() returns] for each of the @variants, in parallel: each often waits for one process."""
    def timed(variant):
        start = time.monotonic()
        variant.state = None
        # Files that have not changed since the preceding topic have warned there.
        done = tip.compile_all(variant, toggles, paths, NUMBER, again=again)
        return time.monotonic() - start, *done

    return steps.parallel(timed, variants)


def unset(woven, variant):
    """The toggles that the patches add and that the configuration does not have as wanted: "on" would then not be on."""
    added = {f"CONFIG_{name}" for one in woven for path, diff in one.edits.items()
             for hunk in diff.hunks for name in mails.options(hunk)}
    real = build.resolved(variant.kbuild.obj)
    return [f"{name} is {real.get(name, 'n')}" for name in sorted(added & set(variant.toggles)) if real.get(name) != variant.toggles[name]]


def selftests(kernel, name, touched, variant, results):
    """Build the selftests that the topic adds."""
    directories = [directory for directory in (*kselftest.DIRECTORIES, *kselftest.XEN)
                   if any(f"{path}/".startswith(f"{directory}/") for path in touched)]
    start, problem = time.monotonic(), ""
    try:
        kselftest.programs(build.Image(variant.tree, variant.kbuild.obj), variant.log(NUMBER + 1), directories, kselftest.NATIVE)
    except Failure as failure:
        problem = str(failure)
    results.add(kernel.name, "topics", f"{name}.selftests", FAIL if problem else PASS, problem, time.monotonic() - start, variant.log(NUMBER + 1))
