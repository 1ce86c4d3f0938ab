# SPDX-License-Identifier: GPL-2.0
"""IGT, the graphics stack's own tests, as packaged by Debian: tests that do not come from this queue.

igt_runner runs them in the guest. The tests of the sync_file ioctls have to pass. The others must not
have worse results than on the control kernel: they show that the queue breaks nothing.
"""

import json
import re
import xml.etree.ElementTree as ET

from base import config, steps
from base.steps import Failure
from lab import debian, elf, guest
from suites.results import FAIL, PASS, SKIP

JUDGE = "dmabuf_sync_file"
SUBTESTS = 7            # of dmabuf_sync_file, in IGT 2.5
TESTS = (JUDGE, "sw_sync", "vgem_basic", "prime_vgem", "syncobj_basic", "syncobj_wait",
         "syncobj_timeline", "syncobj_eventfd")
HOME = "usr/libexec/igt-gpu-tools"
SECONDS = 600           # for all of them together
# The results of igt_runner, from good to bad.
ORDER = ("pass", "warn", "skip", "dmesg-warn", "dmesg-fail", "fail", "abort", "timeout", "crash",
         "incomplete", "notrun")


def root():
    """The directory where IGT and all that it needs are unpacked."""
    path = config.BUILD / "igt"
    if not path.exists():
        with steps.step(f"getting IGT from {debian.IGT_SUITE}"):
            debian.fetch(debian.closure(["igt-gpu-tools-tests"], debian.IGT_SUITE), debian.IGT_SUITE, path)
    return path


def files(chosen=TESTS):
    """The files that the guest needs to run the @chosen tests: {path in the guest: path here}."""
    base = root()
    tests = [name for name in chosen if (base / HOME / name).exists()]
    if JUDGE not in tests:
        raise Failure(f"{base / HOME} has no {JUDGE}; remove {base} and try again")
    listing = base / f"test-list-{len(tests)}.txt"
    listing.write_text(f"TESTLIST\n{' '.join(tests)}\nEND TESTLIST\n", encoding="utf-8")
    binaries = {f"{HOME}/{name}": base / HOME / name for name in tests}
    binaries["usr/bin/igt_runner"] = base / "usr/bin/igt_runner"
    return {**binaries, **elf.libraries(base, binaries.values()), f"{HOME}/test-list.txt": listing}


def item():
    """The plan's line: each binary once, with all its subtests; igt_runner sums up in results.json."""
    return guest.Item("igt", SECONDS, f"mkdir -p /out/igt; igt_runner -m -o --per-test-timeout 120 "
                      f"/{HOME} /out/igt/results; cp /out/igt/results/results.json /out/igt/; "
                      f"rm -r /out/igt/results")


def results(boot):
    """{test: (result, what it printed, seconds)} as igt_runner wrote them."""
    path = boot.path("igt") / "results.json"
    if not path.exists():
        return {}
    tests = json.loads(path.read_text(encoding="utf-8", errors="replace"))["tests"]
    return {name.removeprefix("igt@").replace("@", "."):
            (test["result"], (test.get("out", "") + test.get("err", "")).strip(), seconds(test))
            for name, test in tests.items()}


def seconds(test):
    time = test.get("time", {})
    return max(0.0, time.get("end", 0) - time.get("start", 0))


def keep(boot, found, name):
    """Keep the output of igt_runner in out/report: NAME.json unchanged, and NAME.xml as JUnit."""
    report = config.OUT / "report"
    report.mkdir(parents=True, exist_ok=True)
    source = boot.path("igt") / "results.json"
    if source.exists():
        (report / f"{name}.json").write_bytes(source.read_bytes())
    suite = ET.Element("testsuite", name=name, tests=str(len(found)))
    for test, (result, text, took) in found.items():
        group, _, subtest = test.partition(".")
        case = ET.SubElement(suite, "testcase", classname=group, name=subtest or group, time=f"{took:.3f}")
        if result != "pass":
            kind = "skipped" if result in ("skip", "notrun") else "failure"
            # XML cannot express control characters.
            ET.SubElement(case, kind, message=result).text = re.sub(r"[^\t\n\x20-\ud7ff]", "?", text)
    ET.ElementTree(suite).write(report / f"{name}.xml", encoding="utf-8", xml_declaration=True)


def reason(text):
    """The line in which a test says why it skipped or failed, or ""."""
    for pattern in (r"Failed assertion: (.*)", r"Test requirement: (.*)"):
        if match := re.search(pattern, text):
            return match[1].strip()
    return ""


def grade(result):
    # A warning is only about the environment (no such module, no debugfs file).
    return ORDER.index("pass" if result == "warn" else result) if result in ORDER else len(ORDER)


def compared(found, control):
    """(test, verdict, reason, seconds) of all tests but the judge's, measured against the control kernel.

    A program of which all tests skip, because the hardware is missing, is one line.
    """
    groups = {}
    for test in sorted({*found, *control}):
        groups.setdefault(test.partition(".")[0], []).append(test)
    groups.pop(JUDGE, None)
    for group, tests in groups.items():
        if all(found.get(test, ("",))[0] == "skip" for test in tests):
            yield group, SKIP, f"all {len(tests)} subtests: {reason(found[tests[0]][1])}", 0.0
            continue
        for test in tests:
            result, text, took = found.get(test, ("notrun", "", 0.0))
            before = control.get(test, ("notrun", "", 0.0))[0]
            if grade(result) > grade(before):
                yield test, FAIL, f"{result}, but {before} on the control kernel: {reason(text)}", took
            elif result == "skip":
                yield test, SKIP, reason(text), took
            else:
                yield test, PASS, "" if result == "pass" else f"{result}, as on the control kernel", took
