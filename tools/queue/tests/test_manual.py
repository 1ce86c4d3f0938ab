# SPDX-License-Identifier: GPL-2.0
"""The manual pages: man and mandoc accept them, and they have the fields and errors of the headers."""

import re
import subprocess

import pytest

from base import config, steps
from weave import table

PAGES = {
    "ioctl_dma_buf_sync_file": "drivers/dma-buf/dma-buf-sync-file.patch",
    "ioctl_gntdev_dmabuf": "drivers/xen/gntdev-dmabuf-map.patch",
}
EVERYWHERE = {"ENOTTY", "EFAULT"}       # of a missing ioctl, and of an unreadable argument
each_page = pytest.mark.parametrize("name", PAGES)


def path(name):
    return config.ROOT / table.PAGES / "man" / f"{name}.2"


def text(name):
    return path(name).read_text(encoding="utf-8")


def header(name):
    """What the patch that adds the ioctls adds to the kernel's headers for user space."""
    diffs = (config.ROOT / PAGES[name]).read_text(encoding="utf-8").split("\ndiff --git ")
    diff = next(diff for diff in diffs if diff.startswith("a/include/uapi/"))
    return "\n".join(line[1:] for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++"))


def structs(source):
    """{struct: [(type, name) of each field]}"""
    return {name: re.findall(r"(__[us]\d+) (\w+)(?:\[1\])?;", body)
            for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL)}


def documented(name):
    """{operation: its errors} in the section ERRORS; errors before the first operation belong to each operation."""
    section = re.search(r"^\.SH ERRORS\n(.*?)^\.SH", text(name), re.MULTILINE | re.DOTALL)[1]
    found, operations = {}, [""]
    for line in section.splitlines():
        if operation := re.match(r"\.BR? (\w*IOCTL_\w+)", line):
            operations.append(operation[1])
        elif error := re.match(r"\.B (E[A-Z]+)$", line):
            found.setdefault(operations[-1], []).append(error[1])
    return found


def declared(name):
    """The same in the header: in a table above a struct, or in the comment above the number."""
    source = header(name)
    if "* ENOTTY " in source:
        return {f"DMA_BUF_IOCTL_{operation.upper()}_SYNC_FILE": re.findall(r"^ \* (E[A-Z]+)  ", comment, re.MULTILINE)
                for operation, comment in re.findall(r"struct dma_buf_(\w+)_sync_file - (.*?)\*/", source, re.DOTALL)}
    return {operation: re.findall(r"^ \* (E[A-Z]+):", comment, re.MULTILINE)
            for comment, operation in re.findall(r"/\*\n((?: \*[^\n]*\n)+?) \*/\n#define (IOCTL_\w+)", source)}


@each_page
def test_man_and_mandoc_have_nothing_to_say(name):
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", path(name)], capture_output=True, check=True,
                          env=steps.environment({"LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANWIDTH": "100"}))
    assert name.upper() in done.stdout.decode() and not done.stderr
    assert steps.attempt(["mandoc", "-T", "lint", path(name)])[:2] == (0, "")


@pytest.mark.parametrize("fault", [".SH NAME\npage \\- a page\n.TP", ".UNKNOWN"])
def test_mandoc_says_something_of_a_fault(tmp_path, fault):
    page = tmp_path / "page.2"
    page.write_text(f'.TH PAGE 2 2026-11-28 "a" "b"\n{fault}\n')
    assert steps.attempt(["mandoc", "-T", "lint", page])[1]


@each_page
def test_the_fields_are_those_of_the_header(name):
    page = structs(text(name).replace("\n    ", "\n\t"))
    assert page and page == structs(header(name))


@each_page
def test_the_errors_are_those_of_the_header(name):
    page, kernel = documented(name), declared(name)
    assert set(page) - {""} == set(kernel) and all(kernel.values())
    for operation, errors in kernel.items():
        said = page.get("", []) + page[operation]
        assert EVERYWHERE <= set(said)
        assert sorted(set(said) - EVERYWHERE) == sorted(set(errors) - EVERYWHERE), operation
        if "" not in page:      # in the order in which the kernel looks for them
            assert said == errors


@each_page
def test_numbers_and_flags_are_in_the_header(name):
    known = header(name) + "DMA_BUF_SYNC_READ DMA_BUF_SYNC_WRITE DMA_BUF_SYNC_RW DMA_BUF_IOCTL_SYNC"
    for word in set(re.findall(r"\b(?:DMA_BUF|IOCTL_GNTDEV)_[A-Z_]*[A-Z]\b(?!_)", text(name).partition(".SH")[2])):
        assert re.search(rf"\b{word}\b", known), word


@each_page
def test_examples_compile(name):
    programs = [body.replace("\\&\n", "\n").replace("\\-", "-") for body in re.findall(r"^\.EX\n(.*?)^\.EE", text(name), re.MULTILINE | re.DOTALL)
                if "#include" in body]
    for program in programs:
        steps.run(["gcc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"], input=program)
    assert bool(programs) == (name == "ioctl_dma_buf_sync_file")
