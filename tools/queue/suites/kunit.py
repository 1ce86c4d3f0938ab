# SPDX-License-Identifier: GPL-2.0
"""KUnit modules: how the guest runs one, and what its log says, by the newest kernel's kunit.py."""

import json
import re
import sys

from base import config, steps
from lab import guest, source
from suites.results import FAIL, PASS, SKIP

SECONDS = 600


def files(modules):
    return {f"test/kunit/{module.name}": module for module in modules}


def name(module):
    return module.name.removesuffix(".ko")


def item(module):
    """Load and unload it, between which the kernel's log is its own."""
    return guest.Item(f"kunit.{name(module)}", SECONDS,
                      f"dmesg -c >/dev/null; insmod /test/kunit/{module.name}; status=$?; dmesg; "
                      f"rmmod {name(module)} && exit $status")


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
    """The first line in which the case says what it expected."""
    for line in lines:
        if match := re.match(rf"\s*# {re.escape(case['name'])}: (?:ASSERTION|EXPECTATION) FAILED at (.*)", line):
            return match[1]
    return case["status"].lower()
