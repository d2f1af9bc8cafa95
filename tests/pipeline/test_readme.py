"""The README's Python runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def test_python_blocks_run_and_say_what_they_say(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "".join(BLOCKS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    counts, timesteps, frechet, scores = run.stdout.splitlines()
    parameters, gflops = counts.split()
    assert (int(parameters), round(float(gflops), 2)) == (674834720, 118.62)
    assert timesteps == "tensor([995, 999])"
    assert float(frechet) > 0
    assert scores.startswith("KernelDistance(")


def test_every_link_leads_somewhere_and_every_page_is_linked() -> None:
    root, linked = README.parent, set()
    for page in (README, *sorted((root / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            linked.add((page.parent / target).resolve())
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert {page for page in (root / "docs").glob("*.md") if page.resolve() not in linked} == set()
