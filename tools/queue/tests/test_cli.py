# SPDX-License-Identifier: GPL-2.0
"""The commands themselves: exit states and messages; and kernels.toml."""

import re
import subprocess
import sys

import pytest

import cli
from base import config
from base.steps import Failure, run, step


def test_the_makefile_and_the_help_know_each_command():
    targets = set(re.findall(r"^(\w+):$", (config.ROOT / "Makefile").read_text(), re.MULTILINE))
    helped = set(re.findall(r"^make (\w+)", cli.HELP, re.MULTILINE))
    assert targets - {"help"} == helped


def test_help(capsys):
    assert cli.main(["help"]) == 0
    output = capsys.readouterr().out
    assert "make am KDIR=~/linux" in output and "{" not in output


def test_an_error_is_one_line_and_no_traceback(capsys):
    assert cli.main(["series", "--kernel", "2.4"]) == 1
    assert re.match(r"error: no kernel '2.4' in kernels.toml; there is: ", capsys.readouterr().err)


def test_ctrl_c(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt
    monkeypatch.setattr(config, "kernels", interrupt)
    assert cli.main(["help"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_what_make_am_hands_on():
    for words, found in (("", ""), ("MERGE=1", "--merge"), ("NEAREST=1 MERGE=n", "--nearest"), ("MERGE=1 NEAREST=yes", "--merge --nearest")):
        line = run(["make", "--no-print-directory", "-n", "am", "KDIR=/x", *words.split()], cwd=config.ROOT)
        args = cli.parser().parse_args(line.split("cli.py ")[1].replace("'", "").split())
        assert (args.kdir, args.merge, args.nearest) == ("/x", "--merge" in found, "--nearest" in found)


def test_the_programs_start_anywhere(tmp_path):
    done = subprocess.run([sys.executable, "-B", config.HERE / "cli.py", "help"], cwd=tmp_path, check=True,
                          capture_output=True, text=True)
    assert "make series" in done.stdout


@pytest.mark.parametrize("old, new, message", [
    ('name = "5.10"', 'name = "5.10.9"', "VERSION.PATCHLEVEL"),
    ('name = "5.10"', 'name = "6.1"', "once, oldest first"),
    ('name = "5.10"', 'name = "6.12"', "once, oldest first"),
])
def test_a_wrong_table(toy, tmp_path, old, new, message):
    table = tmp_path / "kernels.toml"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(Failure, match=message):
        config.load(toy.root, table)


def test_the_table_of_this_repository():
    assert config.kernels() and config.kernel(config.kernels()[0].name).tree.parent.parent == config.BUILD
    assert "<" in config.IDENTITY


def test_a_failed_step_names_its_log(tmp_path):
    log = tmp_path / "logs" / "step.log"
    with pytest.raises(Failure) as info:
        run(["sh", "-c", "echo one; echo two >&2; exit 3"], log=log, what="the step")
    assert str(info.value) == (f"the step: sh exited 3; the end of {log}:\n"
                               f"    $ sh -c 'echo one; echo two >&2; exit 3'\n    one\n    two")
    with pytest.raises(Failure, match="nosuch is not installed; run `make deps`"):
        run(["nosuch"], what="the step")
    with pytest.raises(Failure, match="no directory /nonexistent"):
        run(["true"], cwd="/nonexistent")


def test_a_step_is_announced(capsys):
    with step("something"):
        pass
    assert re.fullmatch(r"==> something\n    0\.\d s: something\n", capsys.readouterr().out)
