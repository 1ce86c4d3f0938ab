# SPDX-License-Identifier: GPL-2.0
"""Diffs and merges that git makes, parsed."""

import re
import tempfile
from pathlib import Path

from base.steps import Failure, encode
from weave import udiff


def commit_diff(git, commit, path, context=3):
    """What @commit does to @path, a file that was there before."""
    text = git("diff-tree", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color",
               "--src-prefix=a/", "--dst-prefix=b/", f"--unified={context}", "--diff-algorithm=myers",
               "--indent-heuristic", "--no-commit-id", f"{commit}^", commit, "--", path)
    return from_git(text, path)


def from_git(text, path):
    """The diff of one file as git prints it, without its index line."""
    return udiff.parse(re.sub(r"\A(diff --git .*\n)index .*\n", r"\1", text), f"the diff of {path}")[path]


def text_diff(git, path, old, new, context=3):
    """The diff of two texts, or None if they are the same."""
    with tempfile.TemporaryDirectory(prefix="queue-") as scratch:
        for side, text in (("a", old), ("b", new)):
            file = Path(scratch) / side / path
            file.parent.mkdir(parents=True)
            file.write_bytes(encode(text))
        status, stdout, stderr = git.at(scratch).attempt(
            "diff", "--no-index", "--no-prefix", "--no-ext-diff", "--no-textconv", "--no-color",
            f"--unified={context}", f"a/{path}", f"b/{path}")
    if status not in (0, 1):
        raise Failure(f"git diff --no-index: {stderr.strip()}")
    return from_git(stdout, path) if status else None


def merge(git, base, ours, theirs):
    """@ours with the edits from @base to @theirs, or None if they conflict."""
    with tempfile.TemporaryDirectory(prefix="queue-") as scratch:
        for name, text in (("base", base), ("ours", ours), ("theirs", theirs)):
            (Path(scratch) / name).write_bytes(encode(text))
        status, stdout, _ = git.at(scratch).attempt(
            "merge-file", "--stdout", "--quiet", "ours", "base", "theirs")
    return stdout if status == 0 else None
