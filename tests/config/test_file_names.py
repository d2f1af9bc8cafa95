"""Every value that names files comes back from their names as it was."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from dit_scaling.variants.names import LONGEST_NAME, SLUG
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


RULES = (ROOT / "rules" / "common.smk").read_text()
WILDCARDS = dict(re.findall(r'^    (\w+)=r"(.+)",$', RULES, re.MULTILINE)) | {"variant": SLUG}
assert "    variant=SLUG,\n" in RULES
LOG = "{variant}_seed-{seed}_step-{step}_guidance-2.5e-300_part-99999.history.log"
LONGEST = {"study": "a" * 100, "seed": 2**63 - 1, "steps": 10**9 - 1, "parts": 100_000, "shards": 100_000}


def named(study: str, seed: int, steps: int, parts: int, shards: int, size: str = "Nano") -> Any:
    """A study whose names hold these; the longest are those of logs of earlier attempts."""
    sampling = {**CONFIG["sampling"], "parts": parts, "num_samples": max(parts, 1000), "guidance_scales": [2.5e-300]}
    return parse_study(
        CONFIG
        | {"study": study, "latents": {"shards": shards}, "sampling": sampling}
        | {"sizes": {size: {"depth": 1, "hidden_size": 32, "num_heads": 2}}, "variants": [f"DiT-{size}/2"]}
        | {"training": {**CONFIG["training"], "seeds": [seed], "steps": steps, "milestones": []}}
    )


def test_the_largest_numbers_and_the_longest_names_are_still_names() -> None:
    study = named(**LONGEST, size="S" * 64)
    (variant,) = map(study.variant, study.variants)
    values = {"variant": variant.slug, "seed": study.training.seeds[0], "step": study.training.steps}
    numbers = {"part": f"{study.sampling.parts - 1:05d}", "shard": f"{study.latents.shards - 1:05d}"}
    for name, value in (values | numbers | {"guidance": study.sampling.guidance_scales[0]}).items():
        assert re.fullmatch(WILDCARDS[name], str(value))
    assert max(len(f".tmp-0123456789ab-{LOG.format(**values)}"), len(study.study)) <= 255


def test_the_longest_name_of_a_class_is_a_file_name_and_a_longer_one_is_refused() -> None:
    family = f"lab.{'n' * (LONGEST_NAME - 22)}:Net@flow"
    name = f"{family}-Tiny/2"
    values = {"variant": name.replace("/", "-").replace(":", "."), "seed": 2**63 - 1, "step": 10**9 - 1}
    assert len(name) <= LONGEST_NAME
    assert re.fullmatch(SLUG, values["variant"])
    assert len(f".tmp-0123456789ab-{LOG.format(**values)}") <= 255
    with pytest.raises(UserError, match=f"at most {LONGEST_NAME} characters"):
        parse_study(CONFIG | {"variants": [name + "1" * 10]})


@pytest.mark.parametrize(
    ("key", "value"),
    [("study", "a" * 101), ("seed", 2**63), ("steps", 10**9), ("parts", 100_001), ("shards", 100_001)],
)
def test_what_has_no_name_is_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=key):
        named(**{**LONGEST, key: value})
    with pytest.raises(UserError, match="sizes"):
        named(**LONGEST, size="S" * 65)
