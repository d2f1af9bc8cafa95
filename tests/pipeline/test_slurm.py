"""A study through a real SLURM of two nodes: every stage that computes goes through sbatch, training on ranks too."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cluster import Cluster, NoClusterError, two_node_cluster
from dit_scaling.config.stages import TrainSettings
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.runtime import Runtime
from pipeline import ROOT, edited, snakemake, start_snakemake

pytestmark = pytest.mark.slow

RESULTS = "results/tiny"
RUN = f"{RESULTS}/DiT-Nano-2/seed-0"
CHANGES = {
    "variants": ["DiT-Nano/2"],
    "training.steps": 20,
    "training.milestones": [],
    "training.gates": "off",
    "latents.shards": 1,
    "sampling.num_samples": 40,
}
SUBMITTED = {
    "vae": 1,
    "classifier": 1,
    "preflight": 1,
    "encode_shard": 2,
    "train_milestone": 1,
    "held_out_loss": 1,
    "sample_part": 1,
    "reference": 1,
    "extract_features": 1,
    "levels": 1,
    "score_samples": 1,
    "memorisation": 1,
}
ON_CPUS = ("levels", "score_samples", "memorisation")
FILLED_IN = {
    "account: ACCOUNT": "account: test",
    "partition: PARTITION": "partition: gpus",
    "&gpu_type TYPE": "&gpu_type fake",
    "gpus_per_node 4": "gpus_per_node 2",
    # Where training is on several nodes.
    '"gpu:TYPE:4"': '"gpu:fake:2"',
    "ranks: 4": "ranks: 2",
    # Small nodes, and little to compute.
    "mem_mb: 16000": "mem_mb: 1500",
    "    # mem_mb is left out": "    mem_mb: 4000\n    # mem_mb is left out",
    "&training_cores 8": "&training_cores 2",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        with two_node_cluster(tmp_path_factory.mktemp("slurm")) as running:
            yield running
    except NoClusterError as reason:
        pytest.skip(f"no SLURM: {reason}")


def profile(folder: Path, *, over_two_nodes: bool) -> Path:
    """The profile slurm/, filled in for this cluster as its comments say, and with less waiting."""
    text = (ROOT / "slurm" / "config.yaml").read_text()
    if over_two_nodes:
        for line in ("gpu: &gpus_per_node 4", "ranks: *gpus_per_node", "gpu_model: *gpu_type"):
            assert text.count(f"    {line}\n") == 1
            text = text.replace(f"    {line}\n", "")
        text = text.replace("    #   ", "    ")
    for placeholder, value in FILLED_IN.items():
        text = text.replace(placeholder, value)
    (folder / "config.yaml").write_text(text + "slurm-init-seconds-before-status-checks: 1\n")
    return folder


@pytest.fixture(scope="module")
def study(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001, it has to run
    """The working directory of the reduced study, run through the cluster with two ranks on one node."""
    folder = tmp_path_factory.mktemp("study")
    one_node = profile(tmp_path_factory.mktemp("one-node"), over_two_nodes=False)
    run = snakemake(folder, "--profile", str(one_node), config=edited(folder, CHANGES))
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def jobs_of(cluster: Cluster) -> list[tuple[str, str, str]]:
    """Rule, state and nodes of every job that SLURM remembers; Snakemake's comment on a job names its rule."""
    jobs = (line.split("|") for line in cluster.queue("%k|%T|%N"))
    return [(comment.removeprefix("rule_").split("_wildcards")[0], state, nodes) for comment, state, nodes in jobs]


def training_log(folder: Path) -> str:
    return (folder / RESULTS / "logs" / "train" / "DiT-Nano-2_seed-0_step-20.log").read_text()


def test_every_stage_that_computes_goes_through_slurm(cluster: Cluster, study: Path) -> None:
    jobs = [job for job in jobs_of(cluster) if job[2] in ("n1", "n2")]
    assert Counter(rule for rule, _, _ in jobs) == SUBMITTED
    assert {state for _, state, _ in jobs} == {"COMPLETED"}
    on_one_node = [job["JobState"] for job in cluster.completed() if job["NodeCnt"] == "1"]
    assert on_one_node == ["COMPLETED"] * sum(SUBMITTED.values())
    assert (study / RESULTS / "report.html").exists()


def test_jobs_get_one_gpu_each_and_training_those_of_a_node(cluster: Cluster, study: Path) -> None:
    gpus = Counter(job.get("TresPerJob") for job in cluster.details() if job["NumNodes"] == "1")
    on_cpus = sum(SUBMITTED[rule] for rule in ON_CPUS)
    one_gpu = sum(SUBMITTED.values()) - on_cpus - 1
    assert gpus == {"gres:gpu:fake:1": one_gpu, "gres:gpu:fake:2": 1, None: on_cpus}
    assert "on 2 x cpu" in training_log(study)


def test_four_ranks_over_two_nodes_end_at_the_same_weights(
    cluster: Cluster, study: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = shutil.copytree(study, tmp_path / "study")
    shutil.rmtree(folder / RUN)
    shutil.rmtree(folder / RESULTS / "states")
    two_nodes = profile(tmp_path_factory.mktemp("two-nodes"), over_two_nodes=True)
    run = snakemake(folder, "train", "--profile", str(two_nodes), config=folder / "edited.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("train_milestone", "COMPLETED", "n[1-2]") in jobs_of(cluster)
    assert [job["NodeList"] for job in cluster.completed() if job["NodeCnt"] == "2"] == ["n[1-2]"]
    assert "on 4 x cpu" in training_log(folder)
    assert json.loads((folder / RUN / "step-20" / "provenance.json").read_text())["device"].startswith("4 x ")
    ours, theirs = (load_file(place / RUN / "step-20" / "raw.safetensors") for place in (folder, study))
    for name, weights in ours.items():
        # The loss does not depend on the keys' bias: AdamW makes full steps of its rounding.
        if not name.endswith("qkv.bias"):
            assert (weights - theirs[name]).norm() <= 1e-5 * weights.norm(), name


def test_training_in_the_queue_saves_and_stops_when_snakemake_is_told_to(
    cluster: Cluster, study: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = shutil.copytree(study, tmp_path / "study")
    config = edited(folder, {**CHANGES, "training.steps": 10**6, "training.seeds": [0, 1, 2]})
    one_node = profile(tmp_path_factory.mktemp("one-node"), over_two_nodes=False)
    run = start_snakemake(folder, "train", "--profile", str(one_node), config=config)
    logs = [folder / RESULTS / "logs" / "train" / f"DiT-Nano-2_seed-{seed}_step-1000000.log" for seed in range(3)]

    def states() -> list[str]:
        return sorted(line.split("|")[0] for line in cluster.queue("%T|%k") if line.endswith("_1000000"))

    def trains(log: Path) -> bool:
        return log.exists() and "/s, " in log.read_text()

    deadline = time.monotonic() + 180
    while sum(map(trains, logs)) < 2 or states() != ["PENDING", "RUNNING", "RUNNING"]:
        assert run.poll() is None
        assert time.monotonic() < deadline, states()
        time.sleep(0.5)
    run.terminate()
    said = "".join(run.communicate(timeout=180))
    assert run.returncode == 1, said
    assert states() == ["CANCELLED", "FAILED", "FAILED"]
    saved = [int(path.stem.removeprefix("state-")) for path in folder.glob(f"{RESULTS}/states/*/state-*.json")]
    assert len([step for step in saved if step > 20]) == 2
    assert not list((folder / RESULTS).rglob("step-1000000/*"))


TRAIN_ON_TWO_NODES = """
import sys
from pathlib import Path
from dit_scaling.training.launch import TrainJob, train_on_ranks
train_on_ranks(TrainJob.read(Path(sys.argv[1])), ranks=2, nodes=2)
"""


@pytest.mark.parametrize(
    ("limits", "cancel"),
    [("", ["--batch", "--signal=TERM"]), ("", []), ("--time=3 --signal=TERM@90", None)],
    ids=["only the launcher", "all processes", "before the time limit"],
)
def test_a_run_over_two_nodes_that_is_stopped_saves_its_state(
    cluster: Cluster,
    toy_run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: str,
    cancel: list[str] | None,
) -> None:
    runtime = Runtime(device=torch.device("cpu"), save_steps=10**9)
    job = TrainJob(toy_run, toy_latents, 10**9, tmp_path / "states", runtime)
    job.write(tmp_path / "job.json")
    (tmp_path / "train.py").write_text(f"#!{sys.executable}\n{TRAIN_ON_TWO_NODES}")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # as Snakemake sets it to a job's threads, which it asks SLURM for
    size = f"--nodes=2 --ntasks=2 --cpus-per-task=2 --mem=4000 {limits}"
    sbatch = f"sbatch --parsable {size} --output=job.log train.py job.json"
    number = subprocess.run(sbatch.split(), cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    def wait_until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, (tmp_path / "job.log").read_text()
            time.sleep(0.2)

    def has_trained() -> bool:
        assert f"{number} FAILED" not in cluster.queue("%i %T"), (tmp_path / "job.log").read_text()
        return any(path.stat().st_size for path in job.states.glob("*/metrics.jsonl"))

    wait_until(has_trained)
    if cancel is not None:
        subprocess.run(["scancel", *cancel, number], check=True)
    wait_until(lambda: {f"{number} FAILED", f"{number} CANCELLED"} & set(cluster.queue("%i %T")))
    (state,) = job.states.glob("*/state-*.json")
    assert int(state.stem.removeprefix("state-")) > 0
