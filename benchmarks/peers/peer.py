"""What a peer has to do to take part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from .. import watch
from ..workloads import Variables, Workload


class Peer(ABC):
    """Saves the state of one loop below `folder`, and restores it in another process."""

    imports: tuple[str, ...] = ()
    """The modules that it takes: imported before anything is measured."""
    arrays_only = False
    """Whether it saves arrays and nothing else."""
    verifies = False
    """Whether a restore finds out that what was saved is damaged, at least some of it."""

    def __init__(self, workload: Workload, scale: float, folder: Path) -> None:
        self.workload, self.scale, self.folder = workload, scale, folder
        self._live: Variables = {}

    def live(self) -> Variables:
        """The variables as the loop has them now."""
        return dict(dict.items(self._live))  # past those who watch what is read of it

    @classmethod
    def suits(cls, workload: Workload) -> bool:
        """Whether people would use it for that state."""
        return workload.arrays is not None or not cls.arrays_only

    def place(self, number: int) -> Path:
        """Where the save of that number goes."""
        return self.folder / f"save-{number}"

    def run(self, variables: Variables) -> None:
        """Go through the loop, which ends the process when it has seen enough."""
        self._live = variables
        code = compile(self.workload.body, self.workload.name, "exec")
        turn = 0
        while True:
            variables["turn"] = turn
            watch.begins(turn)
            exec(code, variables)  # noqa: S102 - the same text that a cell runs
            watch.ends(turn)
            if turn % watch.CYCLE == watch.CYCLE - 1:
                self.save(variables, turn // watch.CYCLE + 1)
            turn += 1

    def save(self, variables: Variables, number: int) -> None:
        """Save; what the loop does next must not change what is saved."""
        raise NotImplementedError

    def wait(self, number: int) -> None:
        """Return when that save is on the disk."""
        watch.settle(self.place(number))

    @abstractmethod
    def restore(self, number: int) -> Variables:
        """What was saved, in the process that asks."""

    def ready(self) -> None:
        """Make what a restore has to have at hand: that is not timed."""
        return


class ArraysPeer(Peer):
    """A peer that saves arrays: they are put back into a state that the program makes as it did at first."""

    arrays_only = True
    _made: Variables

    def ready(self) -> None:
        self._made = self.workload.make(self.scale)

    def arrays(self, variables: Variables) -> Variables:
        """The arrays of the state, by name."""
        assert self.workload.arrays is not None
        return self.workload.arrays(variables)

    def put(self, arrays: Variables) -> Variables:
        """The state with these arrays in it."""
        assert self.workload.put is not None
        self.workload.put(self._made, arrays)
        return self._made


def saved(variables: Variables) -> Variables:
    """The variables that belong to the state: not what `exec` and the loop add to them."""
    return {name: value for name, value in variables.items() if name not in ("__builtins__", "loss")}
