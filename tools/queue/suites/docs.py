# SPDX-License-Identifier: GPL-2.0
"""The suite `docs`: what the queue adds to the kernel's documentation, as HTML.

Sphinx renders each page that a patch touches, with the kernel-doc that the page takes from sources, by the kernel's
own conf.py and extensions: of the woven tree, and of the unpatched one. What it says of the woven tree and not of the
other is a failure, as is a page that it leaves out. A whole book takes a quarter of an hour, these pages alone seconds:
they are copied to a directory of the same layout, with an index. out/docs/KERNEL/index.html has the result.

A path that these pages, the queue's own or its manual pages name has to exist, in the woven tree or in the queue.
"""

import collections
import re
import shutil
import time
from pathlib import Path

from base import config, steps
from suites import lint
from suites.results import FAIL, PASS
from weave import mails, table

PLACE = config.BUILD / "docs"
BOOK = "Documentation/"
ABI = f"{BOOK}ABI/"
INDEX = "index"
ABI_PAGE = "abi"        # the files below ABI/, which are no pages
TITLES = {INDEX: "What the queue adds to the documentation", ABI_PAGE: "Files of the ABI"}
# What makes that page, of older kernels and of newer ones.
ABI_TOOLS = (("scripts/get_abi.pl", "--rst-source"), ("tools/docs/get_abi.py",))


def check(kernel, results):
    touched = sorted({path for woven in mails.woven(config.queue(), kernel) for path in woven.edits if path.startswith(BOOK)})
    log = config.BUILD / "log" / f"docs-{kernel.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    out = config.OUT / "docs" / kernel.name

    def add(test, problems, start, place=""):
        results.add(kernel.name, "docs", test, FAIL if problems else PASS,
                    f"{len(problems)}, first: {problems[0]}{place}" if problems else "", time.monotonic() - start, log)

    start = time.monotonic()
    add("planted", blind(kernel, log), start)
    start = time.monotonic()
    book = Book(kernel, kernel.tree, PLACE / kernel.name / "queue", log, touched)
    before = Book(kernel, kernel.pristine, PLACE / kernel.name / "base", log, touched)
    add("warnings", new(book.render(), before.render()), start, f"; see {log}")
    book.keep(out)
    for path in touched:
        start = time.monotonic()
        add(path.removeprefix(BOOK), book.missing(out, path), start)
    start = time.monotonic()
    add("paths", nowhere(kernel, touched), start)
    if not touched:
        add("present", ["no patch touches a page"], start)


def blind(kernel, log):
    """What Sphinx does not report of a page with planted faults."""
    book = Book(kernel, kernel.tree, PLACE / kernel.name / "planted", log)
    book.add(INDEX, (lint.PLANTED / "docs.rst").read_text(encoding="utf-8"))
    said = "\n".join(book.render())
    return [f"Sphinx does not report: {words}" for words in ("underline too short", "no-such-file.c") if words not in said]


def texts():
    """The queue's own pages that name paths."""
    return [*(config.ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((config.ROOT / table.PAGES).glob("*.md")),
            *sorted((config.ROOT / table.PAGES / "man").glob("*.2"))]


def nowhere(kernel, touched):
    """Paths that a page names and that are nowhere, unless the unpatched page names them as well."""
    def found(path):
        return unknown(path.read_text(encoding="utf-8"), kernel.tree) if path.exists() else []

    known = {path for name in touched for path in found(kernel.pristine / name)}
    return [f"{text.name}: {path}" for text in [*texts(), *(kernel.tree / name for name in touched)]
            for path in found(text) if path not in known]


def new(said, before):
    """Lines of what Sphinx @said that it did not say @before, or less often. Patches move lines, so their numbers do not count."""
    known = collections.Counter(re.sub(r":\d+", "", line) for line in before)
    found = []
    for line in said:
        key = re.sub(r":\d+", "", line)
        if known[key]:
            known[key] -= 1
        else:
            found.append(line)
    return found


def unknown(text, tree):
    """The paths in a @text, of files below a directory of the kernel, that are neither in the @tree nor in the queue."""
    directories = "|".join(path.name for path in tree.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = set(re.findall(rf"(?<![\w/.~-])(?:{directories})/[\w./*-]*[\w*]", text.replace("\\-", "-")))
    return sorted(path for path in found if not any(next(root.glob(path), None) for root in (tree, config.ROOT))
                  and not re.search(r"/[A-Z]+\.md$", path))     # NAME.md stands for any


class Book:
    """Pages of a @tree, those @paths that it has, in a new directory @place."""

    def __init__(self, kernel, tree, place, log, paths=()):
        self.kernel, self.tree, self.place, self.log = kernel, tree, place, log
        self.html = place / "html"
        self.source = place / "Documentation"       # an extension of new kernels goes by that name, and has to find MAINTAINERS
        self.said = []
        shutil.rmtree(place, ignore_errors=True)
        self.source.mkdir(parents=True)
        (place / "MAINTAINERS").symlink_to(tree / "MAINTAINERS")
        there = [path for path in paths if (tree / path).exists()]
        self.pages = [path for path in there if path.endswith(".rst")]
        for path in self.pages:
            self.add(path.removeprefix(BOOK).removesuffix(".rst"), (tree / path).read_text(encoding="utf-8"))
        abi = [path for path in there if path.startswith(ABI)]
        if abi:
            self.add_abi(abi)
        if paths:
            names = [path.removeprefix(BOOK).removesuffix(".rst") for path in self.pages] + [ABI_PAGE] * bool(abi)
            self.add(INDEX, "\n".join([title(INDEX), ".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in names), ""]))

    def add(self, name, text):
        path = self.source / f"{name}.rst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def add_abi(self, paths):
        """Make a page of files of the ABI, which have a format of their own."""
        directory = self.place / "ABI"
        for path in paths:
            copy = directory / path.removeprefix(ABI)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.tree / path, copy)
        tool, *args = next(words for words in ABI_TOOLS if (self.tree / words[0]).exists())
        text = self.command([self.tree / tool, *args, "--dir", directory.name, "rest"])
        self.add(ABI_PAGE, title(ABI_PAGE) + text)

    def render(self):
        """Make the HTML; returns the lines that Sphinx printed, with paths as they are in the tree."""
        if (self.source / f"{INDEX}.rst").exists():
            self.command(["sphinx-build", "-q", "-b", "html", "-c", self.tree / "Documentation", "-d", self.place / "doctrees",
                          "-D", f"version={self.kernel.name}", "-D", f"release={self.kernel.name}",
                          *(["-D", f"kerneldoc_bin={self.tree / 'scripts/kernel-doc'}"] if "kerneldoc_bin" in self.conf() else []),
                          "-D", f"kerneldoc_srctree={self.tree}", self.source, self.html])
        return self.said

    def conf(self):
        return (self.tree / "Documentation/conf.py").read_text(encoding="utf-8")

    def command(self, words):
        """Run a program as the kernel's Makefile does, note what it complains of, and return what it printed."""
        status, output, complaints = steps.attempt(words, cwd=self.place, env={
            "srctree": self.tree, "BUILDDIR": self.place, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"})
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(map(str, words))}\n{complaints}")
        complaints = complaints.replace(f"{self.source}/", BOOK).replace(f"{self.tree}/", "")
        self.said += [line.strip() for line in complaints.splitlines() if line.strip()]
        self.said += [f"{words[0]}: exit status {status}"] * bool(status)
        return output

    def keep(self, out):
        """Copy the HTML to @out."""
        shutil.rmtree(out, ignore_errors=True)
        if not self.html.exists():
            return
        shutil.copytree(self.html, out)
        style = out / "_static/theme_overrides.css"
        if style.exists() and "css/theme.css" not in (out / f"{INDEX}.html").read_text(encoding="utf-8"):
            # With this Sphinx 5.10's conf.py has the kernel's style in place of the theme's, not in addition.
            style.write_text('@import "pygments.css";\n@import "css/theme.css";\n' + style.read_text(encoding="utf-8"), encoding="utf-8")

    @staticmethod
    def missing(html, path):
        """Why the page that has what is in the file @path is not in @html: a list, empty if it is."""
        name = ABI_PAGE if path.startswith(ABI) else path.removeprefix(BOOK).removesuffix(".rst")
        page = html / f"{name}.html"
        if not page.exists():
            return [f"there is no {page}"]
        wanted = Path(path).name if name == ABI_PAGE else "<h1>"
        return [] if wanted in page.read_text(encoding="utf-8") else [f"{page} lacks {wanted}"]


def title(name):
    return f".. SPDX-License-Identifier: GPL-2.0\n\n{TITLES[name]}\n{'=' * len(TITLES[name])}\n\n"
