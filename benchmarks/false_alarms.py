"""Do the gates raise false alarms? Healthy seeds of two variants of the embedded study, judged at every gate.

python benchmarks/false_alarms.py [--seeds 20] [--config config/config.yaml] [--folder results/false-alarms]
                                  [--record docs/false-alarms.csv]

Trains the variant with the fewest Gflops and the middle one with seeds 0, 1, ..., two runs at a time on one thread
each, and nothing of the pipeline after that. Every run is judged at the study's gate steps, at its exports, and, as if
its budget ended there, at a tenth of its steps, where it should be undertrained. The record has a line for each
judgement.

The same command goes on where it was stopped; a changed study starts in another folder. The exit code is 1 where a run
was found broken, or one that was stopped at a tenth of its budget was not found undertrained.
"""

import argparse
import csv
import multiprocessing
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from dit_scaling.common.files import atomic_path, read_json
from dit_scaling.config import Stages, load_study
from dit_scaling.config.stages import GateSettings
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.health.gates.gate import GateFiles, run_gate
from dit_scaling.latents.encode import Encoding, encode_shard
from dit_scaling.latents.manifest import ShardJob, SplitName, write_manifest
from dit_scaling.latents.vae_stage import make_vae
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.training.state_folders import EXPORTS
from dit_scaling.variants import count_gflops

PROCESSES = 2
TENTH = 10
CPU = torch.device("cpu")


def choose_variants(study: Study) -> list[str]:
    """The smallest variant and the middle one, by Gflops."""
    channels = study.vae.latent_channels
    ascending = sorted(study.trained, key=lambda name: count_gflops(study.variant(name), study.latent_size, channels))
    return [ascending[0], ascending[len(ascending) // 2]]


def list_gates(study: Study, stages: Stages, variant: str, seed: int) -> list[GateSettings]:
    """Every judgement of one run in the order of its steps, that of a tenth of its budget first."""
    slug, tenth = study.variant(variant).slug, study.training.steps // TENTH
    stopped = stages.gate(slug, seed, tenth).model_copy(update={"budget": tenth})
    return [stopped, *(stages.gate(slug, seed, step) for step in study.training.stops)]


def make_latents(study: Study, stages: Stages, folder: Path) -> None:
    """The study's autoencoder and latents, below ``folder`` as in its results; what is there already stays."""
    vae, latents = folder / "vae" / "vae.json", folder / "latents"
    if not vae.exists():
        make_vae(stages.vae(), vae, vae.with_name("autoencoder"), vae.with_name("reconstructions.png"), CPU)
    shards: dict[SplitName, int] = {"train": study.latents.shards, "held_out": study.latents.held_out_shards}
    jobs = [
        ShardJob(stages.latents(), split, number, vae, latents / f"{place}.tar", latents / f"{place}.json")
        for split, count in shards.items()
        for number, place in enumerate(f"{split}-{number:05d}" for number in range(count))
    ]
    for job in jobs:
        if not job.facts.exists():
            encode_shard(job, Encoding(CPU, 64))
    if not (latents / "manifest.json").exists():
        write_manifest(stages.latents(), [job.facts for job in jobs], vae, latents / "manifest.json")


def record_path(folder: Path, gate: GateSettings) -> Path:
    """Where the judgement of one gate is kept."""
    training = gate.training
    place = folder / training.variant.slug / f"seed-{training.seed}"
    return place / f"step-{gate.step}-of-{gate.budget}" / "gate.json"


def judge_run(gates: Sequence[GateSettings], folder: Path) -> None:
    """Train one run from gate to gate; what is trained and judged already is not done again."""
    manifest, runtime = folder / "latents" / "manifest.json", Runtime(device=CPU)
    for gate in sorted(gates, key=lambda gate: gate.step):
        record = record_path(folder, gate)
        if record.exists() and read_json(record)["settings_digest"] == gate.digest:
            continue
        run = train_to(gate.training, manifest, gate.step, folder / "states", runtime)
        raw, ema, log = (run.export_path(gate.step, name) for name in EXPORTS)
        files = GateFiles(raw, ema, log, manifest, folder / "vae" / "vae.json")
        run_gate(gate, files, record, record.with_suffix(".html"), CPU)


def write_record(gates: Sequence[GateSettings], folder: Path, output: Path) -> list[dict[str, object]]:
    """The judgements that there are as a CSV file, a column for each check's number; also returned."""
    rows: list[dict[str, object]] = []
    for gate in gates:
        if (path := record_path(folder, gate)).exists():
            judged = read_json(path)
            row = {key: judged[key] for key in ("variant", "seed", "step")} | {"budget": gate.budget}
            row |= {"verdict": judged["status"], "reason": judged["reason"]}
            rows.append(row | {check["name"]: check["value"] for check in judged["checks"]})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(output) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def main() -> int:
    """Train and judge all runs, writing the record after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds of each variant (20)")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="the study")
    parser.add_argument("--folder", type=Path, default=Path("results/false-alarms"), help="where runs are kept")
    parser.add_argument("--record", type=Path, default=Path("docs/false-alarms.csv"), help="CSV file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = load_study(arguments.config)
    stages = open_stages(study, arguments.folder)
    folder = arguments.folder / stages.latents().digest
    make_latents(study, stages, folder)
    runs = [list_gates(study, stages, name, seed) for name in choose_variants(study) for seed in range(arguments.seeds)]
    gates = [gate for run in runs for gate in run]
    # Forked processes would share torch's threads with this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, torch.set_num_threads, (1,)) as pool:
        for done, job in enumerate(as_completed([pool.submit(judge_run, run, folder) for run in runs]), start=1):
            job.result()
            write_record(gates, folder, arguments.record)
            print(f"{done} of {len(runs)} runs", flush=True)
    rows = write_record(gates, folder, arguments.record)
    tenth = study.training.steps // TENTH
    stopped, whole = ([row for row in rows if (row["budget"] == tenth) is early] for early in (True, False))
    for title, some in (("Stopped at a tenth of the budget", stopped), ("At the gates of whole runs", whole)):
        verdicts = Counter(row["verdict"] for row in some)
        print(f"{title}: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}.")
    alarms = [row for row in rows if row["verdict"] == "broken"]
    missed = [row for row in stopped if row["verdict"] != "undertrained for this budget"]
    return int(bool(alarms or missed))


if __name__ == "__main__":
    sys.exit(main())
