"""README and the pages of docs/: their Python runs, commands and configs are taken, links lead somewhere."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from snakemake.cli import get_argument_parser
from typer.main import get_command
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from pipeline import ROOT

README = ROOT / "README.md"
USAGE = typer.BadParameter.__mro__[1]  # what an unknown option raises too
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`((?:dit-scaling|snakemake|make|python -m) [^`\n]+)`(?!`)")
RULES = {
    rule for path in (ROOT / "rules").glob("*.smk") for rule in re.findall(r"^rule (\w+):", path.read_text(), re.M)
}
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
TARGETS = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())  # type: ignore[index]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of these languages."""
    for indent, language, text in FENCED.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """Each command as its words; comments are left out."""
    begun = ""
    for line in text.splitlines():
        begun += line + "\n"
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        begun = ""
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


BLOCK_COMMANDS = [
    pytest.param(words, id=f"{named(page)}: {' '.join(words)[:60]}")
    for page in PAGES
    for text in blocks(page, "bash", *([""] if page.parent == ROOT / "docs" else []))
    for words in commands(text)
]
SPAN_COMMANDS = [
    pytest.param(shlex.split(text), id=f"{named(page)}: {text[:60]}")
    for page in PAGES
    for text in SPAN.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    if "\\" not in text
]


def require_study(files: list[str]) -> None:
    """Config files that ship are a study, together; those that a reader writes are not known."""
    shipped = [file for file in files if file.startswith("config/") and not Path(file).stem.isupper()]
    for file in shipped:
        assert (ROOT / file).is_file(), file
    if shipped == files and files:
        load_study(*(ROOT / file for file in files))


def check_snakemake(words: list[str], *, whole: bool) -> None:
    given = get_argument_parser().parse_args(words)
    if whole:
        assert given.cores or given.dryrun or given.profile or given.report or given.unlock, (
            "neither --cores nor a dry run"
        )
    require_study([str(file) for file in given.configfile or []])
    for target in {*(given.targets or ()), *(given.forcerun or ()), *(given.until or ())}:
        assert target in RULES or target.startswith("results/"), target
    for profile in given.profile or ():
        assert (ROOT / profile / "config.yaml").is_file(), profile


def check_dit_scaling(words: list[str], *, whole: bool) -> None:
    if words[0] == "--install-completion":  # typer's own
        return
    try:
        context = COMMANDS[words[0]].make_context(words[0], list(words[1:]))
    except typer.BadParameter:  # an argument may be left out where a sentence is about the command
        if whole:
            raise
        return
    require_study([str(file) for file in context.params.get("config") or []])
    for word in words:
        assert not word.startswith(("src/", "docs/")) or (ROOT / word).exists(), word


def check_command(words: list[str], *, whole: bool = True) -> None:
    """Fail unless the program would take these words; what is not ours is known by its name only."""
    name, *rest = words
    if name == "uv" and rest[0] == "run":
        name, *rest = rest[1:]
    if name == "dit-scaling":
        check_dit_scaling(rest, whole=whole)
    elif name == "snakemake":
        check_snakemake(rest, whole=whole)
    elif name == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS, rest
    elif name in ("python", ".venv/bin/python"):
        at = rest.index("-m") + 1 if "-m" in rest else 0
        if rest[at] == "pdb":
            rest, at = rest[at + 1 :], 0
        if rest[at] != "-c":
            assert (ROOT / rest[at]).is_file() if rest[at].endswith(".py") else find_spec(rest[at]), rest
    else:
        assert name in (
            "cd",
            "cp",
            "pip",
            "uv",
            ".uv/bin/uv",
            "pytest",
            ".venv/bin/pre-commit",
            "MALLOC_TRIM_THRESHOLD_=17179869184",
        ), name


def test_the_python_runs_and_says_what_it_says(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "".join(blocks(ROOT / "docs" / "python.md", "python"))],
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


@pytest.mark.parametrize("words", BLOCK_COMMANDS)
def test_every_command_is_one(words: list[str]) -> None:
    check_command(words)


@pytest.mark.parametrize("words", SPAN_COMMANDS)
def test_every_command_in_a_sentence_is_one(words: list[str]) -> None:
    check_command(words, whole=False)


def test_a_command_that_is_none_is_found() -> None:
    for line in (
        "dit-scaling plan --devcie h200",
        "dit-scaling plam",
        "dit-scaling export",
        "dit-scaling check config/gone.yaml",
        "snakemake --cores 2 trian",
        "snakemake --cores 2 --configfile config/fast.yaml",
        "snakemake --until latents",
        "make studdy",
        "python -m benchmarks.gone",
        "snakmake --cores 2",
    ):
        with pytest.raises((AssertionError, KeyError, SystemExit, UserError, USAGE)):
            check_command(shlex.split(line))


@pytest.mark.parametrize(
    "line",
    [
        "dit-scaling plan config/imagenet256-claims.yaml config/fast.yaml --device h200 --devices 8",
        "dit-scaling variants config/config.yaml",
    ],
)
def test_what_runs_in_a_second_runs_as_it_is_shown(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any(line in page.read_text() for page in PAGES)
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(app, line.split()[1:])
    assert answer.exit_code == 0, answer.output


CONFIGS = [pytest.param(text, id=f"{named(page)}: {text[:40]!r}") for page in PAGES for text in blocks(page, "yaml")]


BASES = ("config.yaml", "embedded-families.yaml", "imagenet256-claims.yaml")
"""Studies that a page's lines may be meant for: digits, several families, ImageNet."""


@pytest.mark.parametrize("text", CONFIGS)
def test_every_config_is_a_study_when_laid_over_one(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "nets.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused = []
    for base in BASES:
        try:
            overlaid(text, tmp_path, base)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) < len(BASES), "\n".join(refused)


def overlaid(text: str, folder: Path, base: str = "config.yaml") -> None:
    """Load a shipped study with these lines laid over it."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(text)
    load_study(ROOT / "config" / base, overlay)


def test_a_key_of_former_times_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="horizontal_flip"):
        overlaid("training: {mirror: true}\n", tmp_path)


def test_readme_is_short() -> None:
    assert len(README.read_text().split()) <= 900


def headings(page: Path) -> dict[str, str]:
    """Headings of a page by their anchors, as MkDocs and GitHub make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(
        r'^--8<-- "([^":]+\.md)(?::\w+)?"$', lambda found: (ROOT / found[1]).read_text(), text, flags=re.MULTILINE
    )
    titles = [title.replace("`", "") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()): title for title in titles}


def test_every_link_leads_somewhere_and_every_page_is_linked() -> None:
    linked = set()
    for page in PAGES:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            file = (page.parent / target).resolve() if target else page
            linked.add(file)
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in headings(file), f"{page.name}: {target}#{anchor}"
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    in_nav = set(re.findall(r"[\w-]+\.md", str(nav)))
    pages = {page for page in PAGES if page.parent == ROOT / "docs"}
    assert {page.name for page in pages} == in_nav
    assert {page.name for page in pages if page not in linked} <= {"contributing.md"}


def test_pages_that_code_and_configs_name_are_there() -> None:
    folders = ("src", "config", "rules", "workflow", "slurm", "benchmarks", "tests", ".ci")
    files = [
        file for name in folders for file in (ROOT / name).rglob("*") if file.suffix in (".py", ".yaml", ".smk", ".csv")
    ]
    for file in (*files, ROOT / "CONTRIBUTING.md"):
        text = file.read_text(encoding="utf-8")
        for path, heading in re.findall(r"\b(docs/[\w./-]+\.\w+)(?:, ['\"]([^'\"]+)['\"])?", text):
            assert (ROOT / path).exists(), f"{file}: {path}"
            assert not heading or heading in headings(ROOT / path).values(), f"{file}: {path}, {heading!r}"
