"""Keras: `model.fit(..., callbacks=[nbckpt.callbacks.Keras("train")])` goes on in the middle of an epoch.

Keras draws batches from an iterator that was made before its callbacks are asked. So the batches that are done are
drawn once more, with the random state that there was, and dropped, until the training stands where it was saved.
Then the variables, what the other callbacks count, and the random state are put back.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np

from ...errors import CellChangedError, OptionError
from ...state import pickling, randomness
from .counts import counts_of, put_counts
from .session import Session

_NOT_COUNTED = frozenset({"model", "_model", "params", "progbar", "target"})


class Keras(keras.callbacks.Callback):
    """Save a `fit` as it goes, and go on with it, at the batch where it was.

    `name` is the checkpoint's, the options are those of `nbckpt.checkpointed`; `every` may count batches
    (`"500it"`). Build and fit the same model again to resume: weights, optimizer, metrics, history, and what other
    callbacks count (early stopping, learning rates) go on as they were, which on a CPU gives the same weights bit
    for bit. For the same order of shuffled batches, call `keras.utils.set_random_seed` before `fit`.

        keras.utils.set_random_seed(1)
        model.fit(x, y, epochs=10, callbacks=[nbckpt.callbacks.Keras("train", every="10m")])
    """

    def __init__(
        self,
        name: str,
        *,
        every: str | float | None = None,
        store: str | None = None,
        keep: int | None = None,
        fresh: bool | None = None,
        quiet: bool | None = None,
    ) -> None:
        super().__init__()
        if keras.backend.backend() != "tensorflow":
            raise OptionError(
                "nbckpt.callbacks.Keras knows how Keras trains with TensorFlow, and this is Keras with "
                f"{keras.backend.backend()}: write the loop yourself, in a checkpointed cell"
            )
        self._name = name
        self._options: dict[str, Any] = {"every": every, "store": store, "keep": keep, "fresh": fresh, "quiet": quiet}
        self._session: Session | None = None
        self._saved: dict[str, Any] | None = None
        """What the snapshot holds, until the training stands where it was made."""
        self._train: Any = None
        """The model's own step, while batches are dropped."""
        self._others: list[Any] = []
        self._begun: dict[str, Any] = {}
        """Random state when the training was begun."""
        self._epoch = 0

    # -- Keras's hooks ---------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's signature
        """Find the newest snapshot, and draw the batches of finished epochs once more."""
        if self._session is not None:
            self._session.close()
        self._session = Session(self._name, "Keras", **self._options)
        fit = _locals_of_fit()
        self._others = [callback for callback in fit["callbacks"].callbacks if callback is not self]
        saved = self._saved = self._session.begin()
        begun = randomness.capture()
        self._begun = saved["begun"] if saved else begun
        if saved is None:
            return
        iterator = fit["epoch_iterator"]
        if not self.model._compile_metrics.built:  # noqa: SLF001 - Keras builds them with the first batch
            self.model._symbolic_build(data_batch=iterator._get_iterator().element_spec)  # noqa: SLF001
        if len(saved["variables"]) != len(self._variables()):
            self._session.close()
            raise CellChangedError(
                f"checkpoint {self._name!r} is of a model with {len(saved['variables'])} variables, and this one has "
                f"{len(self._variables())}. Nothing was run: use another name, or start over with fresh=True"
            )
        if self._session.finished and (saved["stopped"] or fit["epochs"] <= saved["epoch"]):
            self.model._initial_epoch = fit["epochs"]  # noqa: SLF001 - as Keras's own BackupAndRestore does
            return
        if fit["shuffle"] and not _same_order(begun, saved["begun"]):
            self._session.status.notice(
                "the seed was not set before fit, or was another one, so the epoch in progress goes on with batches "
                "in another order: call keras.utils.set_random_seed before the model is built"
            )
        randomness.restore(saved["begun"])
        for _ in range(fit["initial_epoch"], saved["epoch"]):
            with iterator.catch_stop_iteration():
                for *_, batches in iterator:
                    _drop(batches, iterator.steps_per_execution)
        self.model._initial_epoch = saved["epoch"]  # noqa: SLF001
        if saved["batch"]:
            self._train, self.model.train_function = self.model.train_function, self._dropping(iterator, saved["logs"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """An epoch begins: the one in progress was saved in its middle or before it."""
        self._epoch = epoch
        if self._saved is not None and not self._saved["batch"]:
            self._arrive()
            self.model.reset_metrics()  # they were those of the epoch before

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A batch is done, or was drawn and dropped."""
        if self._saved is not None:
            if batch + 1 >= self._saved["batch"]:
                self._arrive()
            return
        assert self._session is not None  # noqa: S101
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        self._session.step(
            lambda: self._gather(self._epoch, batch + 1, logs),
            lambda: f"epoch {self._epoch + 1} of {epochs}, batch {batch + 1}" + (f" of {steps}" if steps else ""),
        )

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Save what the training came to; one that had come to its end is put back."""
        assert self._session is not None  # noqa: S101
        if self._saved is not None:
            self._arrive()
            self._session.finish()
        else:
            stopped = bool(self.model.stop_training)
            self._session.complete(lambda: {**self._gather(self._epoch + 1, 0, {}), "stopped": stopped})
        self.model._initial_epoch = None  # noqa: SLF001
        self._session.close()
        self._session = None

    # -- state -----------------------------------------------------------------------------------------------

    def _variables(self) -> list[Any]:
        model = self.model
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return [*model.variables, *getattr(model.optimizer, "variables", ()), *model.metrics_variables]

    def _gather(self, epoch: int, batch: int, logs: Any) -> dict[str, Any]:
        return {
            "variables": [np.asarray(variable.value) for variable in self._variables()],
            "epoch": epoch,
            "batch": batch,
            "logs": dict(logs or {}),
            "counts": counts_of(self._others, _NOT_COUNTED),
            "begun": self._begun,
            "stopped": False,
        }

    def _arrive(self) -> None:
        """The training stands where it was saved: all is as it was there."""
        saved, self._saved = self._saved, None
        assert saved is not None  # noqa: S101
        assert self._session is not None  # noqa: S101
        if self._train is not None:
            self.model.train_function, self._train = self._train, None
        for variable, value in zip(self._variables(), saved["variables"], strict=True):
            variable.assign(value)
        put_counts(self._others, saved["counts"])
        self._session.go_on()

    def _dropping(self, iterator: Any, logs: Any) -> Any:
        """In place of the model's step: draw what it would train on."""

        def drop(batches: Any) -> Any:
            _drop(batches, iterator.steps_per_execution)
            return logs

        return drop


def _drop(batches: Any, count: Any) -> None:
    for _ in range(int(count)):
        next(batches)


def _same_order(now: Any, then: Any) -> bool:
    """Whether the seeds that shuffling took from TensorFlow's were the same ones."""
    known = now.get("tensorflow", {})
    return known.get("seed") is not None and pickling.digest(known) == pickling.digest(then.get("tensorflow"))


def _locals_of_fit() -> dict[str, Any]:
    """What `fit` has at hand: Keras gives its callbacks neither the iterator nor one another."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to it
    while frame is not None and not (frame.f_code.co_name == "fit" and "epoch_iterator" in frame.f_locals):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        raise OptionError("nbckpt.callbacks.Keras works in model.fit: give it to fit(..., callbacks=[...])")
    return frame.f_locals
