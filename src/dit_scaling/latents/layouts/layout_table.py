"""The table of layouts, and which of them a folder has."""

from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.latents.layouts.fast_dit import FAST_DIT
from dit_scaling.latents.layouts.foreign_latents import Layout
from dit_scaling.latents.layouts.latent_tars import WEBDATASET
from dit_scaling.latents.layouts.lightningdit import LIGHTNINGDIT
from dit_scaling.latents.layouts.repa import REPA

LAYOUTS = {layout.name: layout for layout in (FAST_DIT, REPA, LIGHTNINGDIT, WEBDATASET)}


def layout_of(folder: Path, name: str | None = None) -> Layout:
    """The layout of that name, or, where none is given, the one that the folder has.

    Raises:
        UserError: there is no such folder or layout, or the folder has none of `LAYOUTS`, several, or not that one.
    """
    if name is not None and name not in LAYOUTS:
        raise UserError(f"--format: {name} is not one of {', '.join(LAYOUTS)}.")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Name the folder of the latents, unpacked.")
    asked = [LAYOUTS[name]] if name is not None else list(LAYOUTS.values())
    found = [layout for layout in asked if layout.found(folder)]
    if len(found) == 1:
        return found[0]
    if found:
        several = " and ".join(layout.name for layout in found)
        raise UserError(f"{folder} looks like {several}. Say which with --format.")
    known = "; ".join(f"{layout.name}: {layout.files}" for layout in asked)
    raise UserError(f"{folder} holds no latents in a layout that is known. Looked for: {known}.")
