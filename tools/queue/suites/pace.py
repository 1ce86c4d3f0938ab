# SPDX-License-Identifier: GPL-2.0
"""How a check spends its time: its progress, printed on each line, and a profile, printed at the end.

The number of tests and the times at which they end come from an earlier run of the same kernels and suites: the last
run here, or else the one in pace.json, which `make table` updates.
"""

import json
import time
from contextlib import contextmanager

from base import config

HERE = config.BUILD / "pace.json"
KEPT = config.HERE / "pace.json"
SETTLED = 60        # seconds after which the speed of this machine is known well enough


def load(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep():
    """Copy the first runs of all kernels and suites on this machine into pace.json; returns whether it changed."""
    before = load(KEPT)
    after = {**before, **{key: run for key, run in load(HERE).items() if run["whole"] and run["cold"]}}
    if after != before:
        KEPT.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return after != before


def words(rest):
    return f"about {round(rest / 60)} min left" if rest > 90 else f"about {round(rest, -1):.0f} s left"


class Pace:
    """A run of @tier, "check" or "check-full", on @kernels with @suites, by name; @whole: these are all kernels and suites."""

    def __init__(self, tier, kernels, suites, whole):
        self.tier, self.whole, self.names, self.suites = tier, whole, kernels, suites
        self.cold = not any(config.kernel(name).tree.exists() for name in kernels)
        self.complete = True    # no part was taken from an earlier run
        self.taken = {}         # "KERNEL SUITE" of those that were -> what is known of that run
        self.all = len(kernels) * len(suites) + ("queue" in suites)
        self.key = f"{tier}: {' '.join(kernels)}: {' '.join(suites)}"
        self.start = time.monotonic()
        self.parts = {}         # "KERNEL SUITE" -> [tests, seconds until its first, seconds until its last]
        self.spent = {}         # (what, kernel's name) -> seconds
        known = {**load(KEPT), **load(HERE)}
        self.before = known.get(self.key) if tier else None
        if self.before:
            self.expected = {part: numbers[0] for part, numbers in self.before["parts"].items()}
        else:
            # For a selection, earlier whole runs tell the number of tests, but not the time that they take.
            whole = next((run for key, run in known.items() if run["whole"] and key.startswith(f"{tier}:")), {"parts": {}})
            self.expected = {part: numbers[0] for part, numbers in whole["parts"].items()
                             if part.split()[0] in (*kernels, "-") and part.split()[1] in suites}

    @contextmanager
    def timed(self, what, kernel):
        start = time.monotonic()
        try:
            yield
        finally:
            key = what, getattr(kernel, "name", str(kernel))
            self.spent[key] = self.spent.get(key, 0) + time.monotonic() - start

    def note(self, kernel, suite):
        """Count a test that has ended; returns what its line says about the whole run."""
        now = time.monotonic() - self.start
        part = self.parts.setdefault(f"{kernel} {suite}", [0, now, now])
        part[0] += 1
        part[2] = now
        done = sum(numbers[0] for numbers in self.parts.values())
        total = sum(max(count, self.parts.get(name, [0])[0]) for name, count in self.expected.items())
        total += sum(numbers[0] for name, numbers in self.parts.items() if name not in self.expected)
        left = self.left(now)
        if not self.expected:       # without an earlier run the number of tests is unknown
            return f"[{done} done, part {len(self.parts)} of {self.all}]"
        return f"[{done}/{total}{'' if left is None else f', {left}'}]"

    def kept(self, results, run):
        """Count @results of an earlier @run."""
        self.complete = False
        now = time.monotonic() - self.start
        for result in results:
            self.taken[f"{result.kernel} {result.suite}"] = run
            self.parts.setdefault(f"{result.kernel} {result.suite}", [0, now, now])[0] += 1

    def left(self, now):
        """The time that remains, in words; None if there was no earlier run of this kind."""
        if not self.before:
            return None
        if self.taken:
            # For the parts that run this time, by the time that each took.
            spans = {name: (count, last - first) for name, (count, first, last) in self.before["parts"].items()}
            rest = sum(span * (1 - min(self.parts.get(name, [0])[0] / count, 1)) for name, (count, span) in spans.items()
                       if name not in self.taken)
            return words(rest * self.before["seconds"] / max(sum(span for _, span in spans.values()), 1))
        # How far the earlier run was when as many of its tests had ended as of this run.
        place = 0
        for name, (count, first, last) in self.before["parts"].items():
            done = self.parts.get(name, [0])[0]
            if done:
                place = max(place, first + min((done - 1) / max(count - 1, 1), 1) * (last - first))
        speed = now / place if place > SETTLED else 1
        return words(max(0, self.before["seconds"] - place) * speed)

    def finish(self, through=True):
        """Record this run, if it got @through; returns the profile as lines."""
        seconds = self.seconds()
        run = {"seconds": seconds, "whole": self.whole, "cold": self.cold,
               "parts": {name: [count, round(first), round(last)] for name, (count, first, last) in self.parts.items()}}
        if through and self.complete and self.tier:
            HERE.parent.mkdir(parents=True, exist_ok=True)
            HERE.write_text(json.dumps({**load(HERE), self.key: run}, indent=1) + "\n", encoding="utf-8")
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                           for column, (cell, width) in enumerate(zip(row, widths))) for row in rows]
        return [*(lines if len(rows) > 1 else []), f"all of it: {seconds} s"]

    def seconds(self):
        return round(time.monotonic() - self.start)

    def command(self, features=()):
        """The command as the user typed it."""
        chosen = {} if self.whole or not self.tier else {"KERNELS": self.names, "SUITES": self.suites}
        chosen.update({"FEATURES": features} if features else {})
        return " ".join([f"make {self.tier or 'lint'}", *(f'{name}="{" ".join(words)}"' for name, words in chosen.items())])

    def rows(self):
        """What was done, and the seconds that each kernel took: lines of cells, the first the heading."""
        kernels = list(dict.fromkeys(kernel for _, kernel in self.spent))
        return [["seconds", *kernels],
                *([what, *(f"{self.spent[what, kernel]:.0f}" if (what, kernel) in self.spent else "" for kernel in kernels)]
                  for what in dict.fromkeys(what for what, _ in self.spent))]
