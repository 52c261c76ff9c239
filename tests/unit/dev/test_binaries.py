"""What was built is found again, and built anew when what it is made from changes."""

import dataclasses

from nephos_dev.binaries import CONTROL_PLANE, NODE, linker_flags, stamp

GO_MOD = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n"


def test_programs_report_the_version_that_the_module_pins() -> None:
    flags = linker_flags(GO_MOD)
    assert "version.gitVersion=v1.36.3" in flags
    assert "version.gitMajor=1 " in flags
    assert flags.endswith("version.gitMinor=36")


def test_a_module_without_kubernetes_gets_no_version() -> None:
    assert linker_flags("module x\n") == "-s -w"


def test_the_stamp_follows_everything_that_decides_the_outcome() -> None:
    base = stamp(GO_MOD.encode(), b"sums", CONTROL_PLANE)
    assert base == stamp(GO_MOD.encode(), b"sums", CONTROL_PLANE)
    others = {
        stamp(GO_MOD.replace("36.3", "36.4").encode(), b"sums", CONTROL_PLANE),
        stamp(GO_MOD.encode(), b"other sums", CONTROL_PLANE),
        stamp(GO_MOD.encode(), b"sums", NODE),
        stamp(GO_MOD.encode(), b"sums", dataclasses.replace(CONTROL_PLANE, tags="no_btrfs")),
    }
    assert base not in others
    assert len(others) == 4
