# SPDX-License-Identifier: GPL-2.0
"""KUnit modules: how the guest runs one, and how its log is parsed, by the newest kernel's kunit.py."""

import json
import re
import sys
from pathlib import Path

from base import config, steps
from lab import guest, source
from suites.results import FAIL, PASS, SKIP

SECONDS = 600
NEEDS = {"drm-sched-tests.ko": "../gpu-sched.ko"}      # what a module depends on, as a relative path
ONLY = {"drm-sched-tests.ko": "drm_sched_names"}        # the queue's suites in a module whose other suites take long
WHERE = {"drm-sched-tests": "drivers/gpu/drm/scheduler/tests/tests_names.c"}    # the file of these suites


def source_of(module):
    """The file with the queue's tests in the module of that name, if it has any."""
    return WHERE.get(module, f"drivers/dma-buf/{module}.c")


def files(modules):
    needed = [module.parent / NEEDS[module.name] for module in modules if module.name in NEEDS]
    return {f"test/kunit/{module.name}": module for module in [*modules, *needed]}


def name(module):
    return module.name.removesuffix(".ko")


def item(module):
    """Load and unload the module; the kernel's log between these two is the module's."""
    before, after = "", ""
    if module.name in NEEDS:
        needed = Path(NEEDS[module.name])
        before, after = f"insmod /test/kunit/{needed.name} && ", f"rmmod {needed.stem} && "
    if module.name in ONLY:
        choice = "/sys/module/kunit/parameters/filter_glob"
        before, after = f"echo -n {ONLY[module.name]} >{choice}; {before}", f"echo -n '*' >{choice} && {after}"
    return guest.Item(f"kunit.{name(module)}", SECONDS,
                      f"dmesg -c >/dev/null; {before}insmod /test/kunit/{module.name}; status=$?; dmesg; "
                      f"rmmod {name(module)} && {after}exit $status")


def parse(log, where):
    """(test, verdict, reason) of each case in the kernel's @log; @where: file to leave it in."""
    lines = [re.sub(r"^\[ *\d+\.\d+\] ?", "", line) for line in log.splitlines()]
    suites = sum(bool(re.match(r" {4}# Subtest:", line)) for line in lines)
    # A module's tests come without the header that the built-in ones get at boot (5.10, 6.1).
    if not any(re.match(r"K?TAP version", line) for line in lines):
        lines = ["TAP version 14", f"1..{suites}", *lines]
    where.write_text("\n".join(lines) + "\n", encoding="utf-8")
    parsed = where.with_suffix(".json")
    parsed.unlink(missing_ok=True)
    steps.attempt([sys.executable, "-B", source.tools_tree() / "tools/testing/kunit/kunit.py", "parse",
                   f"--json={parsed}", where], cwd=config.BUILD)
    if not parsed.exists():
        return []
    return list(cases(json.loads(parsed.read_text(encoding="utf-8")), lines))


def cases(group, lines, suite=""):
    for case in group.get("test_cases", ()):
        verdict = {"PASS": PASS, "SKIP": SKIP}.get(case["status"], FAIL)
        yield f"{suite}.{case['name']}", verdict, reason(case, lines) if verdict != PASS else ""
    for sub in group.get("sub_groups", ()):
        yield from cases(sub, lines, sub["name"])


def reason(case, lines):
    """The first line in which the test case reports what it expected."""
    for line in lines:
        if match := re.match(rf"\s*# {re.escape(case['name'])}: (?:ASSERTION|EXPECTATION) FAILED at (.*)", line):
            return match[1]
    return case["status"].lower()
