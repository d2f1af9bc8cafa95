"""The scripts of the rules run outside Snakemake, as a debugger runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dit_scaling.latents.importing import import_latents
from jobs import RESULTS, SmallStudy, job_of, run_job
from pipeline import ROOT, TINY, asked, python

SCRIPTS = ROOT / "workflow" / "scripts"


def test_script_alone_makes_the_outputs_of_its_job(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "data.py"), "results/tiny/data/data.json", "--configfile", str(TINY)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "results" / "tiny"
    assert sum(json.loads((results / "data" / "data.json").read_text())["counts"]["train"]) == 4900
    provenance = json.loads((results / "data" / "provenance.json").read_text())
    assert provenance["settings"]["data"]["held_out"] == 100
    assert (results / "logs" / "data.log").exists()
    # Only this job's folders are made.
    assert {path.name for path in results.iterdir()} == {".jobs", ".seals", "data", "logs"}


@pytest.mark.parametrize(
    ("script", "file", "words"),
    [
        ("data.py", "results/tiny/dada.json", "no rule makes results/tiny/dada.json"),
        ("vae.py", "results/tiny/data/data.json", "results/tiny/data/data.json is made by data.py, not by vae.py"),
        (
            "score_samples.py",
            "results/tiny/DiT-Nano-2/seed-0/step-10/guidance-1.0/metrics.json",
            "score_samples.py needs results/tiny/DiT-Nano-2/seed-0/step-10/guidance-1.0/features/classifier/"
            "features.json, which does not exist",
        ),
    ],
)
def test_script_alone_says_what_is_wrong(tmp_path: Path, script: str, file: str, words: str) -> None:
    run = python(tmp_path, str(SCRIPTS / script), file, "--configfile", str(TINY))
    assert run.returncode == 2
    assert words in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "results").exists()


def test_the_job_of_a_shard_takes_imported_latents(
    small_study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through rule and script: the study's own shards, imported, give the same shard again."""
    monkeypatch.chdir(shutil.copytree(small_study.folder, tmp_path / "study"))
    shard = Path(RESULTS, "latents", "train-00000.tar")
    encoded = shard.read_bytes()
    import_latents(shard.parent, Path("imported"))
    vae = {"source": "pretrained", "path": f"{RESULTS}/vae/autoencoder", "latent_channels": 2, "downsampling": 2}
    config = yaml.safe_load(Path("study.yaml").read_text())
    config |= {"vae": vae, "latents": {"shards": 1, "source": "imported"}}
    Path("study.yaml").write_text(yaml.safe_dump(config))
    shard.unlink()
    on_cluster = (str(shard), "--profile", str(ROOT / "slurm"))
    assert asked(Path(), "encode_shard", "gpu", *on_cluster, config=Path("study.yaml")) == [0]
    job = job_of("encode_shard", str(shard))
    assert job.input.imported == "imported/imported.json"
    assert run_job("encode_shard", job) == 0
    assert shard.read_bytes() == encoded
    facts = json.loads(shard.with_suffix(".json").read_text())
    assert (facts["imported"]["layout"], facts["imported"]["mirrored"]) == ("webdataset", True)
