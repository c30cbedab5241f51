"""Hugging Face's Trainer: `trainer.train(resume_from_checkpoint=callback.checkpoint())` goes on at its batch.

The Trainer saves itself into a folder; a snapshot is that folder, and random state. So what it knows how to save
(optimizer, scheduler, scaler, the state of each random generator, how many batches were seen) is what comes back,
and its own resume does the rest.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ...errors import OptionError
from .session import Session


class Transformers(TrainerCallback):
    """Save a `Trainer.train` as it goes, and go on with it, at the batch where it was.

    `name` is the checkpoint's, the options are those of `nbckpt.checkpointed`; `every` may count optimizer steps
    (`"500it"`). Snapshots are signed, complete or not there at all, and can go to any store.

        callback = nbckpt.callbacks.Transformers("train", every="10m")
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[callback])
        trainer.train(resume_from_checkpoint=callback.checkpoint())
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
        options: dict[str, Any] = {"every": every, "store": store, "keep": keep, "fresh": fresh, "quiet": quiet}
        self._session = Session(name, "transformers", **options)
        self._begun = False
        self._wanted = self._last = False
        self._ours: dict[str, Any] = {}
        """The settings to put back after a save that only a snapshot asked for."""
        self._place: Any = None

    def checkpoint(self) -> str | bool:
        """The folder with the newest snapshot, for `resume_from_checkpoint`; False if there is none.

        Raises:
            StoreError: the store cannot be read or written.
        """
        saved = self._session.begin()
        self._begun = True
        if saved is None:
            return False
        self._place = tempfile.TemporaryDirectory(prefix="nbckpt-")
        folder = Path(self._place.name) / f"{PREFIX_CHECKPOINT_DIR}-{saved['step']}"
        for name, content in saved["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return str(folder)

    # -- the Trainer's hooks ---------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:  # noqa: ARG002
        """Begin, if nobody asked for the checkpoint; else the Trainer has it by now."""
        if args.save_only_model:
            raise OptionError(
                "nbckpt.callbacks.Transformers needs what save_only_model=True leaves out to go on. Nothing was run: "
                "set it to False"
            )
        if not self._begun:
            self._begun = True
            if self._session.begin() is not None:
                self._session.close()
                raise OptionError(
                    f"checkpoint {self._session.name!r} has a snapshot, and the training was started without it. "
                    "Nothing was run: call trainer.train(resume_from_checkpoint=callback.checkpoint()), or give the "
                    "callback fresh=True"
                )
        if self._session.restore.saved is not None:
            self._session.go_on()

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> Any:  # noqa: ARG002
        """Have the Trainer save itself when a snapshot is due, and at the end."""
        self._last = state.global_step >= state.max_steps
        if self._session.wants(f"step {state.global_step} of {state.max_steps}") or self._last:
            if not control.should_save:  # it is for the snapshot only: no folder of the user's is to go for it
                self._ours = {name: getattr(args, name) for name in ("save_total_limit", "push_to_hub")}
                args.save_total_limit, args.push_to_hub = None, False
            self._wanted = control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **options: Any) -> None:  # noqa: ARG002
        """The Trainer has saved itself: put that into the store."""
        if not self._wanted:
            return
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        keep = self._session.complete if self._last else self._session.take
        keep(lambda: _read(folder, state.global_step))
        if self._ours:
            shutil.rmtree(folder, ignore_errors=True)
            vars(args).update(self._ours)
        self._wanted, self._ours = False, {}

    def on_train_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:  # noqa: ARG002
        """Let go of everything."""
        self._session.close()
        if self._place is not None:
            self._place.cleanup()


def _read(folder: Path, step: int) -> dict[str, Any]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {"step": step, "files": files}
