# SPDX-License-Identifier: GPL-2.0
"""Configurations, and which objects depend on a touched file."""

import pytest

from base import config
from base.steps import Failure
from lab import build
from suites import commits


def test_the_toggles_can_be_turned_off():
    on, off = build.wanted([build.TOGGLES], "5.10"), build.wanted([build.TOGGLES], "5.10", toggles="n")
    assert on and set(on) == set(off) and set(off.values()) == {"n"}
    name = "CONFIG_DMABUF_SYNC_FILE_IOCTLS"
    assert build.wanted([build.TOGGLES], "5.10", toggles={name: "n"}) == {**on, name: "n"}


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
    # Two options include it.
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
    assert setting("c") == ""       # not listed, and in a directory that is off
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


def test_a_part_of_a_module(tmp_path):
    """The build system always descends into its directory, as for host1x."""
    deep = tmp_path / "drivers" / "gpu" / "host1x"
    deep.mkdir(parents=True)
    (deep.parent / "Makefile").write_text("obj-y += host1x/ drm/\n")
    (deep / "Makefile").write_text("host1x-y = \\\n\tbus.o \\\n\tdev.o\nobj-$(CONFIG_HOST1X) += host1x.o\n")
    assert commits.setting(tmp_path, "drivers/gpu/host1x/dev.c", {"CONFIG_HOST1X": "m"}) == "m"
    assert commits.setting(tmp_path, "drivers/gpu/host1x/dev.c", {}) == ""


def test_which_toggles_matter(tmp_path):
    gadget = tmp_path / "drivers" / "dma-buf"
    gadget.mkdir(parents=True)
    variant = commits.Variant.__new__(commits.Variant)
    variant.tree = tmp_path
    variant.kbuild = type("Kbuild", (), {"obj": tmp_path})
    variant.toggles = {"CONFIG_GADGET": "y", "CONFIG_GADGET_TEST": "m"}

    def made(name, *words):
        (gadget / f"{name}.c").write_text("")
        (gadget / f".{name}.o.cmd").write_text(f"source_ := ../drivers/dma-buf/{name}.c\ndeps_ := \\\n" + " \\\n".join(words))

    made("a", "$(wildcard include/config/GADGET)", "../include/linux/a.h")
    # In the form of 5.10.
    made("b", "$(wildcard include/config/gadget/test.h)", "../include/linux/b.h", "../include/linux/a.h")
    made("c", "$(wildcard include/config/OTHER)", "../include/linux/a.h")

    def uses(*paths, targets=("drivers/dma-buf/",)):
        return variant.uses(targets, paths)

    assert uses("include/linux/a.h") == ["CONFIG_GADGET", "CONFIG_GADGET_TEST"]
    assert uses("include/linux/b.h", "README") == ["CONFIG_GADGET_TEST"]
    assert uses("drivers/dma-buf/a.c", "drivers/dma-buf/c.c") == ["CONFIG_GADGET"]
    assert uses("drivers/dma-buf/a.c", targets=["drivers/dma-buf/a.o"]) == ["CONFIG_GADGET"]
    assert uses("drivers/dma-buf/a.c", targets=["drivers/dma-buf/b.o"]) == []
    assert uses("drivers/dma-buf/Makefile") == uses("drivers/dma-buf/c.c") == []


@pytest.fixture
def variant(tmp_path, monkeypatch):
    """A variant whose make only records the configuration; all objects depend on both toggles."""
    it = commits.Variant.__new__(commits.Variant)
    it.tree, it.name, it.arch, it.logs, it.off, it.state = tmp_path, "host-gcc", "host", tmp_path, True, None
    it.options, it.toggles = {"CONFIG_A": "y"}, {"CONFIG_T": "y", "CONFIG_U": "m"}
    it.made, it.configured, it.fails = [], [], ()

    class Kbuild:
        obj, log = tmp_path, None

        @staticmethod
        def configure(options, optional):
            it.configured.append(options)
            (tmp_path / ".config").write_text("".join(f"{name}={value}\n" for name, value in options.items() if value != "n"))

    def make(number, targets, *_words):
        off = tuple(name for name in it.toggles if name not in build.resolved(tmp_path))
        it.made.append(off)
        if off in it.fails:
            raise Failure("a.c:1: error: x; see log\nmore")
        return {("a.c", "warning: w")} if off == ("CONFIG_U",) else set()

    it.kbuild, it.make = Kbuild, make
    monkeypatch.setattr(commits.Variant, "targets", lambda self, paths, included: ["a.o"])
    monkeypatch.setattr(commits.Variant, "uses", lambda self, targets, paths: list(self.toggles) if paths else [])
    return it


def test_a_commit_with_all_on_all_off_and_each_off(variant):
    assert variant.step(1, ["a.c"], ()) == (["a.o"], [], {("host-gcc, CONFIG_U off", ("a.c", "warning: w"))})
    assert variant.made == [(), ("CONFIG_T", "CONFIG_U"), ("CONFIG_T",), ("CONFIG_U",)]
    variant.known = {("a.c", "warning: w")}
    assert variant.new({("how", ("a.c", "warning: w")), ("how", ("b.c", "warning: x"))}) == ["how: b.c: warning: x"]
    # If no toggle matters none is turned off, and the configuration is only written if necessary.
    variant.made.clear()
    variant.step(2, [], ())
    before = len(variant.configured)
    variant.step(3, [], ())
    assert variant.made == [(), ()] and len(variant.configured) == before
    variant.step(4, ["drivers/Kconfig"], ())
    assert len(variant.configured) > before


def test_a_commit_that_does_not_build(variant):
    variant.fails = ((),)
    assert variant.step(1, ["a.c"], ()) == ([], ["host-gcc: a.c:1: error: x; see log"], set())
    variant.fails = (("CONFIG_T",),)
    assert variant.step(1, ["a.c"], ()) == ([], ["host-gcc, CONFIG_T off: a.c:1: error: x; see log"], set())


def test_a_toggle_that_is_turned_on_again(variant, monkeypatch):
    monkeypatch.setattr(build, "resolved", lambda obj: {"CONFIG_T": "y", "CONFIG_U": "m"})
    assert "something turns CONFIG_T CONFIG_U on again" in variant.step(1, ["a.c"], ())[1][0]


def test_warnings_have_no_lines():
    assert commits.warnings("../a.c:7:3: warning: x\na.h:9: warning: y\na.c:1: note: z\n") == \
        {("../a.c", "warning: x"), ("a.h", "warning: y")}


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


@pytest.mark.parametrize("value, found", [(None, "CC=ccache gcc"), ("1", "CC=gcc")])
def test_without_ccache(tmp_path, monkeypatch, value, found):
    monkeypatch.delenv("CCACHE_DISABLE", raising=False)
    if value:
        monkeypatch.setenv("CCACHE_DISABLE", value)
    assert found in build.Kbuild(tmp_path).command
