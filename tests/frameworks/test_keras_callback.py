"""`model.fit`, stopped in the middle of an epoch and called again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nbckpt.callbacks

from .conftest import needs

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) + RNG.normal(size=(40, 1))).astype("float32")


pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),  # of Keras's own variables
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
]


class Killed(Exception):
    pass


def fit(store: str, dies_at: int | None = None, *, epochs: int = 4, of: str = "arrays") -> Any:
    """Build a model and fit it, from the top, as a new process would."""
    import keras
    import tensorflow as tf

    class Dying(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if int(self.model.optimizer.iterations) == dies_at:
                raise Killed

    class Data(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.order = np.arange(5)

        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            start = 8 * self.order[index]
            return X[start : start + 8], Y[start : start + 8]

        def on_epoch_end(self) -> None:
            np.random.shuffle(self.order)

    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(8), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse", metrics=["mae"])
    callbacks: list[Any] = [
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5),
        Dying(),
    ]
    if store:
        callbacks.insert(1, nbckpt.callbacks.Keras("train", store=store, every="1it", quiet=True))
    data: dict[str, Any] = {"x": X, "y": Y, "batch_size": 8}
    if of == "tf.data":
        data = {"x": tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40, seed=2).batch(8)}
    elif of == "PyDataset":
        data = {"x": Data()}
    history = model.fit(**data, epochs=epochs, validation_data=(X[:8], Y[:8]), callbacks=callbacks, verbose=0)
    weights = [weight.tobytes() for weight in model.get_weights()]
    return weights, history.history, float(model.optimizer.learning_rate), float(np.random.rand())


@pytest.mark.parametrize(("of", "dies_at"), [("arrays", 3), ("arrays", 10), ("tf.data", 8), ("PyDataset", 12)])
def test_a_fit_goes_on_at_its_batch(of: str, dies_at: int, workplace: Path) -> None:
    """Weights, history, rates and order are those of an uninterrupted fit; a finished one is not run again."""
    needs("keras")
    store = str(workplace / "store")
    plain = fit("", of=of)
    with pytest.raises(Killed):
        fit(store, dies_at, of=of)
    assert fit(store, of=of) == plain
    assert fit(store, 0, of=of)[:3] == plain[:3], "finished, so that no batch is begun"


def test_a_finished_fit_goes_on_for_more_epochs(workplace: Path) -> None:
    needs("keras")
    store = str(workplace / "store")
    fit(store, epochs=2)
    assert fit(store, epochs=4)[1] == fit("", epochs=4)[1]
