"""Training as the embedded study does it on two cores: two trainings at a time, on one thread each.

Beside plain eager PyTorch as one starts it: one training after the other, each on both threads. A second thread saves
little of a step at these widths, so that two threads do more in two trainings than in one.
"""

import contextlib
import multiprocessing
from multiprocessing.connection import Connection

import torch

from benchmarks.models import embedded_model
from benchmarks.row import Outcome, Row, Side, at_least, equal_within, timed
from benchmarks.training import EAGER, RECIPE, our_step, plain_step
from dit_scaling.config.recipe import Recipe

TRAININGS = 2
STEPS = 10
"""Of each training in one run, so that telling another process to go on is nothing beside them."""


def some_steps(side: Side, number: int) -> None:
    """So many runs of a side."""
    for _ in range(number):
        side.seconds()


def train_when_told(pipe: Connection, position: int, recipe: Recipe) -> None:
    """A process of its own: takes as many steps on one thread as it is told, and answers with the outcome so far."""
    torch.set_num_threads(1)
    side = our_step(*embedded_model(position), recipe)
    with contextlib.suppress(EOFError):  # at the other end nobody is left
        while True:
            some_steps(side, pipe.recv())
            pipe.send(side.outcome())


def side_by_side(position: int, recipe: Recipe) -> Side:
    """Trainings at the same time, in processes that end when the side is no longer needed."""
    context, pipes, outcomes = multiprocessing.get_context("spawn"), list[Connection](), list[Outcome]()
    for _ in range(TRAININGS):
        here, there = context.Pipe()
        context.Process(target=train_when_told, args=(there, position, recipe), daemon=True).start()
        there.close()  # so that a process that dies ends the wait for its answer
        pipes.append(here)

    def run() -> None:
        for pipe in pipes:
            pipe.send(STEPS)
        outcomes[:] = [pipe.recv() for pipe in pipes]

    return timed(run, lambda: outcomes[0])


def one_after_the_other(position: int) -> Side:
    """As many steps in this process, on all of its threads."""
    side = plain_step(*embedded_model(position))
    return timed(lambda: some_steps(side, TRAININGS * STEPS), side.outcome)


def pair_row(which: str, position: int, recipe: Recipe) -> Row:
    """Two trainings of a variant of the embedded study."""
    return Row(
        name=f"pair-embedded-{which}{'-compiled' if recipe.compile else ''}",
        what=f"{STEPS} steps of each of {TRAININGS} trainings of the embedded study's {which} variant, side by side"
        + (", with training.compile" if recipe.compile else ""),
        peer="the same model in eager PyTorch, AdamW's defaults, EMA per parameter, on both threads, one by one",
        make_ours=lambda _setting: side_by_side(position, recipe),
        make_peer=lambda _setting: one_after_the_other(position),
        agree=equal_within(1e-4),
        target=at_least(2.0),
    )


ROWS = tuple(
    pair_row(which, position, recipe)
    for recipe in ((EAGER, RECIPE) if RECIPE.compile else (EAGER,))
    for position, which in enumerate(("smallest", "largest"))
)
