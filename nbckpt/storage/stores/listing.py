"""Listing folder by folder, for stores that cannot be relied on to list in the order of the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nbckpt.storage.stores import Entry, check_key, is_key


def walk(children: Callable[[str], Iterable[Entry]], prefix: str, start_after: str) -> Iterator[Entry]:
    """Yield what is kept under keys that begin with `prefix` and sort after `start_after`, sorted.

    `children` tells what is in one folder, in any order; its argument and the keys of folders end in a slash. What
    no store can have written there is left out.
    """
    folder = prefix.rpartition("/")[0]
    if folder:
        check_key(folder)
    yield from _below(children, f"{folder}/" if folder else "", prefix, start_after)


def _below(children: Callable[[str], Iterable[Entry]], folder: str, prefix: str, start_after: str) -> Iterator[Entry]:
    # A folder sorts with its slash, as its keys do: "a-b/x" comes before "a/x".
    for entry in sorted(children(folder)):
        key = entry.key
        name = key[len(folder) :].removesuffix("/")
        if not key.startswith(folder) or "/" in name or not is_key(name):  # some list the folder itself in it
            continue
        if key.endswith("/"):
            past = key <= start_after and not start_after.startswith(key)
            if not past and (key.startswith(prefix) or prefix.startswith(key)):
                yield from _below(children, key, prefix, start_after)
        elif key.startswith(prefix) and key > start_after:
            yield entry
