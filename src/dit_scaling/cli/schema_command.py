"""``schema``: what editors complete config files from."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.common.errors import UserError


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
