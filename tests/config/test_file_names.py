"""Every value that names files comes back from their names as it was."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from pipeline import ROOT, edited, plan
from report_study import CONFIG

(PATTERN,) = re.findall(r'guidance=r"(.+)",', (ROOT / "rules" / "common.smk").read_text())


def with_scales(*scales: float) -> Any:
    return parse_study(CONFIG | {"sampling": {**CONFIG["sampling"], "guidance_scales": list(scales)}}).sampling


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_every_guidance_scale_that_is_accepted_comes_back_from_its_folders_name(sampler: str, scale: float) -> None:
    sampling = with_scales(scale).model_copy(update={"sampler": sampler})
    name = sampling.folder(sampling.guidance_scales[0]).removeprefix("ddim/").removeprefix("guidance-")
    assert re.fullmatch(PATTERN, name)
    assert float(name) == scale
    assert str(float(name)) == name


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_other_scales_are_refused(scale: float) -> None:
    with pytest.raises(UserError, match="guidance_scales"):
        with_scales(scale)


@pytest.mark.parametrize("cache", ["", "a{b}", "<results>"])
def test_a_cache_whose_name_would_be_a_placeholder_is_refused(cache: str) -> None:
    with pytest.raises(UserError, match=r"resources\.cache"):
        parse_study(CONFIG | {"resources": {"cache": cache}})


@pytest.mark.dag
def test_snakemake_plans_unusual_scales_and_braces_in_the_path_of_the_images(tmp_path: Any) -> None:
    from PIL import Image

    for label in "ab":
        (tmp_path / "{study}" / "im{ages}" / label).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (32, 32), 9 * number).save(tmp_path / "{study}" / "im{ages}" / label / f"{number}.png")
    data = {"source": "image_folder", "path": "{study}/im{ages}", "image_size": 32, "channels": 1, "classes": 2}
    scales = [1.0, 1e-5, 1e7, 1e16, 2.5e-300]
    config = edited(tmp_path, {"data": {**data, "held_out": 4}, "sampling.guidance_scales": scales})
    jobs = plan(tmp_path, config=config)
    assert len(jobs["data"]) == 1
    assert {name.split("guidance-")[1].split("/")[0] for name in jobs["sample_part"]} == set(map(str, scales))
