# SPDX-License-Identifier: GPL-2.0
"""Configurations, and which objects a touched file means."""

import pytest

import build
import commits
import config
import gitcmd
from steps import Failure


def test_the_toggles_can_be_turned_off():
    on, off = build.wanted([build.TOGGLES], "5.10"), build.wanted([build.TOGGLES], "5.10", toggles="n")
    assert on and set(on) == set(off) and set(off.values()) == {"n"}


def test_a_fragment_with_a_typo(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CONFIGS", tmp_path)
    (tmp_path / "x.config").write_text("CONFIG_A=y\n# CONFIG_B is not set\n# words\nCONFIG_C\n")
    with pytest.raises(Failure, match="CONFIG_C"):
        build.wanted(["x.config"], "6.1")


def test_what_one_kernel_has_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CONFIGS", tmp_path)
    (tmp_path / "x.config").write_text("CONFIG_A=y\nCONFIG_B=y\n")
    (tmp_path / "x.6.12.config").write_text("# CONFIG_A is not set\nCONFIG_C=m\n")
    assert build.wanted(["x.config"], "6.1") == {"CONFIG_A": "y", "CONFIG_B": "y"}
    assert build.wanted(["x.config"], "6.12") == {"CONFIG_A": "n", "CONFIG_B": "y", "CONFIG_C": "m"}


def test_every_overlay_is_of_a_kernel_and_of_a_fragment():
    names = {path.name for path in build.CONFIGS.glob("*.config")}
    kernels = {kernel.name for kernel in config.kernels()}
    for name in names:
        base, _, kernel = name.removesuffix(".config").partition(".")
        assert f"{base}.config" in names and (not kernel or kernel in kernels), name


def test_the_release_of_a_tree(tmp_path):
    with pytest.raises(Failure, match="not the top of a kernel tree"):
        build.release(tmp_path)
    (tmp_path / "Makefile").write_text("# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 107\n")
    assert build.release(tmp_path) == "6.12"


def test_what_a_source_file_is_built_as(tmp_path):
    deep = tmp_path / "drivers" / "gpu" / "drm" / "gadget"
    deep.mkdir(parents=True)
    (deep / "Makefile").write_text("gadget-y := \\\n\ta.o \\\n\tb.o\nobj-$(CONFIG_GADGET) += gadget.o\n"
                                   "obj-$(CONFIG_GADGET_TEST) += test.o\n")
    (deep.parent / "Makefile").write_text("obj-$(CONFIG_DRM) += other/ \\\n\tdrm.o\n")
    # A directory two levels down.
    (deep.parent.parent / "Makefile").write_text("obj-$(CONFIG_GADGET) += drm/gadget/\n")
    # Two options lead to it.
    (deep.parent.parent.parent / "Makefile").write_text("obj-$(CONFIG_USB) += gpu/\nobj-$(CONFIG_DRM) += gpu/\n")

    def setting(name, **options):
        return commits.setting(tmp_path, f"drivers/gpu/drm/gadget/{name}.c", {"CONFIG_DRM": "y", **options})

    assert setting("a", CONFIG_GADGET="y") == "y"
    assert setting("a", CONFIG_GADGET="m") == "m"
    assert setting("a") == ""
    assert setting("test", CONFIG_GADGET="y") == ""
    assert setting("test", CONFIG_GADGET="y", CONFIG_GADGET_TEST="m") == "m"
    assert setting("a", CONFIG_GADGET="y", CONFIG_DRM="", CONFIG_USB="m") == "m"
    assert setting("a", CONFIG_GADGET="y", CONFIG_DRM="") == ""
    assert setting("c") == ""       # in no list, but in a directory that is off
    assert commits.setting(tmp_path, "drivers/gpu/drm/drm.c", {}) == ""
    assert commits.setting(tmp_path, "drivers/gpu/drm/drm.c", {"CONFIG_DRM": "y"}) == "y"


def test_a_sample_is_code_too(tmp_path):
    deep = tmp_path / "samples" / "display"
    deep.mkdir(parents=True)
    (tmp_path / "Makefile").write_text("drivers-$(CONFIG_SAMPLES) += samples/\n")
    (deep.parent / "Makefile").write_text("obj-y += display/\n")
    (deep / "Makefile").write_text("obj-$(CONFIG_SAMPLE_DISPLAY) += display.o\n")
    path = "samples/display/display.c"
    assert path.startswith(commits.CODE)
    assert commits.setting(tmp_path, path, {"CONFIG_SAMPLES": "y", "CONFIG_SAMPLE_DISPLAY": "m"}) == "m"
    assert commits.setting(tmp_path, path, {"CONFIG_SAMPLE_DISPLAY": "m"}) == ""
    assert commits.setting(tmp_path, path, {"CONFIG_SAMPLES": "y"}) == ""


def test_toggles_that_matter(tmp_path):
    git = gitcmd.own(tmp_path, config.queue())
    git("init", "--quiet")
    toggles = {"CONFIG_GADGET": "y", "CONFIG_GADGET_TEST": "m"}

    def matter(**files):
        """What the next commit, which writes @files, has to be built without."""
        paths = [name.replace("__", "/").replace("_dot_", ".") for name in files]
        for path, text in zip(paths, files.values()):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        git("add", "--all")
        git("commit", "--quiet", "--message=x")
        return commits.toggles_that_matter(git, git.line("rev-parse", "HEAD"), paths, toggles, {"include/a.h"})

    lines = "obj-$(CONFIG_GADGET) += gadget.o\n"
    assert matter(drivers__Makefile=lines) == {"CONFIG_GADGET"}
    # Only what the commit itself adds to a list.
    assert matter(drivers__Makefile=lines + "obj-$(CONFIG_GADGET_TEST) += test.o\n") == {"CONFIG_GADGET_TEST"}
    # Nothing but a Kconfig knows of one yet.
    assert matter(fs__Kconfig="config GADGET_TEST\nconfig GADGET\n", drivers__Makefile=lines) == {"CONFIG_GADGET"}
    assert matter(drivers__Makefile=lines + "obj-$(CONFIG_GADGET_TEST) += test.o\n") == {"CONFIG_GADGET_TEST"}
    assert matter(drivers__Kconfig="config GADGET_TEST\n\tdepends on GADGET\n") == set(toggles)
    assert matter(**{"drivers__dma-buf__a_dot_c": "int a;\n", "include__a_dot_h": "int a;\n"}) == set()
    assert matter(**{"drivers__dma-buf__a_dot_c": "#ifdef CONFIG_GADGET\n#endif\n"}) == {"CONFIG_GADGET"}
    # A header reaches every file that mentions a toggle.
    assert matter(include__a_dot_h="int b;\n") == {"CONFIG_GADGET"}
    assert matter(include__b_dot_h="int b;\n") == set()
    assert matter(tools__a_dot_c="CONFIG_GADGET\n", Documentation__a_dot_rst="CONFIG_GADGET\n") == set()


def test_drivers_that_no_configuration_has(tmp_path, monkeypatch):
    drm = tmp_path / "drivers" / "gpu" / "drm"
    drm.mkdir(parents=True)
    (drm / "Makefile").write_text("obj-$(CONFIG_DRM) += drm.o\nobj-y += omapdrm/\n")
    variant = commits.Variant.__new__(commits.Variant)
    variant.tree = tmp_path
    variant.kbuild = type("Kbuild", (), {"obj": tmp_path})
    monkeypatch.setattr(build, "resolved", lambda obj: {"CONFIG_DRM": "y"})
    for variant.arch, forced in (("arm64", True), ("x86_64", False)):
        assert variant.builds("drivers/gpu/drm/omapdrm/omap_gem.c") == forced
        assert variant.builds("drivers/gpu/drm/drm.c")
    assert variant.force(["drivers/gpu/drm/drm.o", "drivers/gpu/drm/"]) == []
    assert variant.force(["drivers/gpu/drm/drm.o", "drivers/gpu/drm/omapdrm/omap_gem.o"]) == ["CONFIG_DRM_OMAP=m"]
