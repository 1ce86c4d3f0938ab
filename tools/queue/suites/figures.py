# SPDX-License-Identifier: GPL-2.0
"""The figures of `make bench`, {row: {key: number}} for each kernel: their meaning, how they are compared and shown."""

import re

from base import config
from base.steps import Failure
from weave import table as tables

KEPT = f"{tables.PAGES}/bench"      # .json, .svg, .md
STYLE = config.HERE / "bench" / "plot.gp"
TOLERANCE = 0.02
COUNTS = ("0", "1", "4", "16", "64", "256", "1024")

# Rows with a figure for each number of fences, and rows with other keys.
ROWS = {
    "export-rw": "export RW, n readers",
    "export-read": "export READ, n writers",
    "import-read": "import READ of one fence, n readers",
    "import-again": "import READ of its later fence, n readers and it",
    "import-write": "import WRITE of one fence, n readers",
    "imports": "n imports READ one after the other, together",
    "import-merged": "import READ of a merged file of n, idle buffer",
    "merge": "SYNC_IOC_MERGE, a file of n and one of 1",
    "poll": "poll(), n readers",
}
OTHERS = {
    "ioctl": {"0": "an ioctl that a buffer does not know"},
    "eventfd": {"0": "eventfd, create and close"},
    "life": {"0": "buffer create, poll and close, without the sync_file ioctls", "1": "the same, with them"},
    "release": {"0": "close of a buffer, no notifier", "1": "the same, 1 notifier", "16": "the same, 16 notifiers"},
    "name": {"0": "name of a fence, from its driver", "1": "the same, by the helper"},
    "slab": {"1": "slab of a buffer after 1 import, bytes", "100": "the same, 100 imports", "10000": "the same, 10,000 imports"},
}
SIZES = {"text": "text of `{}`, bytes", "data": "data of `{}`, bytes"}


def parse(text):
    """{row: {key: figure}} from the output of the program."""
    figures = {}
    for words in map(str.split, text.splitlines()):
        if len(words) != 3 or not re.fullmatch(r"-?\d+", words[2]) or words[1] in figures.get(words[0], {}):
            raise Failure(f"the benchmark printed {' '.join(words)!r}")
        figures.setdefault(words[0], {})[words[1]] = int(words[2])
    return figures


def ratios(kernels):
    """{row: {key: the oldest kernel's figure as a multiple of the newest one's}}, if there are two kernels."""
    old, new = (list(kernels.values())[at]["figures"] for at in (0, -1))
    return {row: {key: round(old[row][key] / figure, 2) for key, figure in keys.items() if figure and key in old.get(row, {})}
            for row, keys in new.items()} if len(kernels) > 1 else {}


def merged(kept, found, names):
    """The figures @found, and those @kept for the kernels @names that were not measured; {} if they do not cover @names."""
    kernels = {**(kept["kernels"] if kept and kept["tools"] == found["tools"] else {}), **found["kernels"]}
    if not set(found["kernels"]) <= set(names) <= set(kernels):
        return {}
    kernels = {name: kernels[name] for name in names}
    return {"tools": found["tools"], "kernels": kernels, "ratios": ratios(kernels)}


def differences(kept, found):
    """The figures of measured kernels that are outside the tolerance, one line for each."""
    lines = []
    for name, kernel in found.items():
        old, new = ({(row, key): figure for row, keys in kernels.get(name, {"figures": {}})["figures"].items()
                     for key, figure in keys.items()} for kernels in (kept, found))
        for place in {**old, **new}:
            what = f"{name} {' '.join(place)}: {new.get(place, 'nothing')}, kept is {old.get(place, 'nothing')}"
            if place not in old or place not in new:
                lines.append(what)
            elif abs(new[place] - old[place]) > TOLERANCE * abs(old[place]):
                lines.append(f"{what}{f' ({new[place] / old[place] - 1:+.1%})' if old[place] else ''}")
    return lines


def versions(found):
    sources = [kernel["source"] for kernel in found["kernels"].values()]
    return ", ".join([*sources, f"gcc {found['tools']['gcc']}", f"QEMU {found['tools']['qemu']}"])


def number(figure):
    return "" if figure is None else f"{figure:,}"


def table(found):
    kernels = {name: kernel["figures"] for name, kernel in found["kernels"].items()}
    lines = [["instructions", "", *(f"{int(count):,}" for count in COUNTS)], ["---", "---", *["---:"] * len(COUNTS)]]
    for row, text in ROWS.items():
        for name, figures in kernels.items():
            lines.append([text, name, *(number(figures[row].get(count)) for count in COUNTS)])
            text = ""
        if found["ratios"]:
            lines.append(["", "ratio", *(number(found["ratios"][row].get(count)) for count in COUNTS)])
    others = [["other figures", *kernels, "ratio"], ["---", *["---:"] * (len(kernels) + 1)]]
    toggles = next(iter(kernels.values()))["text"]
    for row, keys in {**OTHERS, **{row: {name: text.format(name) for name in toggles} for row, text in SIZES.items()}}.items():
        for key, text in keys.items():
            others.append([text, *(number(figures.get(row, {}).get(key)) for figures in kernels.values()),
                           number(found["ratios"].get(row, {}).get(key))])
    return f"{versions(found)}\n\n{joined(lines)}\n{joined(others)}"


def page(found):
    """The text for bench.md."""
    name = KEPT.rpartition("/")[2]
    return f"{table(found)}\n[{name}.json]({name}.json) has all of it.\n\n![instructions by the number of fences]({name}.svg)\n"


def joined(lines):
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def line(found):
    """The text for the README."""
    def both(row):
        return " and ".join(number(kernel["figures"][row]["16"]) for kernel in found["kernels"].values())
    names = " and ".join(kernel["source"] for kernel in found["kernels"].values())
    return (f"[Instructions]({KEPT}.md) on {names}, 16 readers:\n"
            f"export {both('export-rw')}, import {both('import-read')}.\n")


def plot(found, path):
    script = [STYLE.read_text(encoding="utf-8"), f"set output '{path}'", "set multiplot layout 3,3"]
    for row, text in ROWS.items():
        for at, kernel in enumerate(found["kernels"].values()):
            points = [f"{count} {kernel['figures'][row][count]}" for count in COUNTS[1:]]      # the scale has no 0
            script += [f"$data{at} << end", *points, "end"]
        curves = [f"$data{at} with linespoints title '{name}'" for at, name in enumerate(found["kernels"])]
        script += [f"set title '{text}'", f"plot {', '.join(curves)}"]
    return "\n".join([*script, "unset multiplot", ""])
