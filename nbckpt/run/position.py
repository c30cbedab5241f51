"""Where we are in a cell, and whether that place still exists after the cell was edited.

A statement is named by its path: `"2"` is the third statement of the cell, `"2.body.0"` the first one in its
body. Only statements at which a boundary can be are in the plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..errors import CellChangedError
from ..settings import OnChange

Kind = Literal["plain", "always", "for", "async for", "while", "if", "with", "try", "call", "comprehension"]
Where = Literal["before", "top", "call", "end"]

LOOPS = ("for", "async for", "while")
_TUPLES = ("binds", "eager", "reads", "imports", "rebinds")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the plan. `header`, `whole` and `body` are fingerprints of its code."""

    key: str
    kind: Kind
    header: str
    whole: str
    line: int
    label: str
    """How a person knows it: a loop by its variable."""
    code: str
    """Its first line."""
    body: str = ""
    """Of a loop."""
    nested: bool = False
    """For a loop: whether there are boundaries inside its body."""
    binds: tuple[str, ...] = ()
    """For a function or class: its name."""
    empties: bool = False
    """For a `with`: whether entering it opens a file for writing, which empties it."""
    eager: tuple[str, ...] = ()
    """For a function or class: the names that defining it reads."""
    last: int = 0
    """Its last line; for a loop, that of the only statement of its body, if there is but one."""
    gathers: str = ""
    """For the first clause of a comprehension, which is a loop: what that makes, a `list`, `set` or `dict`."""
    rivals: bool = False
    """For a function or class: whether the cell binds its name elsewhere, too."""
    over: str = ""
    """For a `for`: the fingerprint of what it goes over."""
    target: str = ""
    """For a `for` statement: what it binds to each item, as code, all of it."""
    reads: tuple[str, ...] = ()
    """The names that it reads, anywhere in it."""
    imports: tuple[str, ...] = ()
    """For an import: the names that it binds."""
    rebinds: tuple[str, ...] = ()
    """The names that it binds or deletes, anywhere in it."""


@dataclass(frozen=True, slots=True)
class Position:
    """A boundary: before a statement, at the top of a loop's next iteration, in a call inside of a statement (where
    the position in what is called says the rest), or the end of the cell.

    `turns` says for each loop around it how many iterations were begun (at a loop's own top: completed) and,
    where known, of how many; `taken` which way each `if` around it went.
    """

    where: Where
    key: str = ""
    turns: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    taken: Mapping[str, bool] = field(default_factory=dict)
    site: int = -1
    """For a statement in progress: which of its calls is."""

    @property
    def entered(self) -> list[str]:
        """The statements that are in progress, outermost first."""
        around = ancestors(self.key) if self.key else []
        return [*around, self.key] if self.where in ("top", "call") else around

    def completed(self, loop: str) -> int:
        """How many iterations of a loop around this position are done."""
        count = self.turns[loop][0]
        return count if self.where == "top" and loop == self.key else count - 1

    def say(self, name: str, loop: str) -> str:
        """How far a loop is, by the name that a person knows it by: `epoch 57 of 100`."""
        total = self.turns[loop][1]
        return f"{name} {self.completed(loop)}" + (f" of {total}" if total is not None else "")

    def to_json(self) -> dict[str, Any]:
        around = {"turns": dict(self.turns), "taken": dict(self.taken)}
        return {"where": self.where, "key": self.key, **around, "site": self.site}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Position:
        turns = {key: (count, total) for key, (count, total) in data["turns"].items()}
        return cls(data["where"], data["key"], turns, data["taken"], data.get("site", -1))


def ancestors(key: str) -> list[str]:
    """The statements around one, outermost first.

    >>> ancestors("3.body.2.orelse.1")
    ['3', '3.body.2']
    """
    words = key.split(".")
    return [".".join(words[:end]) for end in range(1, len(words), 2)]


def block_of(key: str) -> str:
    """The path that is common to a statement and its neighbours: `"3.body."` for `"3.body.2"`."""
    return key[: key.rfind(".") + 1]


def rank(place: Sequence[Position]) -> tuple[float, ...]:
    """How far a run of the same code has come, to be compared; `place` has a position for each layer of code.

    >>> rank([Position("top", "1", {"1": (3, 9)})]) < rank([Position("before", "1.body.0", {"1": (4, 9)})])
    True
    """
    found: list[float] = []
    for position in place:
        if position.where == "end":
            return (math.inf,)
        words = position.key.split(".")
        for index, key in enumerate([*ancestors(position.key), position.key]):
            found.append(int(words[2 * index]))
            if key in position.turns:
                found.append(position.completed(key))
            if block := words[2 * index + 1 : 2 * index + 2]:
                found.append(block == ["orelse"])
        if position.where == "call":
            found.append(position.site + 1)
    return tuple(found)


class Plan:
    """The statements of one cell, in order."""

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self.statements = dict(statements)
        self._json: list[dict[str, Any]] | None = None
        """What each snapshot is told, made once."""

    def __getitem__(self, key: str) -> Statement:
        return self.statements[key]

    def siblings(self, block: str) -> list[Statement]:
        """The statements of one block, in order."""
        return [statement for key, statement in self.statements.items() if block_of(key) == block]

    def has_loop_inside(self, key: str) -> bool:
        """Whether a loop's body has a loop of its own."""
        inside = (f"{key}.body.", f"{key}.comp.")
        return any(name.startswith(inside) and one.kind in LOOPS for name, one in self.statements.items())

    def comes_after(self, key: str, other: str) -> bool:
        """Whether a statement stands after another one, which may be the end (`""`)."""
        order = list(self.statements)
        return other in self.statements and order.index(key) > order.index(other)

    def to_json(self) -> list[dict[str, Any]]:
        if self._json is None:
            self._json = [asdict(statement) for statement in self.statements.values()]
        return self._json

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Plan:
        rows = [{**row, **{name: tuple(row.get(name, ())) for name in _TUPLES}} for row in data]
        return cls({row["key"]: Statement(**row) for row in rows})

    def same_as(self, other: Plan) -> bool:
        """Whether another plan is of the same code, and has all boundaries of this one.

        It has more of them where more resumable functions are known, whose calls were plain statements before.
        """
        mine, theirs = ([one.whole for one in plan.siblings("")] for plan in (self, other))
        kinds = {key: one.kind for key, one in other.statements.items()}
        return mine == theirs and all(one.kind in (kinds.get(key), "plain") for key, one in self.statements.items())

    def begun(self, position: Position) -> list[Statement]:
        """The statements that were begun by then, as they stand in the code."""
        order = list(self.statements)
        at = order.index(position.key) + (position.where != "before") if position.key else len(order)
        return [self[key] for key in order[:at]]

    def between(self, key: str, position: Position) -> list[Statement]:
        """The statements behind one that had completed at a position, or are loops of which iterations had."""
        begun = self.begun(position)
        behind = begun[begun.index(self[key]) + 1 :]
        open_still = {name for name in position.entered if self[name].kind not in LOOPS or not position.completed(name)}
        return [one for one in behind if one.kind != "always" and one.key not in open_still]

    def read_by(self, position: Position) -> set[str]:
        """What was read by then: by statements that were begun, and by definitions here that these use."""
        begun = self.begun(position)
        reads: dict[str, set[str]] = {}
        for one in self.statements.values():
            for name in one.binds:
                reads.setdefault(name, set()).update(one.reads)
        found: set[str] = set()
        waiting = {name for one in begun if one.kind != "always" for name in one.reads}
        while waiting := waiting - found:
            found |= waiting
            waiting = set().union(*(reads.get(name, ()) for name in waiting))
        return found

    def describe(self, position: Position) -> str:
        """Say where a position is: `epoch 57 of 100, batch 3 of 40`, or the line it stands before."""
        if position.where == "end":
            return "the end"
        loops = [key for key in position.entered if self[key].kind in LOOPS]
        words = [self._progress(key, position) for key in loops]
        if position.where == "before" and not loops:
            words.append(f"line {self[position.key].line}")
        return ", ".join(words)

    def _progress(self, key: str, position: Position) -> str:
        name = "iteration" if self[key].kind == "while" or self[key].label == "_" else self[key].label
        return position.say(name, key)


EDITED = "{} was edited: what had come of it by then stands"


@dataclass(frozen=True, slots=True)
class Match:
    """A saved position found again in today's cell."""

    position: Position
    renamed: Mapping[str, str]
    """From the saved path of each statement in progress to today's."""
    extended: frozenset[str]
    """Loops in progress whose header changed: they may go on only if what is done is the same."""
    notices: tuple[str, ...]
    sources: tuple[str, str]
    """The saved code and today's."""
    subject: str
    """What a person calls it."""

    def changed(self, what: str) -> CellChangedError:
        """Say that the code cannot be gone on with, and show what changed."""
        return _changed(what, self.sources, self.subject)


def match(
    saved: Plan, now: Plan, position: Position, on_change: OnChange, sources: tuple[str, str], subject: str = "the cell"
) -> Match:
    """Find a saved position in today's code, which may have been edited.

    What was not reached may change freely, and so may the body of a loop in progress. What had completed
    may not, except for imports and definitions, which run again.

    Raises:
        CellChangedError: the position cannot be told, or means something else now; shows what changed.
    """
    if saved.same_as(now):
        return Match(position, {key: key for key in position.entered}, frozenset(), (), sources, subject)
    finder = _Finder(saved, now, position, on_change, sources, subject)
    if on_change == "error":
        raise finder.changed("it was edited")
    return finder.find()


class _Finder:
    def __init__(
        self,
        saved: Plan,
        now: Plan,
        position: Position,
        on_change: OnChange,
        sources: tuple[str, str],
        subject: str,
    ) -> None:
        self.saved, self.now, self.position, self.subject = saved, now, position, subject
        self.forced = on_change == "resume"
        self.sources = sources
        self.renamed: dict[str, str] = {}
        self.extended: set[str] = set()
        self.notices: list[str] = []

    def find(self) -> Match:
        self.note_definitions()
        if self.position.where == "end":
            self.check_prefix(self.saved.siblings(""), self.now.siblings(""), in_loop=False)
            following = self._next_after(self.saved.siblings(""), "")
            place = replace(self.position, where="before", key=following) if following else self.position
            return Match(place, {}, frozenset(), tuple(self.notices), self.sources, self.subject)
        block = ""
        in_loop = False
        for key in self.position.entered:
            found = self.find_entered(key, block, in_loop=in_loop)
            self.renamed[key] = found
            if self.saved[key].kind in LOOPS:
                in_loop = True
                self.note_body(key, found)
            block = found + key_step(key, self.position.key)
        key = self.position.key
        if self.position.where == "before":
            prefix = self._before(self.saved, key)
            self.check_prefix(prefix, self.now.siblings(block), in_loop=in_loop)
            ahead = self.saved.siblings(block_of(key))[len(prefix) :] if self.saved[key].kind == "always" else ()
            following = self._next_after(prefix, block, ahead)
            if following is None and block:
                raise self.changed(f"the rest of the block at line {self.saved[key].line} is gone")
            place = Position("before", following) if following else Position("end")
        else:
            place = replace(self.position, key=self.renamed[key])
        place = replace(
            place,
            turns={self.renamed[old]: turn for old, turn in self.position.turns.items()},
            taken={self.renamed[old]: way for old, way in self.position.taken.items()},
        )
        extended = frozenset(self.extended)
        return Match(place, self.renamed, extended, tuple(self.notices), self.sources, self.subject)

    def find_entered(self, key: str, block: str, *, in_loop: bool) -> str:
        """Find a compound statement in progress among today's statements of its block."""
        old = self.saved[key]
        prefix = self._before(self.saved, key)
        today = self.now.siblings(block)
        self.check_prefix(prefix, today, in_loop=in_loop)
        rest = _steps(today)[len(_steps(prefix)) :] if not in_loop else _steps(today)
        candidates = [new for new in rest if new.kind == old.kind and new.header == old.header]
        if candidates and (in_loop or candidates[0] is rest[0]):
            index = len(_steps(prefix))
            return min(candidates, key=lambda new: abs(_steps(today).index(new) - index)).key
        if rest and (new := rest[min(len(_steps(prefix)), len(rest) - 1)] if in_loop else rest[0]).kind == old.kind:
            if old.kind in ("for", "async for"):
                if old.label != new.label and old.over != new.over and not self.forced:
                    raise self.changed(
                        f"line {old.line} was in progress, and line {new.line} is another loop: {old.code}"
                    )
                self.extended.add(new.key)
                return new.key
            if self.forced and old.kind not in ("call", "comprehension"):
                return new.key
        raise self.changed(f"line {old.line} was in progress: {old.code}")

    def check_prefix(self, done: Sequence[Statement], today: Sequence[Statement], *, in_loop: bool) -> None:
        """Completed statements must be the same; inside a loop's body, that is the body's own notice."""
        if in_loop or self.forced:
            return
        for old, new in zip(_steps(done), _steps(today), strict=False):
            if old.whole != new.whole:
                raise self.changed(f"line {new.line} had run as line {old.line}: {old.code}")
        if len(_steps(today)) < len(_steps(done)):
            raise self.changed("statements that had run are gone")

    def note_body(self, key: str, found: str) -> None:
        old, new = self.saved[key], self.now[found]
        if old.body != new.body:
            done = self.position.completed(key)
            inside = self.position.where != "top" or key != self.position.key
            ran = f"{done} iterations ran the old code" + (", and the one in progress in part" if inside else "")
            self.notices.append(f"the body of the {loop_word(new)} at line {new.line} was edited: {ran}")

    def note_definitions(self) -> None:
        """Say which functions and classes were edited that had been used: what came of that stands."""
        now = {(name, one.whole) for one in self.now.statements.values() for name in one.binds}
        before = {(name, one.whole) for one in self.saved.statements.values() for name in one.binds}
        edited = {name for name, _ in before - now}
        self.notices += [EDITED.format(name) for name in sorted(edited & self.saved.read_by(self.position))]

    def _before(self, plan: Plan, key: str) -> list[Statement]:
        row = plan.siblings(block_of(key))
        return row[: [statement.key for statement in row].index(key)]

    def _next_after(self, done: Sequence[Statement], block: str, ahead: Sequence[Statement] = ()) -> str | None:
        """The first of today's statements of a block that was not completed.

        Imports and definitions run again anyway, and only count as such where the run stood before one, the first of
        those `ahead`: then it stands behind the last of those that it had come to, be they edited since.
        """
        left, found = len(_steps(done)), None
        ran, coming = Counter(one.whole for one in done), Counter(one.whole for one in ahead)
        names = {name for one in done for name in one.binds}
        for statement in self.now.siblings(block):
            if left == 0 and statement.kind != "always":
                return found or statement.key
            had_run = ran[statement.whole] > 0 or not (coming[statement.whole] or names.isdisjoint(statement.binds))
            ran[statement.whole] -= 1
            if left == 0 and ahead:
                found = None if had_run else found or statement.key
            left -= statement.kind != "always"
        return found

    def changed(self, what: str) -> CellChangedError:
        return _changed(what, self.sources, self.subject)


def _changed(what: str, sources: tuple[str, str], subject: str) -> CellChangedError:
    import difflib

    before, now = (text.splitlines() for text in sources)
    diff = difflib.unified_diff(before, now, "saved", "now", lineterm="", n=1)
    return CellChangedError(
        f"{subject} is not the one that was saved: {what}. Nothing was run and the snapshots are kept: "
        "undo the edit, go on from the snapshot with --on-change resume, or start over with --fresh.\n"
        + "\n".join(diff)
    )


def loop_word(statement: Statement) -> str:
    """What a loop is to a person."""
    return "comprehension" if ".comp." in statement.key else "loop"


def _steps(statements: Sequence[Statement]) -> list[Statement]:
    """The statements that must not change once they have run."""
    return [statement for statement in statements if statement.kind != "always"]


def key_step(key: str, inner: str) -> str:
    """What leads from a statement into the block of it that holds `inner`: `".body."`, or nothing."""
    rest = inner[len(key) :]
    return f".{rest.split('.')[1]}." if rest.startswith(".") else ""
