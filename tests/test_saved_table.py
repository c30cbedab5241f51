"""The page of what is saved says what the tests show."""

from __future__ import annotations

import re

import saved_table


def test_the_page_is_what_the_tests_say() -> None:
    """Whoever changes a program's row writes the page anew: `python tests/saved_table.py`."""
    assert saved_table.PAGE.read_text(encoding="utf-8") == saved_table.page(), "run python tests/saved_table.py"


def test_every_line_names_its_test() -> None:
    """What is linked to is there, and holds the program that is named."""
    page = saved_table.page()
    links = re.findall(r"\[([^]]+)\]\(([^)]+)\)", page)
    assert len(links) >= 60
    for name, link in links:
        target = saved_table.PAGE.parent / link
        assert target.exists(), link
        known = (f'"{name}",', f"def test_{name}(")
        assert target.suffix == ".ipynb" or any(word in target.read_text(encoding="utf-8") for word in known), name


def test_rows_are_named_alike() -> None:
    """A row is `section: what`, and its section is one of the page's headings."""
    for row in saved_table.rows():
        assert row.what, row
        assert f"## {row.section}\n" in saved_table.page()
