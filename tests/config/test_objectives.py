"""Objectives in a config: one for the study, others by a variant's name, and samplers that fit."""

from typing import Any

import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.config import Stages, parse_study
from dit_scaling.config.study import Study
from dit_scaling.diffusion.process import PAPER_PROCESS, FlowSettings
from dit_scaling.paper.deviations import compare_protocol
from jobs import CONFIG

FLOW = FlowSettings(objective="flow")
BOTH = ["DiT-Nano/2", "DiT@flow-Nano/2"]


def study(**changes: Any) -> Study:
    """The small study; ``training`` and ``sampling`` are added to its own."""
    nested = {key: {**CONFIG[key], **changes.pop(key)} for key in ("training", "sampling") if key in changes}
    return parse_study({**CONFIG, **nested, **changes})


def of_both() -> Study:
    return study(variants=BOTH, sampling={"samplers": {"flow": "heun"}})


def test_two_objectives_of_one_network_are_runs_of_their_own() -> None:
    stages = Stages(of_both(), "images")
    ddpm, flow = stages.train("DiT-Nano-2", 0), stages.train("DiT@flow-Nano-2", 0)
    assert (ddpm.diffusion, flow.diffusion) == (PAPER_PROCESS, FLOW)
    assert [stages.sample(slug, 0, 4, 1.0).sampler for slug in ("DiT-Nano-2", "DiT@flow-Nano-2")] == ["ddpm", "heun"]
    assert [row.sampler for row in stages.aggregate().evaluations] == ["ddpm", "heun"]
    preflight = stages.preflight()
    assert preflight.diffusion == PAPER_PROCESS
    assert [(some.diffusion, some.sampling.sampler) for some in preflight.further] == [(FLOW, "heun")]


def test_what_is_beside_a_variant_changes_nothing_of_it() -> None:
    alone, beside = Stages(study(), "images"), Stages(of_both(), "images")
    assert alone.train("DiT-Nano-2", 0).digest == beside.train("DiT-Nano-2", 0).digest
    assert alone.sample("DiT-Nano-2", 0, 4, 1.0).digest == beside.sample("DiT-Nano-2", 0, 4, 1.0).digest


def test_an_objective_of_the_whole_study_makes_the_weights_of_one_that_a_name_says() -> None:
    """But for the name they are the same settings."""
    whole = Stages(study(training={"objective": "flow"}, sampling={"sampler": "heun"}), "images")
    named = Stages(of_both(), "images").train("DiT@flow-Nano-2", 0)
    ours = whole.train("DiT-Nano-2", 0)
    assert ours.diffusion == named.diffusion == FLOW
    assert ours.variant == named.variant.model_copy(update={"objective": None})
    assert whole.preflight().further == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"training": {"objective": "flow"}},
            "sampling.sampler: ddpm samples networks of objective ddpm, but the objective of DiT-Nano/2 is flow; "
            "choose euler, heun or euler-maruyama",
        ),
        (
            {"variants": BOTH},
            "sampling.sampler: ddpm samples networks of objective ddpm, but the objective of DiT@flow-Nano/2 is flow; "
            "choose euler, heun or euler-maruyama under sampling.samplers: {flow: ...}",
        ),
        (
            {"sampling": {"sampler": "heun"}},
            "sampling.sampler: heun samples networks of objective flow, but the objective of DiT-Nano/2 is ddpm; "
            "choose ddpm, ddim or dpm-solver",
        ),
        (
            {"variants": BOTH, "sampling": {"samplers": {"flow": "ddim"}}},
            "sampling.samplers.flow: ddim samples networks of objective ddpm",
        ),
        ({"sampling": {"samplers": {"flow": "heun"}}}, "sampling.samplers.flow: no variant has this objective"),
        ({"variants": ["DiT@ddpm-Nano/2"]}, "DiT@ddpm-Nano/2: ddpm is the objective of the study; leave out @ddpm"),
        ({"variants": ["DiT@score-Nano/2"]}, "score"),
        ({"variants": ["Net-Nano/2"]}, "'Net-Nano/2' is not a variant name. Write DiT-SIZE/PATCH"),
        ({"diffusion": {"schedule": "zero-snr"}}, "diffusion.prediction: epsilon tells nothing of the image"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        study(**changes)
    assert words in str(refusal.value)


def test_the_protocol_table_says_what_is_not_the_papers() -> None:
    def rows(some: Study) -> dict[str, str]:
        return {row.setting: row.ours for row in compare_protocol(some, None)}

    assert {"objective", "parametrisation"} & rows(study()).keys() == set()
    mixed = rows(of_both())
    assert mixed["objective"] == (
        "noise and variance (DDPM, hybrid loss), velocity of the linear path (flow matching), uniform times"
    )
    assert mixed["sampler"] == "ancestral, learned variance, 2 steps; Heun, deterministic, 2 steps"
    mup = rows(study(training={"parametrisation": "mup", "mup_base_width": 16}))
    assert mup["parametrisation"] == "muP, base width 16"
