"""Pages allow their own style and script by hash, and nothing else."""

import base64
import hashlib
import re
from pathlib import Path

from dit_scaling.common.pages import STYLES, content_policy, read_style
from dit_scaling.health.check import Check
from dit_scaling.health.check_page import Numbers, Page, Section, write_page


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_names_each_text_by_its_digest() -> None:
    policy = content_policy(["a { }", "b { }"], ["alert()"])
    assert f"style-src 'sha256-{digest('a { }')}' 'sha256-{digest('b { }')}'" in policy
    assert f"script-src 'sha256-{digest('alert()')}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in content_policy(["a { }"])


def luminance(colour: str) -> float:
    colour = colour.lstrip("#")
    colour = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    shares = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_and_lines_stand_out_from_the_ground_in_light_dark_and_print() -> None:
    blocks = [dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in read_style("colours.css").split(":root")[1:]]
    assert len(blocks) == 3
    for colours in blocks:
        for name in ("ink", "soft", "link", "ok-text", "bad-text", *(f"c{number}" for number in range(7))):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
        assert contrast(colours["soft"], colours["wash"]) >= 4.5
        assert contrast(colours["bad-text"], colours["bad-wash"]) >= 4.5
        for ground in ("ok", "bad"):
            assert contrast("#fff", colours[ground]) >= 4.5  # badges are written in white


def test_a_gates_page_is_in_the_reports_style_and_leads_back_to_it(tmp_path: Path) -> None:
    check = Check("EMA moved", "0.1", "at least 0.25", passed=False, meaning="<frozen>")
    numbers = Numbers(("timestep", "raw"), (("1", "0.9"),))
    page = Page(
        "DiT-Nano/2: gate", "broken", "it is", (check,), (Section("Loss", "text", numbers=numbers),), "../r.html"
    )
    write_page(tmp_path / "gate.html", page)
    html = (tmp_path / "gate.html").read_text()
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style == "\n".join(read_style(name) for name in (*STYLES, "chart.css"))
    assert f"sha256-{digest(style)}" in html
    assert 'href="../r.html#gates"' in html
    assert 'class="badge fault">Broken<' in html
    assert "&lt;frozen&gt;" in html
    assert "style=" not in html.replace("<style", "")
    write_page(tmp_path / "alone.html", Page("x", "no fault found", "it is", (), ()))
    assert "href=" not in (tmp_path / "alone.html").read_text().replace('<link rel="icon" href="data:,">', "")
