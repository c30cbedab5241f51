"""Those that save any object: pickle, joblib and dill, the dict of variables as a whole."""

from __future__ import annotations

import pickle

from ..workloads import Variables
from .peer import Peer, saved


class Pickle(Peer):
    """`pickle.dump`, protocol 5."""

    def save(self, variables: Variables, number: int) -> None:
        self.place(number).mkdir()
        with (self.place(number) / "state.pickle").open("wb") as file:
            pickle.dump(saved(variables), file, 5)

    def restore(self, number: int) -> Variables:
        with (self.place(number) / "state.pickle").open("rb") as file:
            found: Variables = pickle.load(file)
        return found


class Joblib(Peer):
    """`joblib.dump`, without compression."""

    imports = ("joblib",)

    def save(self, variables: Variables, number: int) -> None:
        import joblib

        self.place(number).mkdir()
        joblib.dump(saved(variables), self.place(number) / "state.joblib")

    def restore(self, number: int) -> Variables:
        import joblib

        found: Variables = joblib.load(self.place(number) / "state.joblib")
        return found


class Dill(Peer):
    """`dill.dump` of the variables, what `dump_session` does with a module's."""

    imports = ("dill",)

    def save(self, variables: Variables, number: int) -> None:
        import dill

        self.place(number).mkdir()
        with (self.place(number) / "state.dill").open("wb") as file:
            dill.dump(saved(variables), file)

    def restore(self, number: int) -> Variables:
        import dill

        with (self.place(number) / "state.dill").open("rb") as file:
            found: Variables = dill.load(file)
        return found
