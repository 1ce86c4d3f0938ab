# SPDX-License-Identifier: GPL-2.0
"""The benchmark under Xen without a guest: how its output is parsed, and the text of the pages."""

import json
import re

import pytest

from base import config
from base.steps import Failure
from lab import build
from suites import bench, benchxen

PROGRAM = config.ROOT / "tools/testing/selftests/drivers/xen" / f"{benchxen.PROGRAM}.c"
FOUND = {"source": "5.10.9-1", "qemu": "7.2.22",
         "figures": {**{row: {pages: 100 * int(pages) for pages in benchxen.COUNTS} for row in benchxen.ROWS},
                     **{row: dict.fromkeys(benchxen.COUNTS, 3) for row in benchxen.CALLS}}}


def test_the_program_prints_the_rows_that_are_known():
    text = PROGRAM.read_text(encoding="utf-8")
    assert set(re.findall(r'"([^"]+)"', re.search(r"rows\[ROWS\] = \{(.*?)\}", text, re.DOTALL)[1])) == set(benchxen.ROWS)
    counts = re.search(r"counts\[\] = \{ (.*), MOST \}", text)[1].split(", ")
    assert (*counts, re.search(r"#define MOST (\d+)", text)[1]) == benchxen.COUNTS


def test_the_table():
    text = benchxen.table(FOUND)
    assert text.startswith("5.10.9-1, Xen 4.17 on arm64, QEMU 7.2.22\n\n| instructions, by pages | 1 | 64 | 1,024 | 8,160 |\n")
    assert "| as a multiple of `EXP_FROM_REFS` and its end | 1.00 | 1.00 | 1.00 | 1.00 |\n" in text
    assert "| as a multiple of `GRANT_COPY`: frames until it has paid | 2.00 | 2.00 | 2.00 | 2.00 |\n" in text
    assert "cost 1.00 times the instructions" in benchxen.line(FOUND) and "as 2.0 frames" in benchxen.line(FOUND)


@pytest.mark.parametrize("log, problem", [
    ("a table\nfigure map 1 12\n", "no figures of map, end"),
    ("figure map 1\n", "printed"),
])
def test_what_is_missing(monkeypatch, tmp_path, log, problem):
    boot = type("Boot", (), {"error": None, "status": {"bench": 0}, "dir": tmp_path, "splats": lambda self: [], "log": lambda self, item: log})
    monkeypatch.setattr(benchxen.images, "kernel_image", lambda *args: None)
    monkeypatch.setattr(benchxen.xensuite, "programs", lambda *args: None)
    monkeypatch.setattr(benchxen.demo, "the_program", lambda *args: type("Program", (), {"path": tmp_path}))
    monkeypatch.setattr(benchxen.xen, "run", lambda *args, **options: boot())
    with pytest.raises(Failure, match=problem):
        benchxen.measure(config.kernels()[0])


def test_the_pages_say_what_is_kept():
    kept = json.loads((config.ROOT / benchxen.KEPT).read_text(encoding="utf-8"))
    for path, text in ((benchxen.PAGE, benchxen.table(kept)), (benchxen.TOPIC, benchxen.line(kept))):
        assert f"{benchxen.MARK}\n{text}{bench.END}\n" in (config.ROOT / path).read_text(encoding="utf-8")


def test_the_kernel_has_no_debugging_aid():
    on = [name for name, value in build.wanted(build.KINDS["arm64-bench"].fragments, "5.10").items() if value != "n"]
    assert {name for name in on if re.search("DEBUG|PROVE|KASAN|HUNG", name)} == {
        "CONFIG_DEBUG_FS", "CONFIG_DEBUG_KERNEL", "CONFIG_DEBUG_BUGVERBOSE"}
