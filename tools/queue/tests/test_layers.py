# SPDX-License-Identifier: GPL-2.0
"""Which package may import which: weaving needs only Python and git, and the package lab needs no queue."""

import ast
import subprocess
import sys

import pytest

from base import config

ALLOWED = {
    "base": {"base"},
    "weave": {"base", "weave"},
    "lab": {"base", "lab"},
    "suites": {"base", "weave", "lab", "suites"},
}
MODULES = {package: sorted((config.HERE / package).glob("*.py")) for package in ALLOWED}


def imported(text):
    """The modules that a file imports, including those in its functions, as (line, full name)."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def wrong(package, text):
    """The imports that a file of @package may not have: neither Python's own modules nor those of an allowed package."""
    return [(line, name) for line, name in imported(text)
            if name.partition(".")[0] not in ALLOWED[package] | sys.stdlib_module_names]


@pytest.mark.parametrize("package", ALLOWED)
def test_no_import_against_the_arrows(package):
    assert len(MODULES[package]) > 1
    found = [f"{path.relative_to(config.HERE)}:{line}: {name}" for path in MODULES[package]
             for line, name in wrong(package, path.read_text(encoding="utf-8"))]
    assert not found


@pytest.mark.parametrize("package, text, names", [
    ("weave", "import re\nfrom base import steps\nfrom weave.udiff import Hunk\n", []),
    ("weave", "def f():\n    from lab import source\n", ["lab"]),
    ("base", "import weave.mails as mails\n", ["weave.mails"]),
    ("lab", "from suites.results import PASS\nfrom weave import tree\n", ["suites.results", "weave"]),
    ("suites", "from . import full\nimport config\nimport numpy\n", [".", "config", "numpy"]),
])
def test_the_look_at_imports(package, text, names):
    assert [name for _, name in wrong(package, text)] == names


def test_each_module_is_in_a_package():
    assert sorted(path.name for path in config.HERE.glob("*.py")) == ["boot.py", "cli.py"]
    assert {path.parent.name for path in config.HERE.glob("*/*.py")} == {*ALLOWED, "tests"}
    assert all(config.HERE / package / "__init__.py" in paths for package, paths in MODULES.items())


def loaded(tmp_path, code):
    """Names of the modules that are loaded after cli.py has run @code."""
    done = subprocess.run([sys.executable, "-B", "-c", f"import sys\nsys.path.insert(0, sys.argv[1])\nimport cli\n{code}\n"
                           "print(*sys.modules, file=sys.stderr)", config.HERE], cwd=tmp_path, check=True,
                          capture_output=True, text=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["verify", "series"])
def test_weaving_loads_nothing_of_the_other_side(toy, tmp_path, command):
    """On the toy queue, so that no file of this repository is written."""
    code = ("from base import config\n"
            f"toy = config.load({str(toy.root)!r}, {str(tmp_path / 'kernels.toml')!r})\n"
            "config.load = lambda: toy\n"
            f"assert cli.main([{command!r}]) == 0")
    modules = loaded(tmp_path, code)
    assert "weave.mails" in modules and "base.config" in modules
    assert not [name for name in modules if name.partition(".")[0] in ("lab", "suites")]


@pytest.mark.parametrize("module", ["mails", "am", "refresh", "tree", "verify", "table"])
def test_weaving_imports_nothing_of_the_other_side(tmp_path, module):
    modules = loaded(tmp_path, f"import weave.{module}")
    assert not [name for name in modules if name.partition(".")[0] in ("lab", "suites")]
