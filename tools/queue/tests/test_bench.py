# SPDX-License-Identifier: GPL-2.0
"""The benchmark without a guest: how its output is parsed and judged, and the text of the pages."""

import copy
import json
import re

import pytest

import cli
from base import config
from base.steps import Failure
from suites import bench, figures

FIGURES = {**{row: {count: 100 + int(count) for count in figures.COUNTS} for row in figures.ROWS},
           **{row: dict.fromkeys(keys, 50) for row, keys in figures.OTHERS.items()},
           "text": {"TOY": 4000, "OTHER": 0}, "data": {"TOY": 8, "OTHER": 0}}
KEPT = config.ROOT / f"{figures.KEPT}.json"


@pytest.fixture(name="found")
def fixture_found():
    kernels = {"5.10": {"source": "5.10.9-1", "figures": copy.deepcopy(FIGURES)},
               "6.1": {"source": "6.1.7-1", "figures": copy.deepcopy(FIGURES)}}
    kernels["5.10"]["figures"]["poll"] = {count: 250 for count in figures.COUNTS}
    return {"tools": {"gcc": "12.2.0", "qemu": "7.2.22"}, "kernels": kernels, "ratios": figures.ratios(kernels)}


def test_the_output():
    assert figures.parse("poll 0 12\npoll 16 345\nslab 1 -4096\n") == {"poll": {"0": 12, "16": 345}, "slab": {"1": -4096}}
    for text in ("poll 0", "poll 0 x", "fence: No such file or directory", "poll 0 1\npoll 0 2"):
        with pytest.raises(Failure, match="printed"):
            figures.parse(text)


def test_the_program_prints_the_rows_that_are_known():
    text = (bench.HERE / "bench.c").read_text(encoding="utf-8")
    assert set(re.findall(r'print\("([\w-]+)",', text)) == {*figures.ROWS, *figures.OTHERS}
    counts = re.search(r"counts\[\] = \{ (.*), MOST \}", text)[1].split(", ")
    assert (*counts, re.search(r"#define MOST (\d+)", text)[1]) == figures.COUNTS


def test_ratios(found):
    assert found["ratios"]["poll"]["0"] == 2.5 and found["ratios"]["merge"]["16"] == 1
    assert "OTHER" not in found["ratios"]["text"]      # division by zero
    del found["kernels"]["6.1"]
    assert figures.ratios(found["kernels"]) == {}


@pytest.mark.parametrize("row, key, figure, what", [
    ("text", "TOY", 4080, ""),
    ("text", "TOY", 3920, ""),
    ("text", "TOY", 4081, r"6.1 text TOY: 4081, kept is 4000 \(\+2.0%\)"),
    ("text", "TOY", 3900, r"6.1 text TOY: 3900, kept is 4000 \(-2.5%\)"),
    ("text", "OTHER", 1, "6.1 text OTHER: 1, kept is 0"),
    ("text", "NEW", 1, "6.1 text NEW: 1, kept is nothing"),
    ("poll", "16", None, "6.1 poll 16: nothing, kept is 116"),
])
def test_two_per_cent(found, row, key, figure, what):
    kept = copy.deepcopy(found["kernels"])
    keys = found["kernels"]["6.1"]["figures"][row]
    keys.pop(key, None)
    keys.update({key: figure} if figure is not None else {})
    lines = figures.differences(kept, found["kernels"])
    assert len(lines) == bool(what) and all(re.fullmatch(what, line) for line in lines)


def test_only_what_was_measured_is_compared(found):
    kept = found["kernels"]
    assert figures.differences(kept, {"6.1": kept["6.1"]}) == []
    assert len(figures.differences({"6.1": kept["6.1"]}, kept)) == sum(map(len, FIGURES.values()))


def test_the_check(found, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "measure_all", lambda kernels: found)
    kept = tmp_path / f"{figures.KEPT}.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(found))
    assert cli.main(["bench-check"]) == 0
    assert "all figures are within 2%" in capsys.readouterr().out
    found["kernels"]["6.1"]["figures"]["poll"]["4"] += 3
    found["tools"] = {"gcc": "13.1.0", "qemu": "7.2.22"}
    assert cli.main(["bench-check", "--kernels", "6.1"]) == 1
    output = capsys.readouterr()
    assert "6.1 poll 4: 107, kept is 104 (+2.9%)" in output.out and "json: 1 figures" in output.err
    assert "measured with 5.10.9-1, 6.1.7-1, gcc 12.2.0, QEMU 7.2.22; this with 5.10.9-1, 6.1.7-1, gcc 13.1.0" in output.out


def test_nothing_is_kept_yet(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    assert cli.main(["bench-check"]) == 1
    assert "`make bench` writes it" in capsys.readouterr().err


def test_one_kernel_is_measured_anew(found):
    names, new = ["5.10", "6.1"], copy.deepcopy(found)
    new["kernels"] = {"5.10": copy.deepcopy(found["kernels"]["6.1"])}
    whole = figures.merged(found, new, names)
    assert list(whole["kernels"]) == names and whole["kernels"]["5.10"] == new["kernels"]["5.10"]
    assert whole["ratios"]["poll"]["0"] == 1 and figures.merged({}, found, names) == found
    assert figures.merged({}, new, names) == {}                                                   # the other kernel is missing
    assert figures.merged({**found, "tools": {"gcc": "13"}}, new, names) == {}                    # measured with other tools
    assert figures.merged(found, {**new, "kernels": {"7.3": found["kernels"]["6.1"]}}, names) == {}     # not one of these kernels


def test_the_table(found):
    text = figures.table(found)
    assert text.startswith("5.10.9-1, 6.1.7-1, gcc 12.2.0, QEMU 7.2.22\n\n")
    assert "| poll(), n readers | 5.10 | 250 | 250 |" in text and "|  | ratio | 2.5 | 2.48 |" in text
    assert "| text of `TOY`, bytes | 4,000 | 4,000 | 1.0 |\n| text of `OTHER`, bytes | 0 | 0 |  |\n" in text
    del found["kernels"]["5.10"]
    found["ratios"] = {}
    assert "ratio |" not in figures.table(found).split("\n\n")[1]


def test_the_plots(found):
    script = figures.plot(found, "x.svg")
    assert script.count("\nplot ") == len(figures.ROWS) == script.count("set title '")
    assert "\n1 250\n" in script and "\n0 250\n" not in script


def test_a_page_gets_what_was_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"a\n{bench.BEGIN}\nold\n{bench.END}\nb\n")
    for _ in range(2):
        bench.quote(page, "new\n")
        assert page.read_text() == f"a\n{bench.BEGIN}\nnew\n{bench.END}\nb\n"
    page.write_text("a\n")
    with pytest.raises(Failure, match="no place"):
        bench.quote(page, "new\n")


def test_the_pages_say_what_is_kept():
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    for path, text in ((KEPT.with_suffix(".md"), figures.page(kept)), (config.ROOT / "README.md", figures.line(kept))):
        assert f"{bench.BEGIN}\n{text}{bench.END}\n" in path.read_text(encoding="utf-8")
    assert kept["ratios"] == figures.ratios(kept["kernels"])
    assert list(kept["kernels"]) == [kernel.name for kernel in bench.standard()]


def test_the_kernel_has_no_debugging_aid():
    text = (config.HERE / "configs" / bench.FRAGMENT).read_text(encoding="utf-8")
    assert set(re.findall(r"CONFIG_\w*(?:DEBUG|PROVE|KASAN|FAULT_INJ)\w*", text)) == {"CONFIG_DEBUG_FS"}
