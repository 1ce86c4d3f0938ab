# SPDX-License-Identifier: GPL-2.0
"""TESTED.md, made from the parts that `make check-full` keeps."""

import json

from suites import full, tested


def test_when_what_was_last_green(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(full, "HERE", tmp_path / "full")
    (tmp_path / "full").mkdir()

    def part(kernel, suite, verdicts=("PASS", "SKIP")):
        full.part_file(kernel, suite).write_text(json.dumps({
            "inputs": "then", "date": "2026-11-27", "source": "5.10.9-1", "commit": "abc",
            "results": [{"verdict": verdict} for verdict in verdicts]}))

    def row(suite):
        return next(line for line in text.splitlines() if line.startswith(f"| `{suite}`"))

    part(toy.old, "lint")
    part(toy.old, "queue")
    text = tested.tested(toy.queue, "")
    assert row("lint") == "| `lint` | 2026-11-27: 1 passed, 1 skipped, 5.10.9-1, abc | never |"
    assert row("queue") == "| `queue` | never | never |"       # the weaver's own tests did not pass
    part(full.WEAVER, "queue", verdicts=("PASS",))
    text = tested.tested(toy.queue, text)
    assert "2026-11-27: 2 passed, 1 skipped" in row("queue")
    # Rows without a result stay as they were.
    full.part_file(toy.old, "lint").unlink()
    assert tested.tested(toy.queue, text) == text
