"""``nephos-crds``: write the CustomResourceDefinitions, or check that the committed ones are what the models say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nephos_api.resources import KINDS
from nephos_api.schema.definition import definition_yaml

_FOLDER = Path(__file__).resolve().parents[3] / "yaml"


def main() -> None:
    """Run the command; exit 1 where ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(prog="nephos-crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where the files are (default: crds/yaml)")
    arguments = parser.parse_args()
    files = {f"{kind.info.plural}.yaml": definition_yaml(kind) for kind in KINDS}
    differing = check(arguments.folder, files) if arguments.check else write(arguments.folder, files)
    if arguments.check and differing:
        sys.exit(f"not what the models say: {', '.join(differing)}; run nephos-crds and commit what it writes")
    sys.stdout.write("".join(f"{name} written\n" for name in differing))


def check(folder: Path, files: dict[str, str]) -> list[str]:
    """Return the names of files that differ, are missing, or should not be there."""
    present = {path.name: path.read_text() for path in folder.glob("*.yaml")}
    return sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))


def write(folder: Path, files: dict[str, str]) -> list[str]:
    """Make the folder hold exactly these files; return the names of those that differed."""
    folder.mkdir(parents=True, exist_ok=True)
    differing = check(folder, files)
    for name in differing:
        if name in files:
            (folder / name).write_text(files[name])
        else:
            (folder / name).unlink()
    return differing
