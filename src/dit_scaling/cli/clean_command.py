"""``clean``: what of the results need not be kept."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles, JsonOption, named, tell_json
from dit_scaling.common.words import count


def clean(
    config: ConfigFiles = EMBEDDED,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is shown.")] = False,
    other_runs: Annotated[
        bool, typer.Option("--other-runs", help="Also runs of settings that the study no longer has.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the study's `keep` settings leave no reason to keep, and how much it is; delete it with --yes."""
    from dit_scaling.config import load_study
    from dit_scaling.results.cleaning import cleanable, delete

    study = load_study(*config)
    heaps = cleanable(study, Path("results", study.study), other_runs)
    if as_json:
        if yes:
            delete(heaps)
        rows = [{"reason": heap.reason, "bytes": heap.size, "files": [*map(str, heap.files)]} for heap in heaps]
        tell_json({"study": study.study, "deleted": yes, "heaps": rows})
        return
    for heap in heaps:
        typer.echo(f"{heap.size / 1e6:,.1f} MB in {count(len(heap.files), 'file')}: {heap.reason}")
        for folder in sorted({path.parent for path in heap.files}):
            typer.echo(f"  {folder}: {', '.join(path.name for path in heap.files if path.parent == folder)}")
    if not heaps:
        typer.echo(f"Nothing to delete in results/{study.study}. What may go is set under `keep` in {named(config)}.")
    elif yes:
        delete(heaps)
        typer.echo("Deleted.")
    else:
        typer.echo("Nothing is deleted yet; add --yes for that.")
