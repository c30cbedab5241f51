"""Looking after a store, for people: sweeping it, and making the best of what is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DamagedSnapshot, UnknownCheckpoint, UnsupportedFormat, UntrustedSnapshot
from .display import View, says, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..storage.repository import Repository


def pruned(repository: Repository, names: Sequence[str], *, grace: float, dry_run: bool) -> tuple[View, bool]:
    """Delete what no snapshot needs; return what was, and whether every checkpoint could be looked at.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    lines, well, saved = [], True, "would be deleted" if dry_run else "deleted"
    for name in known(repository, names):
        try:
            swept = repository.prune(name, grace=grace, dry_run=dry_run)
        except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat) as error:
            lines.append(f"{name}: {error}")
            well = False
            continue
        count = len(swept.keys)
        what = f"{count} file{'s' * (count != 1)} ({size(swept.size)}) that no snapshot needs"
        lines.append(f"{name}: {what} {saved}" if count else f"{name}: nothing to prune")
    return says("\n".join(lines) or f"The store {repository.url} holds no checkpoint."), well


def repaired(url: str, names: Sequence[str]) -> tuple[View, bool]:
    """Drop what cannot be restored and keep the rest; return what was done, and whether all is well now.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    from ..storage.repository import Repository

    repository, anew = Repository.mend(url)
    lines, well = ["nbckpt.json: written anew, by what the snapshots say"] if anew else [], True
    for name in known(repository, names):
        try:
            done = repository.repair(name)
        except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat) as error:
            lines.append(f"{name}: {error}")
            well = False
            continue
        lines += [f"{name}: dropped snapshot {seq}, {why}" for seq, why in sorted(done.dropped.items())]
        stay = " and ".join(map(str, done.stay))
        lines.append(f"{name}: {stay or 'nothing'} can be restored" if done.dropped else f"{name}: nothing to repair")
    return says("\n".join(lines) or f"The store {repository.url} holds no checkpoint."), well


def known(repository: Repository, names: Sequence[str]) -> Sequence[str]:
    """Return these names, or all that there are.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    there = repository.names()
    if unknown := [name for name in names if name not in there]:
        raise UnknownCheckpoint(f"there is no checkpoint {unknown[0]!r} in {repository.url}")
    return names or there
