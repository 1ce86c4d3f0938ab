# SPDX-License-Identifier: GPL-2.0
"""The page of results, from a sample of what the commands leave in out/report."""

import functools
import html.parser
import json
import re
import shutil

import pytest

import cli
from base import config, steps
from lab import debian
from suites import check, full, lint, pace, page, picture, results
from suites.pace import Pace
from suites.results import FAIL, PASS, SKIP

CONSOLE = "build/guest/5.10-queue-1/console.log"
LOG = "build/guest/5.10-queue-1/out/kselftest.test.log"
WHY = "test.c:7: <b>Expected</b> 0 & 1"
NOW = "2026-11-28T19:20:30+00:00"
PLOT = "<svg xmlns='http://www.w3.org/2000/svg'/>"
TESTED = "| suite | 5.10 | 6.1 |\n|---|---|---|\n| `lint` | 2026-11-20: 66 passed, 2 skipped, 5.10.9-1, abc1234 | never |\n"


def test(kernel, suite, name, verdict=PASS, reason="", log=""):
    return {"kernel": kernel, "suite": suite, "test": name, "verdict": verdict, "reason": reason, "seconds": 61.0, "log": log}


test.__test__ = False
TESTS = [
    test("-", "queue", "test_page.test_it", log="build/log/pytest.log"),
    test("5.10", "kselftest", "test.good", log=LOG),
    test("5.10", "kselftest", "test.bad", FAIL, WHY, LOG),
    test("5.10", "kselftest", "console-clean", log=CONSOLE),
    test("6.1", "kselftest", "test.good", log="build/guest/6.1-queue-1/out/kselftest.test.log"),
    test("6.1", "kselftest", "udmabuf.6", SKIP, "needs huge pages"),
    test("6.1", "kunit", "new.case"),
    test("6.1", "queue", "topic-alone.toy"),
]


def part(*counts, run=NOW, commit="def5678", tier="check"):
    return {"run": run, "commit": commit, "tier": tier, **dict(zip((PASS, FAIL, SKIP), counts))}


RUN = {
    "ended": NOW, "seconds": 1874, "command": "make check", "commit": "def5678", "sources": {"5.10": "linux-source-5.10 5.10.9-1", "6.1": ""},
    "tools": {"gcc": "gcc (Debian) 12.2.0"}, "times": [["seconds", "5.10", "-"], ["guest", "300", ""], ["weaver's tests", "", "59"]],
    "parts": {"- queue": part(1, 0, 0), "5.10 kselftest": part(2, 1, 0), "6.1 kselftest": part(1, 0, 1), "6.1 queue": part(1, 0, 0),
              "6.1 kunit": part(1, 0, 0, run="2026-11-26", commit="bbb2222", tier="check-full"),
              "5.10 igt": part(9, 0, 0, run="2026-11-25T10:00:00+00:00", commit="ccc3333")}}
UPKEEP = [
    {"series": "5.10", "version": "5.10.11-1", "patches_of": "5.10", "newest": True, "missing": "", "patches": {
        "a.patch": {"verdict": "exact", "why": ""}, "b.patch": {"verdict": "FAILS", "why": "hunk 2 of a.c"}}},
    {"series": "5.15", "version": "5.15.3-1", "patches_of": "6.1", "newest": False, "missing": "the mirror has it no more", "patches": {}}]


class Seen(html.parser.HTMLParser):
    """Rows of cells as text, targets of links, ids, and all that is loaded."""

    def __init__(self, text):
        super().__init__()
        self.open = False
        self.rows, self.links, self.ids, self.loaded = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += filter(None, [attrs.get("id")])
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True
        elif tag == "a":
            self.links.append(attrs["href"])
        elif tag in ("link", "script", "img", "iframe", "object"):
            self.loaded.append(attrs.get("src", tag))
        elif tag == "small":
            self.handle_data(" / ")

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data

    def row(self, *start):
        return next(row for row in self.rows if row[:len(start)] == list(start))


@pytest.fixture
def report(toy, monkeypatch):
    """The directory with the sample, in the toy repository."""
    where = toy.root / "out" / "report"
    monkeypatch.setattr(results, "REPORT", where / "results.json")
    for name, data in (("results", TESTS), ("run", RUN), ("upkeep", UPKEEP)):
        toy.write(f"out/report/{name}.json", json.dumps(data))
    for path in (LOG, CONSOLE, "build/log/pytest.log"):
        toy.write(path, "text\n")
    toy.write("TESTED.md", TESTED)
    toy.write("Documentation/queue/bench.svg", PLOT)
    toy.write("Documentation/queue/bench.json", "{}")
    return where


@pytest.fixture
def seen(toy, report):
    return Seen(page.write(toy.queue).read_text(encoding="utf-8"))


def test_suites_by_kernels(seen):
    assert seen.row("", "5.10 / 5.10.9-1") == ["", "5.10 / 5.10.9-1", "6.1 / ", "no kernel"]
    assert seen.row("queue") == ["queue", "never run", "\N{CHECK MARK} 1 passed / 1 min 1 s", "\N{CHECK MARK} 1 passed / 1 min 1 s"]
    assert seen.row("kselftest") == ["kselftest", "\N{BALLOT X} 2 passed, 1 failed / 3 min 3 s",
                                     "\N{CHECK MARK} 1 passed, 1 skipped / 2 min 2 s", ""]


def test_what_was_not_run_and_since_when(seen):
    assert seen.row("kunit")[2] == "\N{CHECK MARK} 1 passed / kept, run 2026-11-26 at bbb2222"
    assert seen.row("igt")[1] == "\N{CHECK MARK} 9 passed / not run; last 2026-11-25 10:00 UTC at ccc3333, make check"
    assert seen.row("lint")[1:3] == ["\N{CHECK MARK} 66 passed, 2 skipped / not run; last 2026-11-20 at abc1234, make check-full", "never run"]


def test_topics_by_kernels(seen):
    """A test without a log, and the console, belong to no topic."""
    assert seen.row("base / the toggle")[1:] == ["no test in this run / patches: 1"] * 2
    assert seen.row("toy / all of it")[1:] == ["\N{BALLOT X} 1 passed, 1 failed / patches: 5", "\N{CHECK MARK} 2 passed / patches: v5.15 + 4"]


@pytest.mark.parametrize("name, log, topic", [
    ("names.x86_64-gcc-toggles-on", "build/log/commits-5.10/8000-x86_64-gcc.log", None),
    ("case.one", "build/guest/5.10-queue-1/out/kunit.new.log", "toy"),
    ("case.one", "build/guest/5.10-queue-1/out/kselftest.compat.test.log", "toy"),
    ("case.one", "build/guest/5.10-queue-1/out/igt.log", "sync-file"),
    ("console-clean", "build/guest/5.10-queue-1/console.log", None),
    ("checkpatch.0001-new.patch", "build/log/lint-5.10.log", None),
    ("old", "", None),
])
def test_what_topic_a_test_is_of(toy, report, name, log, topic):
    assert page.Page(toy.queue, report).topic(test("5.10", "some", name, log=log)) == topic


def test_failures_come_with_reason_log_and_console(seen):
    assert seen.row("5.10 kselftest") == ["5.10 kselftest", "test.bad", WHY, "log console"]
    assert seen.row("kselftest", "needs huge pages")[2] == "16.1 udmabuf.6"


def test_times_releases_plots_and_versions(seen):
    assert seen.row("guest") == ["guest", "5 min 0 s", ""]
    assert seen.row("weaver's tests")[2] == "59 s"
    assert seen.row("5.10", "5.10.11-1") == ["5.10", "5.10.11-1", "newest", "1", "", "", "1"]
    assert seen.row("5.15") == ["5.15", "5.15.3-1", "neighbour, patches of 6.1", "the mirror has it no more"]
    assert seen.row("gcc") == ["gcc", "gcc (Debian) 12.2.0"]
    assert [source.partition(",")[0] for source in seen.loaded] == ["data:image/svg+xml;base64"]


def test_links_lead_to_what_is_there(seen, report):
    """A log that has been deleted, like that of 6.1, has no link."""
    assert len(seen.links) > 5 and not any("6.1-queue-1" in link for link in seen.links)
    for link in seen.links:
        assert link[1:] in seen.ids if link.startswith("#") else (report / link).exists(), link


def test_nothing_is_loaded(toy, report):
    text = page.write(toy.queue).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)


@pytest.mark.parametrize("missing", ["results", "run", "upkeep"])
def test_a_part_of_it(toy, report, missing):
    """`make upkeep` comes first, or last."""
    (report / f"{missing}.json").unlink()
    assert Seen(page.write(toy.queue).read_text(encoding="utf-8")).row("lint")


@pytest.mark.parametrize("command, module, tier", [("check", check, "check"), ("check-full", full, "check-full"), ("lint", lint, "")])
def test_a_run_ends_with_the_page(toy, report, monkeypatch, capsys, command, module, tier):
    """Its status is that of the tests, its last line the counts; what it did not run is known from before."""
    def main(kernels, *_):
        found = results.Results(Pace(tier, [kernel.name for kernel in kernels], ["kunit"], False))
        found.add("6.1", "kunit", "a.bad", FAIL, "why", log=toy.root / LOG)
        return found.finish()

    monkeypatch.setattr(config, "queue", functools.cache(lambda: toy.queue))
    monkeypatch.setattr(pace, "HERE", toy.root / "pace.json")
    monkeypatch.setattr(module, "main", main)
    assert cli.main([command]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"
    seen = Seen((report / page.NAME).read_text(encoding="utf-8"))
    assert seen.row("6.1 kunit", "a.bad")[2] == "why"
    assert "not run; last 2026-11-28 19:20 UTC at def5678" in seen.row("kselftest")[1]


BROWSER = shutil.which(debian.BROWSER[0])


@pytest.mark.skipif(not BROWSER, reason=f"there is no {debian.BROWSER[0]}")
@pytest.mark.parametrize("scheme, light", [("1", True), ("0", False)], ids=["light", "dark"])
def test_in_a_browser(toy, report, tmp_path, scheme, light):
    """Its rows are there, and it is drawn: the ground, a text, and green and red, in the colours that the user prefers."""
    where = page.write(toy.queue)
    command = [BROWSER, "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=420,640",
               "--hide-scrollbars", f"--blink-settings=preferredColorScheme={scheme}"]
    rows = Seen(steps.run([*command, "--dump-dom", where.as_uri()])).rows
    assert rows == Seen(where.read_text(encoding="utf-8")).rows
    shot = tmp_path / "page.png"
    steps.run([*command, f"--screenshot={shot}", where.as_uri()])
    pixels = [pixel[:3] for line in picture.read_png(shot.read_bytes()) for pixel in line]
    assert (min(pixels[0]) > 200) == light
    assert any(max(pixel) - min(pixel) > 60 and pixel[1] == max(pixel) for pixel in pixels)
    assert any(max(pixel) - min(pixel) > 60 and pixel[0] == max(pixel) for pixel in pixels)
    assert 0.02 < sum(pixel != pixels[0] for pixel in pixels) / len(pixels) < 0.9
