"""Which of a cell's names matter where."""

from __future__ import annotations

import ast

import pytest

from nbckpt.run.instrument import is_guarded
from nbckpt.state.liveness import Liveness, liveness


def alive(source: str) -> Liveness:
    return liveness(ast.parse(source).body, is_guarded)


def test_a_name_assigned_before_it_is_read_does_not_matter() -> None:
    """What an iteration binds for itself is dead at the top of the loop; what it carries over is alive."""
    found = alive("""
total = 0
for url in urls:
    reply = get(url)
    total += reply.size
    last = reply
print(total)
""")
    assert found.inputs == {"urls", "get", "print"}
    assert found.tops["1"] == {"get", "total", "print"}
    assert found.before["2"] == {"total", "print"}


def test_nested_loops_carry_what_the_outer_body_still_reads() -> None:
    """At an inner boundary, what comes after the inner loop counts too."""
    found = alive("""
for a in xs:
    reply = get(a)
    for b in reply:
        loss = f(b)
    log(reply, loss)
""")
    assert {"reply", "loss"} <= found.tops["0.body.1"]
    assert not {"reply", "a"} & found.tops["0"]
    assert "loss" in found.tops["0"], "an empty reply leaves the loss of the iteration before"


def test_breaks_handlers_and_contexts_lead_on() -> None:
    """Wherever `break`, an exception or a swallowing context leads, what is read there is alive."""
    assert "x" in alive("for a in b:\n    x = 1\n    break\nelse:\n    x = 2\nprint(x)").before["1"]
    assert "x" in alive("try:\n    for a in b:\n        x = f(a)\nexcept E:\n    print(x)").tops["0.body.0"]
    assert "x" in alive("with c:\n    for a in b:\n        x = f(a)\nprint(x)").tops["0.body.0"]


def test_what_a_function_reads_is_alive_until_nobody_can_call_it() -> None:
    """A function may be called at any later time, so what it reads matters everywhere; a generator has its source."""
    found = alive("h = open(p)\ndef f(): return h.read()\nfor a in b:\n    g(a)\n")
    assert "h" in found.tops["2"]
    found = alive("with open(p) as h:\n    n = sum(1 for _ in h)\nfor a in b:\n    g(a)\n")
    assert "h" not in found.tops["1"]
    assert found.remade == {"h"}


HOSTILE: dict[str, tuple[str, str, str, str]] = {
    "a try in a loop": (
        (
            "for u in us:\n    try:\n        r = get(u)\n        out.append(r.read())\n    except OSError as e:\n"
            "        bad.append(e)\n        continue\n    else:\n        ok = r.status\n    finally:\n        n += 1\n"
        ),
        "0",
        "r e ok",
        "get out bad n OSError",
    ),
    "what a handler reads may be from before": (
        "for u in us:\n    try:\n        r = get(u)\n    except OSError:\n        use(r)\n",
        "0",
        "",
        "r get use",
    ),
    "what finally reads may be from before": (
        "for u in us:\n    try:\n        r = get(u)\n    finally:\n        use(r)\n",
        "0",
        "",
        "r",
    ),
    "a loop in a try": (
        "try:\n    for u in us:\n        r = get(u)\n        use(r)\nexcept OSError:\n    use(last)\n",
        "0.body.0",
        "r",
        "last get use",
    ),
    "a loop in a try whose handler needs what it bound": (
        "try:\n    for u in us:\n        r = get(u)\nexcept OSError:\n    use(r)\n",
        "0.body.0",
        "",
        "r",
    ),
    "read until there is no more": (
        "while chunk := fh.read(9):\n    use(chunk)\n",
        "0",
        "chunk",
        "fh use",
    ),
    "bound in a test, used in both ways": (
        "for u in us:\n    if (m := find(u)) is not None and m.ok:\n        use(m)\n    else:\n        skip(m)\n",
        "0",
        "m",
        "find use skip",
    ),
    "bound in half of a test only": (
        "for u in us:\n    if u and (m := find(u)):\n        use(m)\n    use(m)\n",
        "0",
        "",
        "m",
    ),
    "read before it is bound in the same test": (
        "for u in us:\n    if use(m) or (m := find(u)):\n        pass\n",
        "0",
        "",
        "m",
    ),
    "left by a break only": (
        "while True:\n    r = get()\n    if r.ok:\n        break\nuse(r)\n",
        "0",
        "r",
        "get use",
    ),
    "left when its test fails": ("while go():\n    r = get()\nuse(r)\n", "0", "", "r"),
    "a comprehension's own names": (
        "for u in us:\n    r = get(u)\n    rows = [r for r in r.rows if r]\n    use({k: v for k, v in rows})\n",
        "0",
        "r rows k v",
        "get use",
    ),
    "a comprehension's names beside its own": (
        "for u in us:\n    rows = [f(x, g) for x in xs]\n",
        "0",
        "x rows",
        "f g xs",
    ),
    "a function's own names": (
        (
            "def load(p):\n    with open(p) as fh:\n        rest = fh.read()\n    return rest, given\n"
            "for fh in files:\n    load(fh)\n    rest = 1\n"
        ),
        "1",
        "fh rest p",
        "given",
    ),
    "a lambda's own names": (
        "for u in us:\n    r = get(u)\n    use(lambda r, k=w: r + z)\n",
        "0",
        "r",
        "z w",
    ),
    "a match": (
        (
            "for u in us:\n    match u:\n        case {'a': x, **rest}:\n            use(x, rest)\n"
            "        case [y, *ys] if y > low:\n            z = y\n            use(z, ys)\n"
            "        case Kind():\n            use(q)\n"
        ),
        "0",
        "x rest y ys z",
        "low q use Kind",
    ),
    "what a target reads": ("for d[key] in xs:\n    pass\n", "0", "", "d key"),
    "what a with target reads": ("for u in us:\n    with get(u) as box.item:\n        pass\n", "0", "", "box get"),
    "a loss, until it is read afterwards": (
        "for b in bs:\n    loss = f(b)\n    step(loss)\nfor b in bs:\n    loss = f(b)\nprint(1)\n",
        "0",
        "loss b",
        "bs f step",
    ),
    "a loss that is read afterwards": ("for b in bs:\n    loss = f(b)\nprint(loss)\n", "0", "", "loss"),
    "deleted in each turn": ("for b in bs:\n    r = get()\n    use(r)\n    del r\n", "0", "r", "get use"),
}


@pytest.mark.parametrize("about", HOSTILE)
def test_names_that_are_dead_between_iterations(about: str) -> None:
    """A name that each turn binds before it reads it is dead at the loop's top; one that may be read first is not."""
    cell, top, dead, read = HOSTILE[about]
    found = alive(cell).tops[top]
    assert not found & set(dead.split())
    assert found >= set(read.split())
