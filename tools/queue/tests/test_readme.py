# SPDX-License-Identifier: GPL-2.0
"""README.md, CONTRIBUTING.md and the pages of Documentation/queue: they are short, and what they refer to exists."""

import re
import shlex
from pathlib import Path

import pytest

from base import config
from weave import mails, series, table, verify

README = config.ROOT / "README.md"
PAGES = sorted((config.ROOT / table.PAGES).glob("*.md"))
TEXTS = [README, config.ROOT / "CONTRIBUTING.md", *PAGES]
WORDS, WIDTH = 900, 120
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = "```"


def name(path):
    return str(path.relative_to(config.ROOT))


each_text = pytest.mark.parametrize("path", TEXTS, ids=name)


def lines(text):
    """(line, whether it is in a code block) of each; a block is fenced, or indented below an empty line."""
    fenced, indented, before = False, False, ""
    for line in text.splitlines():
        fence = line.startswith(FENCE)
        indented = line.startswith("    ") and (indented or not before)
        yield line, fenced or fence or indented
        fenced, before = fenced != fence, line


def prose(path):
    return "\n".join(line for line, code in lines(path.read_text(encoding="utf-8")) if not code)


def commands(path):
    """The words of each call of make in the code blocks of a page, of this repository's Makefile."""
    found = [shlex.split(line, comments=True) for line, code in lines(path.read_text(encoding="utf-8"))
             if code and line.lstrip().startswith("make ")]
    return [words[1:] for words in found if "-C" not in words]


def targets():
    """{target of the Makefile: the variables that it passes on}"""
    text = (config.ROOT / "Makefile").read_text(encoding="utf-8")
    options = dict(re.findall(r"^([a-z]+) = \$\(if \$\((?:filter-out [^$]*\$\()?([A-Z]+)\)", text, re.MULTILINE))
    recipes = dict(re.findall(r"^([a-z-]+):.*\n\t(.*)", text, re.MULTILINE))
    return {target: {options.get(word, word) for word in re.findall(r"\$\((\w+)\)", recipe)} for target, recipe in recipes.items()}


def anchors(path):
    """The anchors that GitHub makes from the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)", prose(path), re.MULTILINE)}


def links(path):
    return [link for link in LINK.findall(prose(path)) if not re.match(r"[a-z]+:", link)]


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) < WORDS


@each_text
def test_licence_and_width(path):
    assert path.read_text(encoding="utf-8").startswith("<!-- SPDX-License-Identifier: GPL-2.0 -->\n")
    assert not [line for line in prose(path).splitlines() if len(line) > WIDTH and not line.startswith("|")]


@each_text
def test_links_lead_somewhere(path):
    assert links(path)
    for link in links(path):
        file, _, anchor = link.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.is_relative_to(config.ROOT) and place.exists(), link
        assert not anchor or anchor in anchors(place), link


@each_text
def test_the_commands_are_there(path):
    known = targets()
    for words in commands(path):
        given = [word.partition("=")[0] for word in words if "=" in word]
        called = [word for word in words if "=" not in word]
        assert called and set(called) <= set(known), words
        assert set(given) <= set.union(*(known[target] for target in called)), words


def test_the_look_at_commands():
    known = targets()
    assert {"KERNEL", "DEMO", "SOURCE", "FEATURES"} <= known["run"] and "KDIR" in known["am"] and "FORCE" in known["check-full"]
    assert "KERNEL" not in known["check"] and "FROM" not in known["tree"]
    assert ["am", "KDIR=~/linux", "FEATURES=sync-file names"] in commands(README)
    assert list(lines("a\n    b\n\n    c\n\n    d\n```c\ne\n```\nf")) == [
        ("a", False), ("    b", False), ("", False), ("    c", True), ("", False), ("    d", True),
        ("```c", True), ("e", True), ("```", True), ("f", False)]


def test_what_the_readme_shows_first():
    for command in (["run"], ["run", "DEMO=xen"], ["am", "KDIR=~/linux"], ["series", "KERNEL=5.10"], ["check"], ["check-full"],
                    ["tree", "KERNEL=5.10"], ["refresh", "KERNEL=5.10"], ["verify"], ["table"], ["pin"]):
        assert command in commands(README)


def test_kernels_of_the_commands():
    names = {kernel.name for kernel in config.kernels()}
    for path in TEXTS:
        for words in commands(path):
            for word in words if "base" not in words else ():      # `make base` adds a kernel
                variable, _, value = word.partition("=")
                assert variable not in ("KERNEL", "KERNELS") or set(value.split()) <= names, words


def test_features_of_the_commands():
    topics = series.topics(series.load(config.queue()))
    for path in TEXTS:
        for words in commands(path):
            for word in words:
                assert not word.startswith("FEATURES=") or set(word.partition("=")[2].split()) <= set(topics), words


def test_the_toggles():
    text = (config.HERE / "configs" / "queue.config").read_text(encoding="utf-8")
    toggles = re.findall(r"^(CONFIG_(?!SAMPLE_)\w+)=", text, re.MULTILINE)
    section = README.read_text(encoding="utf-8").partition("\n## How do I switch it on?\n")[2].partition("\n## ")[0]
    assert toggles and sorted(re.findall(r"CONFIG_\w+", section)) == sorted(toggles)


def test_each_topic_has_a_page_that_names_it():
    linked = {(README.parent / link).resolve() for link in links(README)}
    for topic in series.topics(series.load(config.queue())):
        match = re.search(r"\(([^)]*)\)", table.linked(config.queue(), topic))
        assert match, f"{topic}: no page; write {table.PAGES}/{topic}.md"
        page = config.ROOT / match[1]
        assert page in linked and f"`{topic}`" in page.read_text(encoding="utf-8")


def test_each_page_is_linked():
    linked = {(path.parent / link.partition("#")[0]).resolve() for path in TEXTS for link in links(path)}
    assert PAGES and set(PAGES) <= linked


def test_the_pages_go_into_no_kernel():
    queue = config.queue()
    assert not verify.orphans(queue, series.load(queue))
    assert not verify.ships(f"{table.PAGES}/a.md") and not verify.ships(f"{table.PAGES}/a.patch")
    assert verify.ships("Documentation/driver-api/a.rst")
    for kernel in queue.kernels:
        assert not [path for woven in mails.woven(queue, kernel) for path in woven.edits if Path(path).is_relative_to(table.PAGES)]
