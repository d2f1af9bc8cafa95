"""What looks at a study costs in proportion to its variants, so that two hundred take seconds; calls are counted."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import yaml

from dit_scaling.config import load_study
from dit_scaling.config.stages import Stages
from dit_scaling.plan.command import tell_plan
from dit_scaling.plan.price import devices_as_measured
from dit_scaling.results.status import read_status
from dit_scaling.results.status_text import describe_status
from pipeline import ROOT, TINY, warm_python

FEW, MANY = 10, 20
LARGEST = 2.4
"""That many times the calls for twice the variants; work that is done for each pair of variants takes four."""

COUNTED_DRY_RUN = """
import sys
from snakemake.cli import main
own, config = sys.argv[1:]
calls = 0
def count(frame, event, _):
    global calls
    calls += event == "call" and frame.f_code.co_filename.startswith(own)
sys.setprofile(count)
try:
    main(["--snakefile", f"{own}/Snakefile", "--dry-run", "--quiet", "--configfile", config])
except SystemExit as end:
    sys.setprofile(None)
    print("calls", calls)
    raise
"""


def study_of(variants: int, folder: Path) -> Path:
    """A config like the tiny one, with so many sizes, two seeds and three exports."""
    config = yaml.safe_load(TINY.read_text())
    config["sizes"] = {f"S{n}": {"depth": 1 + n, "hidden_size": 32, "num_heads": 2} for n in range(variants)}
    config |= {"variants": [f"DiT-S{n}/2" for n in range(variants)], "deviations": {}}
    config["training"] |= {"seeds": [0, 1], "milestones": [5, 10]}
    path = folder / f"{variants}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def dry_run(config: Path) -> int:
    arguments = ["-c", COUNTED_DRY_RUN, str(ROOT), str(config)]
    run = warm_python().run(arguments, config.parent, {"PATH": "/usr/bin:/bin", "HOME": str(config.parent)})
    assert run.returncode == 0, run.stderr
    return int(run.stdout.split("calls ")[1])


def counted(look: Callable[[], object]) -> int:
    calls = 0

    def count(_frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        look()
    finally:
        sys.setprofile(before)
    return calls


def plan(config: Path) -> int:
    study = load_study(config)
    devices = devices_as_measured("h200", 8, study)
    return counted(lambda: tell_plan(study, devices, None))


def status(config: Path) -> int:
    study, results = load_study(config), config.parent
    return counted(lambda: describe_status(read_status(study, Stages(study, "0" * 16), results), results))


@pytest.mark.parametrize("look", [pytest.param(dry_run, marks=pytest.mark.slow), plan, status])
def test_twice_the_variants_cost_about_twice_as_much(tmp_path: Path, look: Callable[[Path], int]) -> None:
    look(study_of(2, tmp_path))  # What is loaded and remembered once.
    few, many = (look(study_of(variants, tmp_path)) for variants in (FEW, MANY))
    assert few > 1000
    assert many <= LARGEST * few
