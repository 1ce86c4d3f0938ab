# SPDX-License-Identifier: GPL-2.0
"""`make bench-xen`: the counts of gntdev_dmabuf_bench under a real Xen on arm64, and their text in the pages.

As in bench.py a figure is a number of instructions, here including the hypervisor's. The figures are kept in
Documentation/queue/bench-xen.json: {row: {pages: number}} of the oldest kernel.
"""

import json
import re

from base import config, origin, steps
from base.steps import Failure, say
from lab import debian, guest, source, xen
from suites import bench, demo, figures, images, xensuite
from weave import table as tables, tree

KEPT = f"{tables.PAGES}/bench-xen.json"
MARK = "<!-- make bench-xen -->"
PAGE, TOPIC = f"{figures.KEPT}.md", f"{tables.PAGES}/gntdev.md"
PROGRAM = "gntdev_dmabuf_bench"
SECONDS = 1800
COUNTS = ("1", "64", "1024", "8160")        # pages
ROWS = {"map": "`MAP_REFS_TO_BUF`", "end": "its end: `RELEASE`, close, `WAIT_RELEASED`", "export": "`EXP_FROM_REFS`",
        "close": "its end: close, `EXP_WAIT_RELEASED`", "export-stocked": "`EXP_FROM_REFS`, pages in stock",
        "close-stocked": "its end", "copy": "`GRANT_COPY` of one frame"}
RATIOS = {"as a multiple of `EXP_FROM_REFS` and its end": ("export", "close"),
          "the same, pages in stock": ("export-stocked", "close-stocked"),
          "as a multiple of `GRANT_COPY`: frames until it has paid": ("copy",)}
CALLS = {f"{row}-calls": text for row, text in ROWS.items()}


def main(kernel):
    """Measure, and print; the figures of the oldest kernel are kept."""
    source.announce([kernel])
    debian.deps()
    source.get(kernel)
    tree.tell(config.queue(), kernel, tree.make(config.queue(), kernel))
    found = {"source": origin.recorded(config.queue(), kernel)[1],
             "qemu": re.search(r"version (\S+)", steps.run(["qemu-system-aarch64", "--version"]))[1], "figures": measure(kernel)}
    say(table(found))
    if kernel != config.kernels()[0]:
        return
    (config.ROOT / KEPT).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    bench.quote(config.ROOT / PAGE, table(found), MARK)
    bench.quote(config.ROOT / TOPIC, line(found), MARK)
    say(f"{KEPT}, {PAGE} and {TOPIC}: written")


def measure(kernel):
    image = images.kernel_image(kernel, "queue", "arm64-bench")
    program = demo.the_program(xensuite.programs(image, f"{kernel.name}-bench"), PROGRAM)
    with steps.step(f"measuring {kernel.name} under Xen"):
        boot = xen.run(f"{kernel.name}-bench-xen", image, {f"test/{PROGRAM}": program.path},
                       [guest.Item("bench", SECONDS, f"/test/{PROGRAM}")], leaks=False, accel="count",
                       append="maxcpus=1 nokaslr norandmaps")
    bad = boot.error or next((text for _, text in boot.splats()), "") or (boot.status["bench"] and boot.log("bench"))
    if bad:
        raise Failure(f"{kernel.name}: {bad.strip()}; see {boot.dir}")
    found = figures.parse("".join(re.findall(r"^figure (.*\n)", boot.log("bench"), re.MULTILINE)))
    if missing := [row for row in [*ROWS, *CALLS] if set(found.get(row, ())) != set(COUNTS)]:
        raise Failure(f"{kernel.name}: no figures of {', '.join(missing)}; see {boot.dir}")
    return found


def ratios(found, *rows):
    """The cost of MAP_REFS_TO_BUF and its end as a multiple of the cost of @rows, for each number of pages."""
    cost = found["figures"]
    return [(cost["map"][pages] + cost["end"][pages]) / sum(cost[row][pages] for row in rows) for pages in COUNTS]


def table(found):
    cost = found["figures"]
    lines = [["instructions, by pages", *(f"{int(pages):,}" for pages in COUNTS)], ["---", *["---:"] * len(COUNTS)]]
    lines += [[text, *(figures.number(cost[row][pages]) for pages in COUNTS)] for row, text in ROWS.items()]
    lines += [["`MAP_REFS_TO_BUF` and its end, a page", *(f"{(cost['map'][p] + cost['end'][p]) // int(p):,}" for p in COUNTS)],
              *([text, *(f"{ratio:.2f}" for ratio in ratios(found, *rows))] for text, rows in RATIOS.items())]
    lines += [[f"hypercalls of {text}", *(figures.number(cost[row][pages]) for pages in COUNTS)] for row, text in CALLS.items()]
    return f"{found['source']}, Xen 4.17 on arm64, QEMU {found['qemu']}\n\n{figures.joined(lines)}"


def line(found):
    """The text for the topic's page."""
    plain, stocked, paid = (ratios(found, *rows)[-1] for rows in RATIOS.values())
    return (f"For {int(COUNTS[-1]):,} pages `MAP_REFS_TO_BUF` and its end cost {plain:.2f} times the instructions of `EXP_FROM_REFS` and its end,\n"
            f"{stocked:.2f} times if that has pages in stock, and as many as {paid:.1f} frames that are copied, on {found['source']} under Xen on\n"
            f"arm64: [all figures](bench.md#under-xen).\n")
