"""All figures of a GPU by one command, in ten minutes: python -m benchmarks.gpu_figures

Four parts, each a process with a time limit, whose output is in results/gpu/PART.log as it comes:

    rates     training, sampling, encoding, shards (benchmarks.gpu_rates)
    tests     pytest -m gpu tests/gpu
    kernels   where the time goes, by kind of kernel (benchmarks.kernels)
    embedded  the embedded study with device: cuda, several jobs at a time on the GPU; its target is six minutes

After each part tables for docs/performance.md (figures.md), and src/dit_scaling/plan/measured_rates.csv with the new
rows in it, are written there from all logs of the folder. What --seconds cuts off can be run alone, by name. `tables`
as the only name writes both files from what a killed run has left.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.gpu_tables import all_tables, read_lines, with_new_rates
from dit_scaling.common.files import atomic_path
from dit_scaling.common.provenance import git_commit

ROOT = Path(__file__).parents[1]
LEAST = 20.0  # seconds, under which a part is not begun
GRACE = 10.0  # seconds that a part has to end when it is told to


@dataclass(frozen=True)
class Part:
    """One process."""

    name: str
    limit: float
    """Seconds."""
    command: tuple[str, ...]
    environment: Mapping[str, str]


def parts_of(folder: Path, device: str, small: bool) -> Iterator[Part]:
    """All of them, the most wanted first."""
    sizes = ("--small", "--seconds", "0.1") if small else ()
    yield Part("rates", 270, ("-m", "benchmarks.gpu_rates", "--device", device, *sizes), {})
    some = "tests/gpu/test_gpu_metrics.py" if small else "tests/gpu"
    options = ("-v", "-p", "no:cacheprovider", "--durations", "10")
    yield Part("tests", 240, ("-m", "pytest", *options, "-m", "gpu", some), {"TEST_DEVICE": device})
    yield Part("kernels", 180, ("-m", "benchmarks.kernels", "--device", device, *sizes[:1]), {})
    yield Part("embedded", 400, study_command(folder, device, small), {"OMP_NUM_THREADS": "1"})


def study_command(folder: Path, device: str, small: bool) -> tuple[str, ...]:
    """The embedded study in a folder of its own, as many jobs at a time as there are cores, half of them on the GPU."""
    cores = len(os.sched_getaffinity(0))
    overlay = folder / "on-gpu.yaml"
    settings = {"resources": {"device": device, "jobs_per_gpu": max(1, cores // 2)}}
    overlay.write_text(yaml.safe_dump(settings))
    config = ROOT / (".test/config/config.yaml" if small else "config/config.yaml")
    place = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder / "study"))
    return ("-m", "snakemake", *place, "--cores", str(cores), "--configfile", str(config), str(overlay))


def run_part(part: Part, folder: Path, limit: float) -> str:
    """Run a part for so many seconds at most; returns how it ended, which is the last line of its log too."""
    # Packages that came without bytecode are compiled once, and not by each of the study's jobs.
    kept = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
    environment = {**os.environ, **kept, **part.environment}
    started, cut = time.monotonic(), False
    with (folder / f"{part.name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            cut = True
        finally:  # where this process is interrupted, too
            end_group(process)
        seconds = time.monotonic() - started
        ended = {"code": process.returncode, "seconds": round(seconds, 1), "cut": cut}
        log.write("\n" + json.dumps({"what": "ended", **ended}) + "\n")
    return f"cut off after {seconds:.0f} s" if cut else f"exit code {process.returncode} after {seconds:.0f} s"


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process that may be running, and what it started."""
    for way in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, way)
            process.wait(GRACE)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def write_tables(folder: Path, commit: str, command: str) -> None:
    """Write figures.md and measured_rates.csv from the logs that are there."""
    logs = {path.stem: path for path in folder.glob("*.log")}
    lines = {name: read_lines(path) for name, path in logs.items()}
    study = sum(1 for _ in (folder / "study" / "results").rglob("times/**/*.tsv"))
    texts = {name: path.read_text(errors="replace") for name, path in logs.items()}
    with atomic_path(folder / "figures.md") as temporary:
        temporary.write_text(all_tables(lines, texts, study, commit, command))
    with_new_rates(lines.get("rates", []), commit, folder / "measured_rates.csv")


def main() -> int:
    """Run the parts, and write their tables; 1 where one failed or was cut off."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_figures", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="names of parts; all where there is none")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path("results", "gpu"))
    parser.add_argument("--seconds", type=float, default=570.0, help="for all of it")
    parser.add_argument("--commit", default=git_commit() or "", help="where this is no checkout")
    parser.add_argument("--small", action="store_true", help="sizes that show only that everything runs")
    given = parser.parse_args()
    folder: Path = given.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    known = list(parts_of(folder, given.device, given.small))
    if unknown := set(given.parts) - {part.name for part in known} - {"tables"}:
        parser.error(f"no part {', '.join(sorted(unknown))}: {', '.join(part.name for part in known)}, or tables")
    command = f"python -m benchmarks.gpu_figures{' --small' if given.small else ''}"
    end, left = time.monotonic() + given.seconds, list[str]()
    for part in (part for part in known if not given.parts or part.name in given.parts):
        limit = min(part.limit, end - time.monotonic())
        if limit < LEAST:
            left.append(part.name)
            print(f"{part.name}: no time left", flush=True)
            continue
        print(f"{part.name}: at most {limit:.0f} s ...", flush=True)
        if part.name == "embedded":  # a study that is there would only go on
            shutil.rmtree(folder / "study", ignore_errors=True)
        how = run_part(part, folder, limit)
        if not how.startswith("exit code 0"):
            left.append(part.name)
        print(f"{part.name}: {how}", flush=True)
        try:
            write_tables(folder, given.commit, command)
        except Exception:  # the machine is lent for minutes: tables can be made again, with `tables`
            traceback.print_exc()
    if "tables" in given.parts:
        write_tables(folder, given.commit, command)
    print(f"Tables: {folder / 'figures.md'}, {folder / 'measured_rates.csv'}")
    if left:
        print(f"Not whole: python -m benchmarks.gpu_figures {' '.join(left)}")
    return int(bool(left))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that parts end with this process
    sys.exit(main())
