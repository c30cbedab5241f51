"""Lightning: `Trainer(callbacks=[nbckpt.callbacks.Lightning("train")])` goes on in the middle of an epoch.

Lightning's own checkpoint knows the weights, optimizers, callbacks and how far the loops are. What it leaves out is
kept beside it: where the loader is, gradients that accumulate, the metrics of the epoch in progress, and random
state. Its loops have no hook where all of a batch is done and none of the next one begun, so the trainer's own
loops are watched there while a `fit` goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import Callback

from ...errors import OptionError
from ...state import randomness
from .session import Session


class Lightning(Callback):
    """Save a `Trainer.fit` as it goes, and go on with it, at the batch where it was.

    `name` is the checkpoint's, the options are those of `nbckpt.checkpointed`; `every` may count batches
    (`"500it"`). Fit with the same model, data and trainer again to resume: weights, optimizers, schedulers, loops,
    callbacks, accumulated gradients, the loader's order and random state go on as they were, which on a CPU gives
    the same weights bit for bit. Batches that are done are drawn once more from the loader and dropped.

        trainer = Trainer(max_epochs=10, callbacks=[nbckpt.callbacks.Lightning("train", every="10m")])
        trainer.fit(model, loader)
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
        self._options: dict[str, Any] = {"every": every, "store": store, "keep": keep, "fresh": fresh, "quiet": quiet}
        self._name = name
        self._session: Session | None = None
        self._saved: dict[str, Any] | None = None
        """What the snapshot holds, until the training stands where it was made."""
        self._undo: list[Callable[[], None]] = []
        self._before_epoch: dict[str, Any] | None = None
        """Random state before the loader was begun for this epoch; None for the first, which begins as it is built."""
        self._before_setup: dict[str, Any] | None = None

    # -- Lightning's hooks -----------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Find the newest snapshot, and have Lightning load it as it would its own."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise OptionError(
                "nbckpt.callbacks.Lightning trains in one process, and this trainer has "
                f"{trainer.world_size}. Nothing was run: set devices=1, or use Lightning's own checkpoints"
            )
        self._session = Session(self._name, "Lightning", **self._options)
        self._saved = self._session.begin()
        if self._saved is not None:
            trainer._checkpoint_connector._loaded_checkpoint = self._saved["lightning"]  # noqa: SLF001
        self._watch(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save what the training came to."""
        assert self._session is not None  # noqa: S101
        self._session.complete(lambda: self._gather(trainer, pl_module))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """A training that had come to its end was not run again: it is where it was."""
        if self._session is not None and self._saved is not None:
            self._saved = None
            self._session.go_on()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """The last snapshot stands."""
        if self._session is not None:
            self._session.stop()
            self._end()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Let go of everything."""
        self._end()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
        while self._undo:
            self._undo.pop()()

    # -- where the loops are watched -------------------------------------------------------------------------

    def _watch(self, trainer: Any) -> None:
        fit, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
        self._around(fit, "setup_data", lambda call: self._setting_up(fit, call))
        self._around(epoch, "on_run_start", lambda call, fetcher: self._epoch_begins(trainer, fetcher, call))
        self._around(epoch, "on_advance_end", lambda call, fetcher: self._batch_ended(trainer, fetcher, call))

    def _around(self, loop: Any, method: str, instead: Callable[..., None]) -> None:
        original = getattr(loop, method)
        setattr(loop, method, lambda *arguments: instead(original, *arguments))
        self._undo.append(lambda: delattr(loop, method))

    def _setting_up(self, fit: Any, call: Callable[[], None]) -> None:
        """The loaders are built, which may draw random numbers, and begun, which does."""
        if fit._combined_loader is None or fit._should_reload_train_dl:  # noqa: SLF001
            if self._saved is not None and self._before_setup is None:
                randomness.restore(self._saved["before_setup"]["global"])
            self._before_setup, self._before_epoch = _random(()), None
        call()

    def _epoch_begins(self, trainer: Any, fetcher: Any, call: Callable[[Any], None]) -> None:
        if self._saved is None:
            if trainer.current_epoch > 0:
                self._before_epoch = _random(_loaders(fetcher))
            call(fetcher)
            return
        call(fetcher)
        self._take_up(trainer, fetcher, self._saved)

    def _take_up(self, trainer: Any, fetcher: Any, saved: dict[str, Any]) -> None:
        """Stand where the snapshot was made, in the epoch that was in progress."""
        loaders = {"loaders": _loaders(fetcher)}
        self._before_epoch = saved["before_epoch"]
        if self._before_epoch is not None:
            randomness.restore(self._before_epoch["global"])
            randomness.restore_held(loaders, self._before_epoch["held"])
            fetched = fetcher.fetched
            iter(fetcher)
            fetcher.fetched += fetched
        for _ in range(saved["batches"]):
            if getattr(fetcher, "batches", None):  # some are drawn ahead
                fetcher.batches.append(next(fetcher.iterator))
                fetcher.batches.pop(0)
            else:
                next(fetcher.iterator)
        randomness.restore_held(loaders, saved["held"])
        _put_rest(trainer, saved["rest"])
        # what Lightning does over again after a restart was done before the snapshot was made
        fit = trainer.fit_loop
        for loop in (fit, fit.epoch_loop, *vars(fit.epoch_loop).values()):
            if hasattr(loop, "_restarting"):
                loop._restarting = False  # noqa: SLF001
        self._saved = None
        assert self._session is not None  # noqa: S101
        self._session.go_on()

    def _batch_ended(self, trainer: Any, fetcher: Any, call: Callable[[Any], None]) -> None:
        call(fetcher)
        if self._session is not None:
            self._session.step(lambda: self._gather(trainer, trainer.lightning_module), lambda: _progress(trainer))

    def _gather(self, trainer: Any, module: Any) -> dict[str, Any]:
        fetcher = trainer.fit_loop._data_fetcher  # noqa: SLF001
        held = _random(_loaders(fetcher))["held"] if fetcher is not None else {}
        return {
            "lightning": trainer._checkpoint_connector.dump_checkpoint(weights_only=False),  # noqa: SLF001
            "batches": trainer.fit_loop.epoch_loop.batch_progress.current.completed,
            "before_setup": self._before_setup,
            "before_epoch": self._before_epoch,
            "held": held,
            "rest": _rest(trainer, module),
        }


def _loaders(fetcher: Any) -> list[Any]:
    return list(fetcher.combined_loader.flattened)


def _random(loaders: Any) -> dict[str, Any]:
    return {"global": randomness.capture(), "held": randomness.capture_held({"loaders": list(loaders)})}


def _progress(trainer: Any) -> str:
    batch = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return f"epoch {trainer.current_epoch} of {trainer.max_epochs}, batch {batch} of {trainer.num_training_batches}"


_CONNECTOR = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics", "_first_loop_iter")
_LOGGED = ("value", "cumulated_batch_size", "has_reset", "_forward_cache", "_computed", "_update_count")
_METRIC = ("_computed", "_update_count")


def _rest(trainer: Any, module: Any) -> dict[str, Any]:
    """What Lightning's checkpoint leaves out, and the rest of an epoch depends on."""
    connector = trainer._logger_connector  # noqa: SLF001
    return {
        "gradients": {name: part.grad for name, part in module.named_parameters() if part.grad is not None},
        "buffers": dict(module.named_buffers()),
        "metrics": {name: _kept(part, (*part._defaults, *_METRIC)) for name, part in _metrics(module).items()},  # noqa: SLF001
        "logged": {
            key: (_meta(result.meta), _kept(result, _LOGGED))
            for key, result in trainer.fit_loop.epoch_loop._results.items()  # noqa: SLF001
            if result.is_tensor
        },
        "connector": _kept(connector, _CONNECTOR),
    }


def _put_rest(trainer: Any, rest: dict[str, Any]) -> None:
    import torch
    from lightning.pytorch.trainer.connectors.logger_connector import result as results

    module = trainer.lightning_module
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    for name, gradient in rest["gradients"].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    with torch.no_grad():
        for name, buffer in rest["buffers"].items():
            if name in buffers:
                buffers[name].copy_(buffer)
    for name, metric in _metrics(module).items():
        vars(metric).update(rest["metrics"].get(name, {}))
        metric.to(module.device)
    for key, (meta, kept) in rest["logged"].items():
        made = results._Metadata(**meta["own"])  # noqa: SLF001
        made.sync = results._Sync(fn=trainer.strategy.reduce, **meta["sync"])  # noqa: SLF001
        metric = results._ResultMetric(made, is_tensor=True)  # noqa: SLF001
        vars(metric).update(kept)
        trainer.fit_loop.epoch_loop._results[key] = metric.to(module.device)  # noqa: SLF001
    for name, value in rest["connector"].items():
        setattr(trainer._logger_connector, name, value)  # noqa: SLF001


def _metrics(module: Any) -> dict[str, Any]:
    """The torchmetrics that a module has: their state is no part of its own."""
    from torchmetrics import Metric

    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _meta(meta: Any) -> dict[str, Any]:
    """How a value was logged, without what leads to the trainer."""
    own = {field.name: getattr(meta, field.name) for field in dataclasses.fields(meta) if field.name != "_sync"}
    return {"own": own, "sync": {"_should": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}}


def _kept(thing: Any, names: Any) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}
