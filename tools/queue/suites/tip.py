# SPDX-License-Identifier: GPL-2.0
"""Compiles the woven kernel's last commit: the part of the suites `build` and `lint` (sparse) that `make check` runs.

For x86-64 and arm64, with gcc, it compiles the whole subsystem, and elsewhere the sources that the queue touches, with
the toggles on and with them off. `make check-full` compiles every commit, see commits.py.
"""

import time

from base.steps import Failure
from lab import debian
from suites import commits, lint
from suites.results import FAIL, PASS

NUMBER = 9000       # of the logs, beside those of commits.py


def check(kernel, suites, results, sparse):
    """Compile the last commit; @sparse is the Lint that checks the sources meanwhile, or None."""
    touched = commits.touched_by_all(kernel)
    compiled, warnings, seen, broken = set(), set(), set(), []
    for arch in commits.CONFIGS:
        variant = commits.Variant(kernel.tree, kernel, arch)
        with results.pace.timed(f"tip, {arch}", kernel):
            for toggles in ("on", "off") if "build" in suites else ("on",):
                start = time.monotonic()
                built, problems = compile_tip(kernel, variant, toggles, sorted(touched))
                compiled.update(built)
                broken += problems if not built else []
                if "build" in suites:
                    results.add(kernel.name, "build", f"tip-{variant.name}-toggles-{toggles}", FAIL if problems else PASS,
                                problems[0] if problems else "", time.monotonic() - start, variant.log(NUMBER))
                # Check each source once, for the first architecture that has it: few sources differ by architecture.
                unseen = [target for target in built if target.replace(".o", ".c") not in seen and not (seen and target.endswith("/"))]
                if toggles == "on" and sparse and unseen:
                    output = sparse.run_sparse(variant, unseen, debian.sparse())
                    checked, said = lint.read_sparse(output)
                    seen |= checked
                    warnings |= said
    # If something does not compile, missing objects mean nothing.
    if "build" in suites and not broken:
        commits.coverage(kernel, sorted(touched), compiled, kernel.tree, results)
    if sparse and broken:
        results.add(kernel.name, "lint", "sparse", FAIL, broken[0])
    elif sparse:
        sparse.sparse_planted(debian.sparse())
        sparse.sparse_judge(touched, seen, warnings, short=True)


def compile_tip(kernel, variant, toggles, paths):
    """Compile for @variant what depends on @paths; returns (its objects, problems: an error, or new warnings)."""
    return judged(kernel, variant, toggles, *compile_all(variant, toggles, paths))


def compile_all(variant, toggles, paths, number=NUMBER, again=True):
    """Compile for @variant what depends on @paths; returns (its objects, an error or "", its warnings).

    With @again and toggles on, also compile what is up to date, so that it warns again.
    """
    variant.log(number).unlink(missing_ok=True)
    try:
        variant.configure(() if toggles == "on" else tuple(variant.toggles))
        targets = variant.targets(paths, ())
        # Warnings appear only when an object is compiled, so delete the objects first. Objects that do not depend on a
        # toggle are the same with it off, and make does not rebuild them.
        for target in targets if again and toggles == "on" else ():
            place = variant.kbuild.obj / target
            for stale in place.rglob("*.o") if target.endswith("/") else [place]:
                stale.unlink(missing_ok=True)
        return targets, "", variant.make(number, targets)
    except Failure as failure:
        return [], str(failure).splitlines()[0], set()


def judged(kernel, variant, toggles, targets, error, found):
    """(objects, problems) from what compile_all() returned. May check out the unpatched source in the clone of commits.checkout()."""
    try:
        found = found - unpatched(kernel, variant.arch, targets) if found else found
    except Failure as failure:
        targets, error, found = [], str(failure).splitlines()[0], set()
    return targets, [error] * bool(error) + [f"{variant.name}, toggles {toggles}: {where}: {text}" for where, text in sorted(found)]


def unpatched(kernel, arch, targets):
    """The warnings that the unpatched kernel already has for those of @targets that it contains."""
    git, _ = commits.checkout(kernel)
    git("checkout", "--quiet", "--force", "--detach", "base")
    variant = commits.Variant(git.directory, kernel, arch)
    variant.kbuild.log = variant.log(NUMBER + 2)
    variant.configure()
    return variant.make(NUMBER + 2, [target for target in targets if (git.directory / target.replace(".o", ".c")).exists()])
