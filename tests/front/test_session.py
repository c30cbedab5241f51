"""What every library's callback is made of."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import nbckpt
import nbckpt.callbacks
from nbckpt.front.callbacks.session import Session
from nbckpt.run.notices.notice import Notice


@pytest.fixture
def store(workplace: Path) -> str:
    return str(workplace / "store")


def session(store: str, **options: Any) -> Session:
    return Session("train", "a library", store=store, every="1it", quiet=True, **options)


def train(store: str, steps: int, until: int | None = None, **options: Any) -> list[float]:
    """A library's loop: it draws random numbers, and may be killed after `until` steps."""
    run = session(store, **options)
    done: list[float] = []
    if saved := run.begin():
        done = saved["done"]
        run.go_on()
    try:
        while len(done) < steps and not run.finished:
            done.append(random.random())
            run.step(lambda: {"done": done}, f"step {len(done)} of {steps}")
            if len(done) == until:
                return done
        run.complete(lambda: {"done": done})
    finally:
        run.close()
    return done


@pytest.mark.parametrize("until", [1, 4])
def test_a_training_goes_on_with_its_state_and_its_random_numbers(store: str, until: int) -> None:
    random.seed(1)
    expected = [random.random() for _ in range(6)]
    random.seed(1)
    train(store, 6, until)
    random.seed(77)
    assert train(store, 6) == expected


def test_the_state_can_be_had_without_the_library(store: str) -> None:
    train(store, 6, 3)
    assert len(nbckpt.load("train", store=store)["done"]) == 3


def test_a_finished_training_is_known_to_be(store: str) -> None:
    done = train(store, 3)
    again = session(store)
    assert again.begin() == {"done": done}
    assert again.finished
    again.close()


def test_fresh_starts_over(store: str) -> None:
    train(store, 3)
    again = session(store, fresh=True)
    assert again.begin() is None
    again.close()


def test_a_notice_ends_a_training_at_its_next_step(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's loop is left by a KeyboardInterrupt, once what it has done is saved."""
    monkeypatch.setenv("NBCKPT_ON_PREEMPT", "stop")
    run = session(store)
    assert run.begin() is None
    run.departure.noticed(Notice("this machine is sold"))
    with pytest.raises(KeyboardInterrupt):
        run.step(lambda: {"done": [0.5]}, "step 1 of 6")
    run.close()
    assert nbckpt.load("train", store=store)["done"] == [0.5]
    assert len(train(store, 6)) == 6


def test_a_state_that_cannot_be_had_never_ends_the_training(store: str) -> None:
    """The run says that it is not protected, and computes on."""
    run = session(store)
    run.begin()

    def gather() -> dict[str, Any]:
        raise RuntimeError("the library has no state to give")

    assert not run.step(gather, "step 1")
    assert "no state to give" in run.status.unprotected
    assert not run.step(lambda: {"lock": __import__("threading").Lock()}, "step 2")
    assert run.step(dict, "step 3")
    assert not run.status.unprotected
    run.close()


def test_another_librarys_snapshot_is_refused(store: str) -> None:
    train(store, 3, 2)
    other = Session("train", "another library", store=store, quiet=True)
    with pytest.raises(nbckpt.CellChangedError, match="made by a library, not by another library"):
        other.begin()


def test_a_callback_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        nbckpt.callbacks.nonsense
