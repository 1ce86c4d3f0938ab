# SPDX-License-Identifier: GPL-2.0
"""Test results: one line as each test ends, all of them in out/report/results.json, and facts about the run in run.json.

    PASS 5.10 kselftest sync_file.errno_bad_flags  [312/1540, about 14 min left]

A skip is a failure unless skips.toml lists it with a reason: a test that silently stops running
looks the same as one that passes.
"""

import datetime
import json
import os
import platform
import shutil
import threading
import tomllib
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from base import config, gitcmd, origin, steps
from base.steps import Failure
from suites.pace import Pace, load
from weave import patchfile, series

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
SKIPS = config.HERE / "skips.toml"
UNPATCHED = config.HERE / "control.toml"
REPORT = config.OUT / "report" / "results.json"
RUN = "run.json"
TOOLS = ("gcc", "ld", "qemu-system-x86_64", "qemu-system-aarch64", "spatch", "git")


@dataclass(frozen=True)
class Result:
    kernel: str
    suite: str
    test: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0
    log: str = ""           # path of its output, relative to the repository

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


def tools():
    """{tool: the first line of its version message}"""
    found = {name: steps.attempt([name, "--version"])[1].partition("\n")[0] for name in TOOLS if shutil.which(name)}
    return {"system": platform.freedesktop_os_release().get("PRETTY_NAME", ""), **found, "Python": platform.python_version()}


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

    def add(self, kernel, suite, test, verdict, reason="", seconds=0.0, log=""):
        """Record and print one verdict; @reason is cut to its first line; @log: path of a file, if there is one."""
        reason = " ".join(reason.strip().splitlines()[:1])
        if verdict == SKIP:
            verdict, reason = self.judge_skip(kernel, suite, test, reason)
        result = Result(kernel, suite, test, verdict, reason, round(seconds, 2), log and os.path.relpath(log, config.ROOT))
        with self.lock:
            self.all.append(result)
            steps.say(f"{result}  {self.pace.note(kernel, suite)}")
        return result

    def keep(self, results, date="", commit=""):
        """Count @results of an earlier run, of that @date and @commit, without printing them again."""
        with self.lock:
            self.all += results
            self.pace.kept(results, {"run": date, "commit": commit})

    def judge_skip(self, kernel, suite, test, reason):
        for entry in self.skips:
            if (kernel in entry["kernels"] and suite == entry["suite"] and fnmatchcase(test, entry["test"])):
                return SKIP, entry["reason"]
        if "sync_file ioctls" in reason and patchfile.version(kernel) < (6, 0) and "sync-file" not in series.chosen(config.queue()):
            return SKIP, f"{reason}, which the topic sync-file brings"
        return FAIL, f"skipped: {reason or 'no reason given'}; if that is right, say why in {SKIPS.name}"

    def count(self, verdict):
        return sum(result.verdict == verdict for result in self.all)

    def about(self, before):
        """The content of run.json for this run. Its parts are those of this run and, from @before, those of earlier runs."""
        queue, pace = config.queue(), self.pace
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        commit = gitcmd.own(config.ROOT, queue).attempt("describe", "--always", "--dirty")[1].strip()
        parts = {}
        for result in self.all:
            name = f"{result.kernel} {result.suite}"
            part = parts.setdefault(name, {"run": now, "commit": commit, **pace.taken.get(name, {}), "tier": pace.tier,
                                           PASS: 0, FAIL: 0, SKIP: 0})
            part[result.verdict] += 1
        return {"ended": now, "seconds": pace.seconds(), "command": pace.command(queue.features), "commit": commit,
                "sources": {kernel.name: " ".join(origin.recorded(queue, kernel)).strip() for kernel in queue.kernels},
                "tools": tools(), "times": pace.rows(), "parts": {**before.get("parts", {}), **parts}}

    def finish(self):
        """Write the report, print the last line; returns the exit status."""
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps([asdict(result) for result in self.all], indent=1) + "\n", encoding="utf-8")
        run = REPORT.with_name(RUN)
        run.write_text(json.dumps(self.about(load(run)), indent=1) + "\n", encoding="utf-8")
        failed = [result for result in self.all if result.verdict == FAIL]
        if failed and len(self.all) > 20:       # the failures have scrolled out of view
            steps.say("\nfailed:")
            for result in failed:
                steps.say(str(result))
        if not self.all:
            steps.say("error: no test was run")
        steps.say("")
        # An incomplete run does not tell how long a run takes.
        for line in self.pace.finish(all(result.suite != "check" for result in self.all)):
            steps.say(line)
        steps.say(f"{self.count(PASS)} passed, {len(failed)} failed, {self.count(SKIP)} skipped")
        return 1 if failed or not self.all else 0
