# SPDX-License-Identifier: GPL-2.0
"""Where things are, and which kernels there are: the values read from kernels.toml.

Functions that weave or unweave take a Queue, so that the tests can pass a toy one. The module's own
names (ROOT, kernels(), ...) describe the repository that contains this file.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from base.steps import Failure

HERE = Path(__file__).resolve().parent.parent     # tools/queue
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
OUT = ROOT / "out"
TABLE = HERE / "kernels.toml"

# The parts of the repository that go into a kernel. Everything else (tools/queue, README.md, ...) stays here.
SHIPPED = ("drivers", "fs", "include", "mm", "Documentation", "samples", "scripts", "tools/testing", "MAINTAINERS")


@dataclass(frozen=True)
class Kernel:
    """One supported kernel; `name` is its series ("5.10"), `version` the tested Debian version, `woven` the id of its woven tree.

    Other versions of the `package` may be in any of the `suites`.
    """

    name: str
    version: str
    package: str
    suites: tuple
    woven: str
    build: Path
    out: Path

    @property
    def pristine(self):
        """Git tree of the unpatched source: one commit, tag `base`."""
        return self.build / "pristine"

    @property
    def tree(self):
        """Git tree with the queue applied, on the branch `queue`."""
        return self.build / "tree"

    @property
    def control(self):
        """Git tree of the negative control: the unpatched source and the test-only patches."""
        return self.build / "control"


@dataclass(frozen=True)
class Queue:
    """A repository of this layout, its places for results, and its kernels, oldest first.

    @features: names of the topics that commands use, together with what these need; none means all.
    """

    root: Path
    table: Path
    build: Path
    out: Path
    kernels: tuple
    identity: str
    date: str
    features: tuple = ()

    @property
    def series(self):
        return self.root / "series"

    def kernel(self, name):
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise Failure(f"no kernel {name!r} in kernels.toml; there is: "
                      f"{' '.join(k.name for k in self.kernels)}")


def load(root=ROOT, table=TABLE):
    """Read kernels.toml for the queue that lies in @root."""
    root = Path(root)
    with open(table, "rb") as file:
        data = tomllib.load(file)
    kernels = []
    for entry in data["kernel"]:
        if not re.fullmatch(r"\d+\.\d+", entry["name"]):
            raise Failure(f"{table}: a kernel's name is VERSION.PATCHLEVEL, not {entry['name']!r}")
        kernels.append(Kernel(build=root / "build" / entry["name"], out=root / "out" / entry["name"],
                              suites=tuple(entry["suites"]), woven=entry.get("woven", ""), **{key: entry[key] for key in ("name", "version", "package")}))
    order = [tuple(map(int, kernel.name.split("."))) for kernel in kernels]
    if order != sorted(set(order)):
        raise Failure(f"{table}: list each kernel once, oldest first")
    return Queue(root=root, table=Path(table), build=root / "build", out=root / "out", kernels=tuple(kernels),
                 identity=data["queue"]["identity"], date=data["queue"]["date"])


def pin(queue, kernel, tree):
    """Write the id of @kernel's woven @tree into the table; returns whether it has changed."""
    text = queue.table.read_text(encoding="utf-8")
    line, place = f'woven = "{tree}"', re.compile(rf'^name\s*=\s*"{re.escape(kernel.name)}".*$', re.MULTILINE)
    parts = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    at = next((at for at, part in enumerate(parts) if part.startswith("[[kernel]]") and place.search(part)), None)
    if at is None:
        raise Failure(f'{queue.table}: there is no line `name = "{kernel.name}"` below a `[[kernel]]`')
    part, there = re.subn(r"^woven\s*=.*$", line, parts[at], flags=re.MULTILINE)
    parts[at] = part if there else place.sub(rf"\g<0>\n{line}", part)
    new = "".join(parts)
    if new != text:
        queue.table.write_text(new, encoding="utf-8")
    return new != text


def parse_release(makefile):
    """("5.10", "5.10.259") from the text of a kernel's top Makefile; ("", "") if @makefile is something else."""
    values = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)\s*$", makefile, re.MULTILINE))
    if not {"VERSION", "PATCHLEVEL"} <= set(values):
        return "", ""
    name = f"{values['VERSION']}.{values['PATCHLEVEL']}"
    return name, f"{name}.{values.get('SUBLEVEL', '0')}"


def release(makefile):
    """The same of the file at that path, which need not exist."""
    try:
        return parse_release(makefile.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "", ""


FEATURES = []       # names of topics, see choose()


def choose(features):
    """Make queue() use only these topics; cli.py calls this before anything else."""
    FEATURES[:] = features
    queue.cache_clear()


@cache
def queue():
    """The queue of this repository."""
    return replace(load(), features=tuple(FEATURES))


def kernels():
    return list(queue().kernels)


def kernel(name):
    return queue().kernel(name)


def __getattr__(name):
    # Read on first use, so that a broken table is an error message of the command, not of the import.
    if name in ("IDENTITY", "DATE"):
        return getattr(queue(), name.lower())
    raise AttributeError(name)
