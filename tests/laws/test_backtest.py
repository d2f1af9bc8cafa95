"""Forward tests on published figures: how many, how far off, how often inside, and nothing fitted that is predicted."""

import numpy as np
import pytest

from dit_scaling.claims.fits import fit_power_law
from dit_scaling.common.errors import UserError
from dit_scaling.laws.backtest import Prediction, back_test, summarise, tabulate
from dit_scaling.laws.curve import fit_curve
from dit_scaling.laws.laws_text import describe_backtest
from dit_scaling.laws.sizes_law import FORMS, fit_sizes
from dit_scaling.paper.published import convergence, table4
from pipeline import ROOT


@pytest.fixture(scope="module")
def predictions() -> list[Prediction]:
    return back_test()


def test_the_field_is_predicted_as_well_as_the_docs_say(predictions: list[Prediction]) -> None:
    together = summarise(predictions).set_index("test").loc["together"]
    assert together["predictions"] == len(predictions) == 31
    assert 0.80 <= together["covered"] <= 0.97
    assert together["median error"] <= 0.10


def test_the_docs_show_what_the_command_prints(predictions: list[Prediction]) -> None:
    page = (ROOT / "docs" / "scaling-laws.md").read_text()
    assert describe_backtest(predictions).split("\n\n")[0] in page
    assert describe_backtest(predictions).split("\n\n")[1] in page


def test_each_prediction_is_of_what_was_published(predictions: list[Prediction]) -> None:
    table = table4().set_index("variant")["fid50k"]
    curves = convergence()
    for p in predictions:
        name, _, step = p.target.partition(" at ")
        if not step:
            assert p.measured == table[name]
        elif name.endswith("+REPA"):
            steps = 1000 * int(step.removesuffix("K"))
            rows = curves[(curves["model"] == name) & (curves["steps"] == steps)]
            assert p.measured == rows["fid50k"].iloc[0]
    assert tabulate(predictions)["covered"].sum() == sum(p.low <= q <= p.high for p, q in pairs(predictions))


def pairs(predictions: list[Prediction]) -> list:
    return [(p.predicted, p.measured) for p in predictions]


def test_what_is_predicted_is_not_fitted() -> None:
    table = table4()
    known = table[table["size"] != "XL"]
    target = table[table["variant"] == "DiT-XL/2"]
    first = fit_sizes(known).predict(target)
    assert first == fit_sizes(known).predict(target.assign(fid50k=1.0))


def test_the_form_is_chosen_by_points_left_out() -> None:
    table = table4()
    law = fit_sizes(table)
    errors = {}
    for form in FORMS:
        left = []
        for name in table["variant"]:
            others = table[table["variant"] != name]
            design = np.column_stack([np.ones(len(others)), *FORMS[form](others)])
            row = table[table["variant"] == name]
            at = np.column_stack([np.ones(1), *FORMS[form](row)])
            solved = np.linalg.lstsq(design, np.log(others["fid50k"]), rcond=None)[0]
            left.append(np.log(row["fid50k"].iloc[0]) - float(at[0] @ solved))
        errors[form] = float(np.sqrt(np.mean(np.square(left))))
    assert law.form == min(errors, key=lambda form: errors[form])
    assert law.left_out == pytest.approx(errors[law.form])


def test_a_curve_without_a_known_floor_says_how_little_two_points_tell() -> None:
    steps = np.array([50e3, 100e3])
    curve = fit_curve(steps, 8 + 100 * (steps / 50e3) ** -1.5)
    later = curve.predict(400e3)
    power = fit_power_law(np.array([50e3, 70e3, 100e3]), 8 + 100 * (np.array([50, 70, 100]) / 50) ** -1.5)
    assert later.low < 8 + 100 * 8**-1.5 < later.high
    assert later.low < 1.3 * float(np.exp(power.a) * 400e3**power.b)  # no floor at all is possible
    assert later.high > 0.85 * (8 + 100 * 2**-1.5)  # and so is that nothing more is learned


def test_a_curve_of_many_points_finds_its_floor() -> None:
    steps = np.geomspace(1e4, 4e5, 8)
    curve = fit_curve(steps, 8 + 100 * (steps / 1e4) ** -0.9)
    later = curve.predict(4e6)
    assert later.value == pytest.approx(8 + 100 * 400**-0.9, rel=0.05)
    assert later.high / later.low < 1.25


@pytest.mark.parametrize(("x", "y"), [([1], [2]), ([1, 2], [2, 3]), ([1, 2], [2, -1])])
def test_what_is_no_curve_is_refused(x: list, y: list) -> None:
    with pytest.raises(UserError, match="curve"):
        fit_curve(x, y)


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="too few"):
        fit_sizes(table4().head(3))
