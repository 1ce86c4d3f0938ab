# SPDX-License-Identifier: GPL-2.0
"""Configurations, and which objects a touched file means."""

import pytest

import build
import commits
import config
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


def test_what_a_toggle_affects(tmp_path, monkeypatch):
    gadget = tmp_path / "drivers" / "dma-buf"
    gadget.mkdir(parents=True)
    (gadget / "Makefile").write_text("obj-y += a.o b.o c.o\nobj-$(CONFIG_NOT) += not.o\n")
    variant = commits.Variant.__new__(commits.Variant)
    variant.tree = tmp_path
    variant.kbuild = type("Kbuild", (), {"obj": tmp_path})
    monkeypatch.setattr(build, "resolved", lambda obj: {})

    def made(name, *words):
        (gadget / f"{name}.c").write_text("")
        (gadget / f".{name}.o.cmd").write_text(f"source_ := ../drivers/dma-buf/{name}.c\ndeps_ := \\\n" + " \\\n".join(words))

    made("a", "$(wildcard include/config/GADGET)", "../include/linux/a.h")
    # As 5.10 writes it.
    made("b", "$(wildcard include/config/gadget/test.h)", "../include/linux/b.h", "../include/linux/a.h")
    made("c", "$(wildcard include/config/OTHER)", "../include/linux/a.h")
    # Left over from another commit.
    made("not", "$(wildcard include/config/GADGET)", "../include/linux/a.h")

    def affected(*paths, targets=("drivers/dma-buf/",)):
        found = variant.affected(targets, paths, ["CONFIG_GADGET", "CONFIG_GADGET_TEST"])
        return {path.removeprefix("drivers/dma-buf/"): uses for path, uses in found.items()}

    one, test = {"CONFIG_GADGET"}, {"CONFIG_GADGET_TEST"}
    assert affected("include/linux/a.h") == {"a.o": one, "b.o": test}
    assert affected("include/linux/b.h", "README") == {"b.o": test}
    assert affected("drivers/dma-buf/a.c", "drivers/dma-buf/c.c") == {"a.o": one}
    assert affected("drivers/dma-buf/a.c", targets=["drivers/dma-buf/a.o"]) == {"a.o": one}
    assert affected("drivers/dma-buf/a.c", targets=["drivers/dma-buf/b.o"]) == {}
    assert affected("drivers/dma-buf/Makefile") == {}


def test_compiled_with_a_toggle_off(tmp_path):
    variant = commits.Variant.__new__(commits.Variant)
    variant.tree, variant.name, variant.arch, variant.known = tmp_path, "host-gcc", "host", set()
    obj, side = tmp_path / ".obj", tmp_path / ".obj" / ".off-0"
    variant.kbuild = type("Kbuild", (), {"obj": obj, "env": {}, "log": tmp_path / "log"})
    variant.sides = {("CONFIG_GADGET",): side}
    for directory, text in ((obj, "#define CONFIG_GADGET 1\n"), (side, "")):
        (directory / "include" / "generated").mkdir(parents=True)
        (directory / "include" / "generated" / "autoconf.h").write_text(text)
    (side / ".config").write_text("")
    (obj / "drivers").mkdir()
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "Makefile").write_text("obj-y += a.o\nobj-$(CONFIG_GADGET) += b.o\n")
    (obj / "drivers" / ".a.o.cmd").write_text(
        "savedcmd_drivers/a.o := gcc -Wp,-MMD,drivers/.a.o.d -I./include -Wall -c -o drivers/a.o ../drivers/a.c ; false\n")

    def problems(text, target="drivers/a.o"):
        (tmp_path / "drivers" / "a.c").write_text(f"#include <generated/autoconf.h>\n{text}\n")
        found, warned = variant.without(("CONFIG_GADGET",), {target: {"CONFIG_GADGET"}})
        return found + [text for _, text in warned]

    assert problems("#ifdef CONFIG_GADGET\n#error on\n#endif") == []
    assert "#error" in problems("#ifndef CONFIG_GADGET\n#error off\n#endif")[0]
    assert "unused" in problems("#ifndef CONFIG_GADGET\nstatic int a;\n#endif")[0]
    warned = {("host-gcc", ("a.c", "warning: x")), ("host-gcc", ("b.c", "warning: y"))}
    variant.known = {("a.c", "warning: x")}
    assert variant.new(warned) == ["host-gcc: b.c: warning: y"]
    # Not there when the toggle is off.
    assert problems("", "drivers/b.o") == []
    assert list(obj.glob("drivers/*.o")) == []
    (side / ".config").write_text("CONFIG_GADGET=y\n")
    assert "on again" in problems("")[0]


def test_what_need_not_be_made_again(tmp_path, monkeypatch):
    variant = commits.Variant.__new__(commits.Variant)
    variant.tree, variant.name, variant.arch = tmp_path, "host-gcc", "host"
    obj = tmp_path / ".obj"
    variant.kbuild = type("Kbuild", (), {"obj": obj, "env": {}, "log": tmp_path / "log"})
    monkeypatch.setattr(build, "resolved", lambda obj: {"CONFIG_NEW": "y"})
    for directory in (obj / "drivers", tmp_path / "drivers"):
        directory.mkdir(parents=True)
    (tmp_path / "drivers" / "Makefile").write_text("obj-y += a.o new.o\nobj-$(CONFIG_NOT) += not.o\n")
    for name in ("a", "new", "not", "test"):
        (tmp_path / "drivers" / f"{name}.c").write_text("int used;\n")
    for name, sources in (("a", ["a"]), ("test", ["test", "a"])):
        (obj / "drivers" / f".{name}.o.cmd").write_text(
            f"savedcmd_drivers/{name}.o := gcc -Wp,-MMD,drivers/.{name}.o.d -Wall -c -o drivers/{name}.o ../drivers/{name}.c\n"
            + "".join(f"  ../drivers/{source}.c \\\n" for source in sources))

    assert variant.again(["Documentation/a.rst", "tools/testing/b.c"]) == []
    assert variant.again(["drivers/a.c", "MAINTAINERS"]) == ["drivers/a.o", "drivers/test.o"]
    assert variant.again(["drivers/test.c", "drivers/not.c"]) == ["drivers/test.o"]
    # What only make can tell: sources that are new or gone, headers, how it is built.
    for path in ("drivers/new.c", "drivers/gone.c", "include/linux/a.h", "drivers/Makefile", "drivers/Kconfig"):
        assert variant.again(["drivers/a.c", path]) is None

    assert variant.recompile(["drivers/a.o"]) == ([], set())
    (tmp_path / "drivers" / "a.c").write_text("static int unused;\n")
    assert "unused" in str(variant.recompile(["drivers/a.o"])[1])
    (tmp_path / "drivers" / "a.c").write_text("#error gone wrong\n")
    assert "#error gone wrong" in variant.recompile(["drivers/a.o"])[0][0]
    assert list(obj.glob("drivers/*.o")) == []


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
