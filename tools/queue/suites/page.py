# SPDX-License-Identifier: GPL-2.0
"""out/report/index.html: what the last run gave, as one static page, made from the JSON beside it.

    results.json   each test of the last run (results.py)
    run.json       when, with what, how long; how many tests passed of each part, also of earlier runs
    upkeep.json    how the patches fare on point releases (upkeep.py)

The bench plots are those of `make bench`; what was never run here is taken from TESTED.md. Links to logs and consoles lead
to build/, seen from the page. It loads nothing.
"""

import base64
import os
from pathlib import Path
from xml.etree import ElementTree

from base import config
from suites import bench, check, figures, full, kunit, results, tested, upkeep
from suites.pace import load
from suites.results import FAIL, PASS, SKIP
from weave import series, table

NAME = "index.html"
STYLE = config.HERE / "suites" / "page.css"
SIGNS = {PASS: "\N{CHECK MARK}", FAIL: "\N{BALLOT X}", SKIP: "\N{EN DASH}"}
WORDS = {PASS: "passed", FAIL: "failed", SKIP: "skipped"}
LOGS = "build/log/"     # what is not below it is a guest's, with a console


def element(tag, *content, **attributes):
    """An element with texts and elements in it; None is left out, and cls= is its class."""
    made = ElementTree.Element(tag, {{"cls": "class"}.get(name, name): str(value) for name, value in attributes.items() if value is not None})
    last = None
    for part in content:
        if isinstance(part, ElementTree.Element):
            made.append(part)
            last = part
        elif part is not None and last is None:
            made.text = (made.text or "") + str(part)
        elif part is not None:
            last.tail = (last.tail or "") + str(part)
    return made


def write(queue):
    """Make the page from what is there; returns its path."""
    where = results.REPORT.parent
    where.mkdir(parents=True, exist_ok=True)
    page = Page(queue, where).page()
    (where / NAME).write_text("<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n", encoding="utf-8")
    return where / NAME


def span(seconds):
    """How long, to read."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(tests):
    """{verdict: how many}"""
    return {verdict: sum(test["verdict"] == verdict for test in tests) for verdict in SIGNS}


def said(counts):
    return ", ".join(f"{counts[verdict]:,} {word}" for verdict, word in WORDS.items() if counts[verdict]) or "nothing"


def worst(counts):
    return next((verdict for verdict in (FAIL, PASS, SKIP) if counts[verdict]), SKIP)


def grid(head, rows, **attributes):
    """A table; a row is a list of cells, each a td or th, or what is to be in one, a row's first cell being its heading."""
    def row(cells):
        return element("tr", *(cell if isinstance(cell, ElementTree.Element) and cell.tag in ("td", "th")
                               else element("td" if number else "th", cell) for number, cell in enumerate(cells)))
    return element("div", element("table", element("thead", element("tr", *(element("th", cell) for cell in head))),
                                  element("tbody", *map(row, rows)), **attributes), cls="wide")


def section(title, *content):
    return element("section", element("h2", title), *content) if any(part is not None for part in content) else None


class Page:
    """The page for @queue about what is in the directory @where."""

    def __init__(self, queue, where):
        self.queue, self.where = queue, where
        self.run = load(where / results.RUN)
        self.tests = load(where / results.REPORT.name) if self.run else []
        self.upkeep = load(where / upkeep.REPORT.name) or []
        self.parts = {}     # (kernel's name, suite) -> its tests
        for test in self.tests:
            self.parts.setdefault((test["kernel"], test["suite"]), []).append(test)
        self.suites = [*full.SUITES, *sorted({suite for _, suite in self.parts} - set(full.SUITES))]
        self.topics = series.topics(series.load(queue))
        self.owners = {Path(path).stem: topic.name for topic in self.topics.values() for entry in topic.entries
                       for path in entry.patch.new if path.endswith(".c")}

    def page(self):
        counts = counted(self.tests)
        title = f"dma-buf queue: {said(counts)}" if self.tests else "dma-buf queue"
        return element(
            "html",
            element("head", element("meta", charset="utf-8"), element("meta", name="viewport", content="width=device-width"),
                    element("meta", name="color-scheme", content="light dark"),
                    element("title", title), element("style", STYLE.read_text(encoding="utf-8"))),
            element("body",
                    element("header", element("h1", "The dma-buf queue"), self.summary(counts)),
                    section("Failed", self.failed()),
                    section("Suites", self.matrix()),
                    section("Topics", self.by_topic()),
                    section("Logs and tests", *self.details()),
                    section("Skipped, and why", self.skipped()),
                    section("Where the time went", self.times()),
                    section("Point releases", *self.releases()),
                    section("What the calls cost", self.plots()),
                    section("Versions", self.versions())),
            lang="en")

    def summary(self, counts):
        if not self.run:
            return element("p", "No suite was run here yet.")
        return element("div", element("p", *(element("span", f"{SIGNS[verdict]} {counts[verdict]:,} {word}",
                                                     cls=verdict if counts[verdict] else "none") for verdict, word in WORDS.items()), cls="counts"),
                       element("p", element("code", self.run["command"]),
                               f", {span(self.run['seconds'])}, ended {self.day(self.run['ended'])}, commit ", element("code", self.run["commit"])))

    @staticmethod
    def day(text):
        """A date, and a time where there is one."""
        date, _, time = text.partition("T")
        return f"{date} {time[:5]} UTC" if time else date

    def link(self, path, text):
        """A link to the file or directory @path of the repository, if it is there."""
        place = self.queue.root / (path or "")
        return element("a", text, href=os.path.relpath(place, self.where)) if path and place.exists() else None

    def links(self, log):
        """Links to a log, and to the console of the guest that wrote it."""
        console = None
        if log and not log.startswith(LOGS):
            guest = Path(log).parents[1] if Path(log).parent.name == "out" else Path(log).parent
            console = str(guest / "console.log")
        return element("span", None if log == console else self.link(log, "log"), " ", self.link(console, "console"), cls="links")

    def failed(self):
        rows = [[f"{test['kernel']} {test['suite']}", element("td", test["test"], cls="name"), test["reason"], self.links(test["log"])]
                for test in self.tests if test["verdict"] == FAIL]
        return grid(["part", "test", "reason", ""], rows, cls="failed") if rows else None

    # Suites by kernels

    def matrix(self):
        """A row a suite, a column a kernel; last the tests that are about no kernel."""
        columns = [kernel.name for kernel in self.queue.kernels]
        head = ["", *(element("span", name, element("small", self.run.get("sources", {}).get(name, "").rpartition(" ")[2])) for name in columns)]
        loose = any(name == "-" for name, _ in self.parts)
        known = tested.cells_of(self.queue, (self.queue.root / tested.TESTED).read_text(encoding="utf-8")
                                if (self.queue.root / tested.TESTED).exists() else "")
        rows = [[suite, *(self.cell(name, suite, known.get((suite, name), "never")) for name in columns + ["-"] * loose)]
                for suite in self.suites]
        return grid(head + ["no kernel"] * loose, rows, cls="matrix")

    def cell(self, name, suite, kept):
        """What is known of a part; @kept: what TESTED.md says of it."""
        part = self.run.get("parts", {}).get(f"{name} {suite}")
        if (name, suite) in self.parts:
            took = sum(test["seconds"] for test in self.parts[name, suite])
            old = self.kept(name, suite)
            return element("td", element("a", f"{SIGNS[worst(part)]} {said(part)}", href=f"#{self.anchor(name, suite)}"),
                           element("small", f"kept, run {self.day(part['run'])} at {part['commit']}" if old else span(took)),
                           cls=worst(part) + (" old" if old else ""))
        if part:
            return element("td", f"{SIGNS[worst(part)]} {said(part)}",
                           element("small", f"not run; last {self.day(part['run'])} at {part['commit']}, make {part['tier'] or 'lint'}"),
                           cls=f"{worst(part)} old")
        if name == "-" or kept == "never":
            return element("td", "" if name == "-" else "never run", cls="old")
        date, _, words = kept.partition(": ")
        *words, _, commit = words.split(", ")
        return element("td", f"{SIGNS[PASS]} {', '.join(words)}", element("small", f"not run; last {date} at {commit}, make check-full"), cls="PASS old")

    def kept(self, name, suite):
        """Whether the results of a part are of an earlier run, whose logs a later one may have written over."""
        return self.run["parts"][f"{name} {suite}"]["run"] != self.run["ended"]

    @staticmethod
    def anchor(name, suite):
        return f"{name}-{suite}".lstrip("-")

    # Topics by kernels

    def topic(self, test):
        """The name of the topic that a test is about, or None."""
        first, _, rest = test["test"].partition(".")
        if test["suite"] == "topics" or first == "topic-alone":
            return rest if first == "topic-alone" else first
        program = Path(test["log"]).name.removesuffix(".log").rpartition(".")[2]
        if program == "igt":
            return check.TOPICS["igt"]
        return self.owners.get(Path(kunit.source_of(program)).stem) if not test["log"].startswith(LOGS) else None

    def by_topic(self):
        found = {}
        for test in self.tests:
            found.setdefault((self.topic(test), test["kernel"]), []).append(test)
        rows = []
        for topic in self.topics.values():
            cells = []
            for kernel in self.queue.kernels:
                counts = counted(found.get((topic.name, kernel.name), []))
                cells.append(element("td", f"{SIGNS[worst(counts)]} {said(counts)}" if any(counts.values()) else "no test in this run",
                                     element("small", f"patches: {table.cell(kernel, topic.entries)}"),
                                     cls=worst(counts) if any(counts.values()) else "old"))
            rows.append([element("th", topic.name, element("small", topic.title)), *cells])
        return grid(["", *(kernel.name for kernel in self.queue.kernels)], rows, cls="matrix")

    # Each part

    def details(self):
        order = [*(kernel.name for kernel in self.queue.kernels), "-"]
        return [self.part(name, suite) for suite in self.suites for name in order if (name, suite) in self.parts]

    def part(self, name, suite):
        """A part's tests, by the log that they are in."""
        tests, logs = self.parts[name, suite], {}
        for test in tests:
            logs.setdefault(test["log"], []).append(test)
        counts = counted(tests)
        # A browser that is sent to what is inside opens it.
        return element("details",
                       element("summary", element("b", f"{suite} {name if name != '-' else ''}"), f" {SIGNS[worst(counts)]} {said(counts)}",
                               cls=worst(counts)),
                       element("div", *(self.group(log, tests, not self.kept(name, suite)) for log, tests in logs.items()), id=self.anchor(name, suite)), cls="part")

    def group(self, log, tests, linked):
        counts = counted(tests)
        title = Path(log).name.removesuffix(".log") if log else "without a log"
        return element("details",
                       element("summary", f"{title} {SIGNS[worst(counts)]} {said(counts)}, {span(sum(test['seconds'] for test in tests))} ",
                               self.links(log) if linked else None, cls=worst(counts)),
                       element("ul", *(element("li", f"{SIGNS[test['verdict']]} {test['test']}", element("small", test["reason"]), cls=test["verdict"])
                                       for test in tests)))

    def skipped(self):
        """The reasons; a test that skips on several kernels, or for several programs, is counted."""
        found = {}
        for test in self.tests:
            if test["verdict"] == SKIP:
                found.setdefault((test["suite"], test["reason"]), []).append(f"{test['kernel']} {test['test']}")
        rows = [[suite, reason, element("details", element("summary", f"{len(names)}"), ", ".join(names))] for (suite, reason), names in found.items()]
        return grid(["suite", "reason", "tests"], rows) if rows else None

    def times(self):
        head, *rows = self.run.get("times") or [[]]
        return grid(["" if head[0] == "seconds" else head[0], *("all" if name == "-" else name for name in head[1:])],
                    [[row[0], *(cell and span(float(cell)) for cell in row[1:])] for row in rows], cls="numbers") if rows else None

    # Other commands

    def releases(self):
        rows, failing = [], {}
        for release in self.upkeep:
            verdicts = [patch["verdict"] for patch in release["patches"].values()]
            numbers = [element("td", f"{verdicts.count(verdict) or ''}", cls="FAIL" if verdict == upkeep.FAILS and verdict in verdicts else "")
                       for verdict in upkeep.VERDICTS]
            note = "newest" if release["newest"] else ""
            if release["series"] != release["patches_of"]:
                note += f"{', ' * bool(note)}neighbour, patches of {release['patches_of']}"
            cells = [element("td", release["missing"].partition("\n")[0], colspan=len(numbers), cls="old")] if release["missing"] else numbers
            rows.append([release["series"], release["version"], note, *cells])
            for path, patch in release["patches"].items():
                if patch["verdict"] == upkeep.FAILS:
                    failing.setdefault((path, patch["why"]), []).append(release["version"])
        fails = [element("li", element("b", path), f": {why}", element("small", " ".join(versions))) for (path, why), versions in failing.items()]
        return [grid(["series", "release", "", *upkeep.VERDICTS], rows, cls="numbers releases") if rows else None,
                element("details", element("summary", f"{len(fails)} failures"), element("ul", *fails)) if fails else None]

    def plots(self):
        places = self.queue.out / f"{bench.OUT.name}.svg", self.queue.root / f"{figures.KEPT}.svg"
        path = next((path for path in places if path.exists()), None)
        if path is None:
            return None
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return element("figure", element("img", alt="instructions by the number of fences", src=f"data:image/svg+xml;base64,{data}"),
                       element("figcaption", "Instructions by the number of fences, as ", element("code", "make bench"), " last measured them: ",
                               self.link(path.with_suffix(".json"), path.with_suffix(".json").name)))

    def versions(self):
        rows = [[f"Linux {name}", version] for name, version in self.run.get("sources", {}).items() if version]
        rows += [[name, version] for name, version in self.run.get("tools", {}).items()]
        return grid(["", "version"], rows) if rows else None
