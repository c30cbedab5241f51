"""Members of enums: each is the one of its name, whatever its value is.

As Python pickles them they are looked up by an equal value, which not every value has: a model, a function, a list
that has changed since.
"""

from __future__ import annotations

from typing import Any


def reduce(member: Any) -> Any:
    """Keep the name; flags that are combined have none of their own."""
    kind = type(member)
    return (getattr, (kind, member.name)) if kind.__members__.get(member.name) is member else NotImplemented
