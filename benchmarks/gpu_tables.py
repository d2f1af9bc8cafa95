"""Tables for docs/performance.md, and rows of measured rates, from the logs of `benchmarks.gpu_figures`."""

import contextlib
import csv
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dit_scaling.common.files import atomic_path
from dit_scaling.plan.peaks import peak_of
from dit_scaling.variants import TRAINING_PASSES, count_gflops, parse_variant

Line = dict[str, Any]
Rows = Sequence[Sequence[object]]

WAY = ("device", "stage", "variant", "precision", "compiled")
"""What two rows of measured rates agree in, of which the newer one takes the older one's place."""


def read_lines(path: Path) -> list[Line]:
    """The lines of a log that `kernels.tell` wrote; the last one of a log that was cut off may be half."""
    found = []
    for text in path.read_text(errors="replace").splitlines():
        if text.startswith('{"what": '):
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found


def of(what: str, lines: Sequence[Line]) -> list[Line]:
    """Lines of one kind."""
    return [line for line in lines if line["what"] == what]


def all_tables(
    lines: Mapping[str, Sequence[Line]], texts: Mapping[str, str], study_jobs: int, commit: str, command: str
) -> str:
    """The page.

    Args:
        lines: of the log of each part, what is JSON.
        texts: the logs.
        study_jobs: that the embedded study has finished.
        commit: of the product.
        command: that made the logs.
    """
    rates, kernels = lines.get("rates", []), lines.get("kernels", [])
    devices = of("device", [*rates, *kernels])
    device = f"{devices[0]['name']}, torch {devices[0]['torch']}" if devices else "unknown device"
    dates = sorted({line["date"] for line in rates if "date" in line})
    head = f"One {', '.join([device, f'commit {commit}', *dates])}, `{command}`."
    chapters = [
        [head],
        training_table(of("rate", rates), of("beside", rates)),
        sampling_table(of("rate", rates), of("beside", rates)),
        encoding_table(of("rate", rates), of("beside", rates)),
        products_line(of("product", rates)),
        kinds_table([line for line in kernels if "kinds" in line]),
        small_table(of("product", kernels), ("name", "tflops"), ("product, bf16", "TFLOP/s")),
        small_table(
            of("attention", kernels),
            ("own", "width", "back_end", "forward_ms", "both_ms", "refused"),
            ("head width", "padded to", "attention by", "forward (ms)", "and backward (ms)", "refused"),
        ),
        small_table(of("pass over all weights", kernels), ("name", "ms"), ("pass over all weights", "ms")),
        failures([line for part in lines.values() for line in part]),
        tests_lines(texts.get("tests", "")),
        study_lines(of("ended", lines.get("embedded", [])), study_jobs),
    ]
    return "\n\n".join("\n".join(chapter) for chapter in chapters if chapter) + "\n"


def table(head: Sequence[str], rows: Rows) -> list[str]:
    """Lines of a table in Markdown, the columns after the first to the right; none without rows."""
    if not rows:
        return []
    ruler = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(map(_cell, row)) + " |" for row in (head, ruler, *rows)]


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def how_of(row: Line) -> str:
    """How something ran."""
    guided = "" if row.get("guidance", 1.0) == 1.0 else f", guidance {row['guidance']:g}"
    return f"{row['precision']}, {row.get('how', 'compiled' if row['compiled'] else 'eager')}{guided}"


def training_table(rates: Sequence[Line], beside: Sequence[Line]) -> list[str]:
    """Steps a second and share of the data sheet's peak."""
    rows = []
    for row in (line for line in (*rates, *beside) if line["stage"] == "train"):
        variant = row["variant"].removeprefix("diffusers' ")
        tflops = 2e-3 * TRAINING_PASSES * count_gflops(parse_variant(variant)) * row["batch"] * row["rate"]
        peak = peak_of(row["device"], row["precision"])
        share = None if peak is None else f"{tflops / peak:.1%} of {peak:g}"
        rows.append((f"{row['variant']}, batch {row['batch']}, {how_of(row)}", row["rate"], tflops, share))
    return table(("training", "steps/s", "TFLOP/s", "of the peak"), rows)


def sampling_table(rates: Sequence[Line], beside: Sequence[Line]) -> list[str]:
    """Images a second."""
    rows = [
        (f"{row['variant']}, batch {row['batch']}, {how_of(row)}", row["rate"])
        for row in (*rates, *beside)
        if row["stage"] == "sample"
    ]
    return table(("sampling, 250 steps", "images/s"), rows)


def encoding_table(rates: Sequence[Line], beside: Sequence[Line]) -> list[str]:
    """Images a second of the autoencoder alone, and from JPEGs to shards with their mirrors."""
    alone = {(row["stage"], row["precision"]): row["rate"] for row in rates if row["variant"] == "SD-VAE"}
    shards = {row["precision"]: row["rate"] for row in beside if row["stage"] == "shards"}
    rows = []
    for precision in dict.fromkeys(precision for _, precision in alone):
        encoded, written = alone.get(("encode", precision)), shards.get(precision)
        share = None if encoded is None or written is None else f"{written / (encoded / 2):.0%}"
        rows.append((precision, encoded, alone.get(("decode", precision)), written, share))
    head = ("SD's VAE", "encoding, images/s", "decoding", "JPEGs to shards, with mirrors", "of the VAE alone")
    return table(head, rows)


def products_line(found: Sequence[Line]) -> list[str]:
    """The ceiling."""
    said = ", ".join(f"{line['tflops']:.0f} TFLOP/s in {line['precision']}" for line in found)
    return [f"A large product of random numbers: {said}."] if said else []


def kinds_table(found: Sequence[Line]) -> list[str]:
    """Where the time of a step goes."""
    rows = []
    for line in found:
        whole = sum(line["kinds"].values()) or 1.0
        kinds = ", ".join(f"{kind} {took / whole:.0%}" for kind, took in line["kinds"].items() if took > 0.01 * whole)
        rows.append((line["what"], line["step_ms"], line["kernels_ms"], line["launches"], kinds))
    return table(("what", "ms", "of kernels", "launches", "kinds of kernel"), rows)


def small_table(found: Sequence[Line], keys: Sequence[str], head: Sequence[str]) -> list[str]:
    """One line a row."""
    return table(head, [[line.get(key) for key in keys] for line in found])


def failures(lines: Sequence[Line]) -> list[str]:
    """What could not be measured."""
    return [f"Failed: {line['part']}: {line['error']}" for line in of("failed", lines)]


def tests_lines(text: str) -> list[str]:
    """How the tests ended, and what they measured beside its bounds."""
    ends = re.findall(r"^=+ (.*\b(?:passed|failed|errors?|skipped)\b.*) =+$", text, re.MULTILINE)
    bounds = re.findall(r"^ *[\d.]+e[+-]\d+ < .*$", text, re.MULTILINE)
    wrong = re.findall(r"^(?:FAILED|ERROR) .*$", text, re.MULTILINE)
    done = len(re.findall(r"(?:PASSED|FAILED|ERROR|SKIPPED)\b.*\[ *\d+%\]$", text, re.MULTILINE))
    end = [f"Tests: {ends[-1]}."] if ends else [f"Tests: {done} ended, and then they were cut off."] if text else []
    return [*end, *wrong, *(["```", *bounds, "```"] if bounds else [])]


def study_lines(ended: Sequence[Line], jobs: int) -> list[str]:
    """How long the embedded study took."""
    if not ended:
        return []
    (line,) = ended[-1:]
    end = "cut off" if line["cut"] else f"ended with {line['code']}"
    return [f"The embedded study on the GPU: {end} after {line['seconds']} s, with {jobs} jobs finished."]


def with_new_rates(lines: Sequence[Line], commit: str, path: Path) -> None:
    """Write the table of measured rates with what is new in the place of what is old."""
    text = resources.files("dit_scaling.plan").joinpath("measured_rates.csv").read_text()
    reader = csv.DictReader(text.splitlines())
    columns, known = list(reader.fieldnames or ()), list(reader)
    rows = {tuple(row[key] for key in WAY): row for row in known}
    for row in of("rate", lines):
        texts = {key: _text(row[key]) for key in columns} | {"commit": commit}
        rows[tuple(texts[key] for key in WAY)] = texts
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
