# SPDX-License-Identifier: GPL-2.0
"""What the tests gave: one line as each ends, all of it in out/report/results.json.

    PASS 5.10 kselftest sync_file.errno_bad_flags

A skip is a failure unless skips.toml lists it with a reason: a test that silently stops running
looks the same as one that passes.
"""

import json
import tomllib
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

import config
import steps
from steps import Failure

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
SKIPS = config.HERE / "skips.toml"
REPORT = config.OUT / "report" / "results.json"


@dataclass(frozen=True)
class Result:
    kernel: str
    suite: str
    test: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0

    def __str__(self):
        return " ".join(filter(None, (self.verdict, self.kernel, self.suite, self.test,
                                      f"({self.reason})" if self.reason else "")))


def allowed_skips():
    with open(SKIPS, "rb") as file:
        entries = tomllib.load(file).get("skip", [])
    for entry in entries:
        if set(entry) != {"kernels", "suite", "test", "reason"}:
            raise Failure(f"{SKIPS}: an entry has kernels, suite, test and reason: {entry}")
    return entries


class Results:
    def __init__(self):
        self.all = []
        self.skips = allowed_skips()

    def add(self, kernel, suite, test, verdict, reason="", seconds=0.0):
        """Record and print one verdict; @reason is cut to its first line."""
        reason = " ".join(reason.strip().splitlines()[:1])
        if verdict == SKIP:
            verdict, reason = self.judge_skip(kernel, suite, test, reason)
        result = Result(kernel, suite, test, verdict, reason, round(seconds, 2))
        self.all.append(result)
        steps.say(str(result))
        return result

    def judge_skip(self, kernel, suite, test, reason):
        for entry in self.skips:
            if (kernel in entry["kernels"] and suite == entry["suite"] and fnmatchcase(test, entry["test"])):
                return SKIP, entry["reason"]
        return FAIL, f"skipped: {reason or 'no reason given'}; if that is right, say why in {SKIPS.name}"

    def count(self, verdict):
        return sum(result.verdict == verdict for result in self.all)

    def finish(self):
        """Write the report, print the last line; returns the exit status."""
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps([asdict(result) for result in self.all], indent=1) + "\n", encoding="utf-8")
        failed = [result for result in self.all if result.verdict == FAIL]
        if failed and len(self.all) > 20:       # they have scrolled by
            steps.say("\nfailed:")
            for result in failed:
                steps.say(str(result))
        steps.say(f"{self.count(PASS)} passed, {len(failed)} failed, {self.count(SKIP)} skipped")
        if not self.all:
            steps.say("error: no test was run")
        return 1 if failed or not self.all else 0
