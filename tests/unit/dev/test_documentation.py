"""What the documentation points at is there."""

import re
from pathlib import Path

import pytest

from nephos_dev.layout import WORK_TREE

PAGES = [WORK_TREE / "README.md", WORK_TREE / "CONTRIBUTING.md", *sorted((WORK_TREE / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(WORK_TREE))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    tests = "".join(path.read_text() for path in (WORK_TREE / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text()))
    assert named <= set(re.findall(r"def (test_[a-z0-9_]+)", tests))


def test_every_page_is_in_the_index() -> None:
    index, decisions = (WORK_TREE / "docs" / path for path in ("README.md", "decisions/README.md"))
    linked = {
        (start.parent / target).resolve()
        for start in (index, decisions)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", start.read_text())
    }
    pages = {page.resolve() for page in (WORK_TREE / "docs").rglob("*.md")} - {index.resolve()}
    assert not pages - linked
