"""The page about stores says what the tests show."""

from __future__ import annotations

import ast

import stores_table
from nbckpt.storage.stores.filesystem import OBJECTS, SSH
from nbckpt.storage.stores.s3 import OPTIONS


def test_the_page_is_what_the_tests_say() -> None:
    """Whoever changes what it is made of writes it anew: `python tests/stores_table.py`."""
    assert stores_table.PAGE.read_text(encoding="utf-8") == stores_table.page(), "run python tests/stores_table.py"


def test_each_store_of_the_table_passes_the_contract() -> None:
    """The classes that it names are there, and are of those that inherit the tests."""
    for *_, tests in stores_table._STORES:
        for file, name in tests:
            tree = ast.parse((stores_table.TESTS / file).read_text(encoding="utf-8"))
            (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
            assert {ast.unparse(base) for base in found.bases} <= {"StoreTests", "OnS3"}


def test_every_option_is_explained() -> None:
    """Those of S3 by name, and the schemes that are treated in a way of their own."""
    assert set(stores_table.OPTIONS) == set(OPTIONS)
    page = stores_table.page()
    for scheme in (*OBJECTS, *SSH):
        if scheme not in ("gcs", "abfss", "ssh"):  # other names of those that are there
            assert f"`{scheme}://" in page
