# SPDX-License-Identifier: GPL-2.0
"""What the tests gave: one line as each ends, all of it in out/report/results.json.

    PASS 5.10 kselftest sync_file.errno_bad_flags  [312/1540, about 14 min left]

A skip is a failure unless skips.toml lists it with a reason: a test that silently stops running
looks the same as one that passes.
"""

import json
import threading
import tomllib
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from base import config, steps
from base.steps import Failure
from suites.pace import Pace
from weave import patchfile, series

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
SKIPS = config.HERE / "skips.toml"
UNPATCHED = config.HERE / "control.toml"
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


def table(path, name, keys):
    """The [[name]] entries of the file at @path, each with exactly these @keys."""
    with open(path, "rb") as file:
        entries = tomllib.load(file).get(name, [])
    for entry in entries:
        if set(entry) != set(keys):
            raise Failure(f"{path}: an entry has {', '.join(keys)}: {entry}")
    return entries


def allowed_skips():
    return table(SKIPS, "skip", ("kernels", "suite", "test", "reason"))


def passing_unpatched(kernel):
    """Entries of control.toml for the kernel of that name."""
    entries = table(UNPATCHED, "passes", ("kernels", "test", "toggle", "reason"))
    return [entry for entry in entries if kernel in entry["kernels"]]


class Results:
    def __init__(self, pace=None):
        self.all = []
        self.skips = allowed_skips()
        self.pace = pace or Pace("", [], [], False)
        self.lock = threading.Lock()

    def add(self, kernel, suite, test, verdict, reason="", seconds=0.0):
        """Record and print one verdict; @reason is cut to its first line."""
        reason = " ".join(reason.strip().splitlines()[:1])
        if verdict == SKIP:
            verdict, reason = self.judge_skip(kernel, suite, test, reason)
        result = Result(kernel, suite, test, verdict, reason, round(seconds, 2))
        with self.lock:
            self.all.append(result)
            steps.say(f"{result}  {self.pace.note(kernel, suite)}")
        return result

    def keep(self, results):
        """Count @results of an earlier run, which need not be said again."""
        with self.lock:
            self.all += results
            self.pace.kept(results)

    def judge_skip(self, kernel, suite, test, reason):
        for entry in self.skips:
            if (kernel in entry["kernels"] and suite == entry["suite"] and fnmatchcase(test, entry["test"])):
                return SKIP, entry["reason"]
        if "sync_file ioctls" in reason and patchfile.version(kernel) < (6, 0) and "sync-file" not in series.chosen(config.queue()):
            return SKIP, f"{reason}, which the topic sync-file brings"
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
        if not self.all:
            steps.say("error: no test was run")
        steps.say("")
        # What did not get through does not tell how long it takes.
        for line in self.pace.finish(all(result.suite != "check" for result in self.all)):
            steps.say(line)
        steps.say(f"{self.count(PASS)} passed, {len(failed)} failed, {self.count(SKIP)} skipped")
        return 1 if failed or not self.all else 0
