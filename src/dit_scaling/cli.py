"""The command line ``dit-scaling``: what one asks before, beside and after a run of the pipeline.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from dit_scaling.common.allocator import keep_freed_memory
from dit_scaling.common.errors import UserError
from dit_scaling.common.surroundings import give_home, name_user

TIMED = ("bench", "plan")
"""Commands that may time training, which they do as the pipeline's jobs train."""

app = typer.Typer(
    help="Scaling studies of latent diffusion transformers. The pipeline itself is run with snakemake.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EMBEDDED = [Path("config/config.yaml")]
"""The study where no config file is named; one that is named is a study of its own, not laid over this."""
CHECKPOINT = "Weights of a DiT: ema.safetensors, a released .pt, a checkpoint of DiT's train.py, or an exported folder."
WeightsOption = Annotated[
    Literal["ema", "model"], typer.Option(help="Which weights of a checkpoint that holds averaged and raw ones.")
]
ClassesOption = Annotated[
    int | None, typer.Option(help="Classes without the null class, where the label table leaves it open.")
]
ConfigFiles = Annotated[
    list[Path],
    typer.Argument(help="Config file of a study, for example config/config.yaml; each further one is laid over it."),
]
ConfigOption = Annotated[
    list[Path],
    typer.Option("--configfile", help="Config file of the study; repeat it to lay another over those before."),
]


@app.command()
def check(config: ConfigFiles) -> None:
    """Check the config of a study without starting anything, and list what is doubtful in it."""
    from dit_scaling.config import load_study
    from dit_scaling.config.image_settings import ImageFiles
    from dit_scaling.data.class_order import require_order
    from dit_scaling.data.imagenet import compare_count
    from dit_scaling.data.sources import open_source
    from dit_scaling.data.split import require_shards, require_training_images
    from dit_scaling.data.survey import describe_inventory, require_readable, survey
    from dit_scaling.metrics.given_files import require_given_files
    from dit_scaling.paper.deviations import compare_protocol, doubtful_reasons

    study = load_study(*config)
    require_order(study)
    require_given_files(study)
    source = open_source(study.data)
    images = len(source)
    require_training_images(source.labels, source.class_names, study.data.held_out, study.seed)
    require_shards(images, study.data.held_out, study.latents.shards, study.latents.held_out_shards)
    if isinstance(study.data, ImageFiles):
        seen = survey(source, study.data)
        for sentence in (*describe_inventory(study.data), *seen.sentences):
            typer.echo(f"{'Warning' if sentence in seen.doubts else 'Images'}: {sentence}.")
        require_readable(seen)
    finding = compare_count(images, study.data.classes)
    if finding is not None:
        typer.echo(f"{'Warning' if finding.leak else 'Images'}: {finding.sentence}.")
    for warning in (*study.warnings(), *doubtful_reasons(study, compare_protocol(study, images))):
        typer.echo(f"Doubtful: {warning}.")
    runs = len(study.variants) * len(study.training.seeds)
    typer.echo(
        f"{_named(config)}: study '{study.study}', {runs} training runs of {study.training.steps} steps. No errors."
    )


@app.command()
def prefetch(config: ConfigOption) -> None:
    """Fetch what a study needs from the network into its cache, so that no job needs a network."""
    import logging

    from dit_scaling.config import load_study
    from dit_scaling.data.assets import needed_assets
    from dit_scaling.data.fetch import fetch

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study = load_study(*config)
    for asset in needed_assets(study):
        typer.echo(f"{fetch(asset, Path(study.resources.cache))}: whole, sha256 as {asset.known_from}")


@app.command()
def variants(config: ConfigFiles) -> None:
    """Print the variants of a study with tokens, parameters and Gflops."""
    from dit_scaling.config import load_study
    from dit_scaling.variants import UNetVariant, count_gflops, count_parameters, count_tokens

    study = load_study(*config)
    channels, size = study.vae.latent_channels, study.latent_size
    typer.echo(f"{'variant':<16}{'depth':>7}{'hidden_size':>13}{'tokens':>8}{'params':>14}{'Gflops':>12}")
    for name in study.variants:
        variant = study.variant(name)
        parameters = count_parameters(variant, study.data.classes, channels)
        depth, hidden_size = (
            ("-", variant.channels) if isinstance(variant, UNetVariant) else (variant.depth, variant.hidden_size)
        )
        typer.echo(
            f"{name:<16}{depth:>7}{hidden_size:>13}{count_tokens(variant, size) or '-':>8}{parameters:>14,}"
            f"{count_gflops(variant, size, channels):>12.4g}"
        )


@app.command()
def status(config: ConfigOption = EMBEDDED) -> None:
    """Show what of a study is done, running and waiting, from the files in results/."""
    from dit_scaling.config import load_study
    from dit_scaling.data.assets import open_stages
    from dit_scaling.results.status import describe_status, read_status

    study = load_study(*config)
    results = Path("results") / study.study
    if not results.is_dir():
        typer.echo(f"{results.absolute()} does not exist: nothing of the study was run from this folder.")
    typer.echo(describe_status(read_status(study, open_stages(study, results), results), results))


@app.command()
def plan(
    config: ConfigOption,
    device: Annotated[
        str | None,
        typer.Option(help="h200, h100, a100 or a100-40gb; a100 where none is named, this machine for a CPU's study."),
    ] = None,
    devices: Annotated[int | None, typer.Option(help="How many; 8, or this machine's cores over threads.")] = None,
    utilisation: Annotated[
        float | None,
        typer.Option(help="Share of the data sheet's peak that is reached, instead of measured rates."),
    ] = None,
    probe: Annotated[bool, typer.Option(help="Measure this machine's rate with a short training, instead.")] = False,
    diff: Annotated[Path | None, typer.Option(help="Another config, or results/STUDY: what would run again.")] = None,
    price_per_hour: Annotated[float, typer.Option(min=0, help="Of one device: the price in that currency.")] = 0.0,
) -> None:
    """Price a study before it starts, and say what its budget can show."""
    from dit_scaling.config import load_study
    from dit_scaling.plan.command import tell_plan
    from dit_scaling.plan.price import devices_as_measured, stated_devices

    study = load_study(*config)
    here = device is None and utilisation is None and study.resources.device == "cpu"
    if probe or here:
        import os

        from dit_scaling.plan.throughput import measured_devices

        cores = max(1, (os.cpu_count() or 1) // study.resources.threads)
        found = measured_devices(study, devices or (cores if here else 8))
    elif utilisation is None:
        found = devices_as_measured(device or "a100", devices or 8, study)
    else:
        found = stated_devices(device or "a100", devices or 8, utilisation, study)
    typer.echo(tell_plan(study, found, diff, price_per_hour))


@app.command()
def bench(
    variants: Annotated[
        list[str] | None, typer.Argument(help="For example DiT-XL/2; else the paper's patch 2.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Latents of a step, 4 x 32 x 32 each; 128.")] = None,
    precision: Annotated[str, typer.Option(help="bfloat16, tf32 or float32; bfloat16 on CUDA, else float32.")] = "",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--eager", help="torch.compile with static shapes; on CUDA by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="To train each variant for, and to do each other thing.")] = 10.0,
    stage: Annotated[
        list[str] | None, typer.Option(help="training, sampling or encoding (and decoding); repeat it; else all.")
    ] = None,
    configfile: Annotated[
        list[Path] | None, typer.Option(help="A study: its variants, batches, precisions and autoencoder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Rows as the table of measured rates has them.")] = False,
) -> None:
    """Measure how fast this device trains, samples and encodes, beside published figures."""
    from dit_scaling.config import load_study
    from dit_scaling.plan.bench import STAGES, tell_bench

    study = load_study(*configfile) if configfile else None
    if study is not None and (batch_size, precision, compiled) != (None, "", None):
        raise UserError("--configfile says batch, precision and compilation: leave --batch-size and the others out.")
    stages = stage or STAGES
    typer.echo(tell_bench(variants or [], device, batch_size, precision, compiled, seconds, stages, study, as_json))


@app.command()
def claims(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: variant, size, patch, params_m, gflops, a metric.")],
    metric: Annotated[str | None, typer.Option(help="Column to judge; fid50k, or the only fid*/fd_* column.")] = None,
    decoded_noise: Annotated[float | None, typer.Option(help="The same metric on decoded Gaussian noise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Judge the paper's claims on a table of metrics."""
    from dit_scaling.claims import evaluate_claims, read_metrics_table
    from dit_scaling.common.seals import check_seals

    check_seals([table])
    report = evaluate_claims(read_metrics_table(table, metric), metric, decoded_noise=decoded_noise).to_dict()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"Noise: {report['noise']}.")
    for claim in report["claims"]:
        condition = f" Only if {claim['condition']}." if claim["condition"] else ""
        typer.echo(f"Claim {claim['claim']}: {claim['words']}.{condition} {claim['statement']}. {claim['reason']}")
        alone = [pair for pair in claim["comparisons"] if pair["outcome"] == "unresolved"]
        if alone:
            pairs = ", ".join(f"{pair['favoured']} and {pair['other']}" for pair in alone)
            typer.echo(f"  Unresolved alone: {pairs}.")
        for pair in claim["exceptions"]:
            better, worse = (
                f"{pair[which]} ({pair[f'gflops_{which}']:.4g} Gflops, {pair[f'metric_{which}']:.4g})"
                for which in ("better", "worse")
            )
            typer.echo(f"  Exception, {pair['kind']}: {better} is better than {worse}.")
    for note in report["assumptions"]:
        typer.echo(f"Assumed: {note}.")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    vae: Annotated[
        str | None, typer.Option(help="vae.json, AutoencoderKL folder or hub id; by default the study's own vae.json.")
    ] = None,
    weights: WeightsOption = "ema",
    num_classes: ClassesOption = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File of one class name a line; by default those of the study's images.")
    ] = None,
) -> None:
    """Write a checkpoint and its VAE as a folder that diffusers.DiTPipeline.from_pretrained loads."""
    from dit_scaling.common.seals import check_seals
    from dit_scaling.data.class_order import read_names
    from dit_scaling.models.export import export_pipeline

    check_seals([checkpoint])
    names = read_names(str(class_names), "--class-names") if class_names else _class_names_of(checkpoint)
    export_pipeline(checkpoint, folder, vae or _vae_of(checkpoint), names, weights, num_classes)
    typer.echo(
        f"{folder}: load it with dit_scaling.models.export.load_pipeline, or diffusers.DiTPipeline.from_pretrained."
    )


def _of_study(checkpoint: Path, file: str, option: str) -> Path:
    """A file of the study that a checkpoint lies in: STUDY/VARIANT/seed-S/step-N/ema.safetensors."""
    path = _find_in_study(checkpoint, file)
    if path is None:
        raise UserError(f"{checkpoint} lies in no study with a {file}. Name it with {option}.")
    return path


def _find_in_study(checkpoint: Path, file: str) -> Path | None:
    return next((path for folder in checkpoint.resolve().parents if (path := folder / file).is_file()), None)


def _class_names_of(checkpoint: Path) -> list[str]:
    """The names of the classes of the study that a checkpoint lies in; none where it lies in none."""
    from dit_scaling.common.files import read_json

    vae = _find_in_study(checkpoint, "vae/vae.json")
    facts = vae.parents[1] / "data/data.json" if vae else None
    return list(read_json(facts)["class_names"]) if facts and facts.is_file() else []


def _vae_of(checkpoint: Path) -> str:
    """The autoencoder that an exported pipeline holds, or that of the study."""
    inside = checkpoint / "vae"
    return str(inside if inside.is_dir() else _of_study(checkpoint, "vae/vae.json", "--vae"))


@app.command("export-samples")
def export_samples(
    evaluation: Annotated[Path, typer.Argument(help="Folder of one evaluation: results/.../step-N/guidance-G.")],
    output: Annotated[Path, typer.Argument(help="The npz to write; images as arr_0, uint8.")],
) -> None:
    """Write the samples of one evaluation as the npz that ADM's evaluation suite reads."""
    from dit_scaling.common.seals import check_seals
    from dit_scaling.sampling.archive import export_samples as write

    check_seals(evaluation.glob("samples/part-*.npz"))
    typer.echo(f"{output}: {write(evaluation, output):,} images")


@app.command()
def clean(
    config: ConfigOption = EMBEDDED,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is shown.")] = False,
    other_runs: Annotated[
        bool, typer.Option("--other-runs", help="Also runs of settings that the study no longer has.")
    ] = False,
) -> None:
    """Show what the study's `keep` settings leave no reason to keep, and how much it is; delete it with --yes."""
    from dit_scaling.config import load_study
    from dit_scaling.results.cleaning import cleanable, delete

    study = load_study(*config)
    heaps = cleanable(study, Path("results", study.study), other_runs)
    for heap in heaps:
        typer.echo(f"{heap.size / 1e6:,.1f} MB in {len(heap.files)} files: {heap.reason}")
        for folder in sorted({path.parent for path in heap.files}):
            typer.echo(f"  {folder}: {', '.join(path.name for path in heap.files if path.parent == folder)}")
    if not heaps:
        typer.echo(f"Nothing to delete in results/{study.study}. What may go is set under `keep` in {_named(config)}.")
    elif yes:
        delete(heaps)
        typer.echo("Deleted.")
    else:
        typer.echo("Nothing is deleted yet; add --yes for that.")


@app.command()
def verify(
    study: Annotated[str, typer.Argument(help="Folder of its results, or its name below results/.")],
) -> None:
    """Read a study's files again, and say which are not as its jobs left them; exit code 1 where there are any."""
    from dit_scaling.results.verify import describe_verification
    from dit_scaling.results.verify import verify as compare

    results = Path(study) if Path(study).is_dir() else Path("results", study)
    found = compare(results)
    typer.echo(describe_verification(found, results))
    if found.damaged or found.states:
        raise typer.Exit(1)


@app.command()
def diagnose(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    page: Annotated[Path, typer.Argument(help="Page to write.")] = Path("diagnosis.html"),
    vae: Annotated[str | None, typer.Option(help="vae.json, AutoencoderKL folder or hub id; else the study's.")] = None,
    latents: Annotated[
        Path | None, typer.Option(help="manifest.json of latents like its own; else the study's.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the sampler; the paper has 250.")] = 50,
    weights: WeightsOption = "ema",
    num_classes: ClassesOption = None,
) -> None:
    """Show what a checkpoint does, and name the likeliest cause where its samples are bad."""
    from dit_scaling.common.lacking_memory import fixed_memory_named
    from dit_scaling.common.seals import check_seals
    from dit_scaling.health.diagnose import diagnose as examine
    from dit_scaling.latents.autoencoder import load_any_vae

    check_seals([checkpoint])
    raw = checkpoint.with_name("raw.safetensors")
    with fixed_memory_named(f"the diagnosis of {checkpoint}"):
        result = examine(
            checkpoint,
            raw if raw.exists() and raw != checkpoint else None,
            load_any_vae(vae or _vae_of(checkpoint)),
            latents or _of_study(checkpoint, "latents/manifest.json", "--latents"),
            steps,
            page,
            weights,
            num_classes,
        )
    typer.echo(f"{result.found.capitalize()}. {result.cause}")
    typer.echo(f"The page: {page}")


@app.command()
def schema(
    output: Annotated[Path, typer.Argument(help="Where the schema is, or goes.")] = Path("config/study.schema.json"),
    check_only: Annotated[bool, typer.Option("--check", help="Only say whether the file is up to date.")] = False,
) -> None:
    """Write the JSON schema of config files, or check that the written one is up to date."""
    from dit_scaling.common.files import atomic_path
    from dit_scaling.config.schema import schema_text

    if not check_only:
        with atomic_path(output) as temporary:
            temporary.write_text(schema_text())
    elif not output.is_file() or output.read_bytes() != schema_text().encode():
        raise UserError(f"{output} is not the schema of this version; run: dit-scaling schema {output}")


def _named(config: list[Path]) -> str:
    return ", ".join(map(str, config))


def main() -> None:
    """Entry point: one readable paragraph and exit code 2 for bad input."""
    name_user()
    give_home(Path("cache/home"))
    if sys.argv[1:2] and sys.argv[1] in TIMED:
        keep_freed_memory()
    try:
        app()
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
