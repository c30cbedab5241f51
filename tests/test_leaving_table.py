"""The page about leaving says what the tests show."""

from __future__ import annotations

import leaving_table


def test_the_page_is_what_the_tests_say() -> None:
    """Whoever changes what it is made of writes it anew: `python tests/leaving_table.py`."""
    assert leaving_table.PAGE.read_text(encoding="utf-8") == leaving_table.page(), "run python tests/leaving_table.py"


def test_no_iteration_is_lost_where_none_must_be() -> None:
    """An interrupt, a restart with iterations under 2 s and SIGTERM lose none, in whatever the cell is busy with."""
    for case in [*leaving_table.KERNELS, *leaving_table.SERVERS]:
        gentle = case.way.startswith(("interrupt", "SIGTERM")) and "twice" not in case.way
        if gentle or (case.way.startswith("restart") and case.length != "10 s"):
            assert case.lost == leaving_table.NONE
