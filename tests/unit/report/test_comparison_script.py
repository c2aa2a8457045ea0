"""The page's script in a browser: it draws what Python draws, and recommends what Python recommends."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from featherlite.comparison import Weigh
from featherlite.evaluate.recommend import Candidate, efficient, recommend
from featherlite.report.comparison_page import render, write
from featherlite.report.comparison_view import front
from featherlite.report.svg import linear_ticks, log_ticks
from featherlite.report.templating import template_text

from .made_comparison import FIGURES, made_comparison, made_row

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --window-size=1280,1800 --virtual-time-budget=3000"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome at hand to run the page's script")


def opened(page: Path, tmp_path: Path) -> str:
    """The page as it stands once its script has run."""
    assert BROWSER is not None
    command = [BROWSER, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, encoding="utf-8")
    return done.stdout


def told(script: str, tmp_path: Path, page: str = "<!doctype html><body></body>") -> Any:
    """What the script hands to `tell`, run after the page's own."""
    start = "const tell = (what) => { const place = document.createElement('pre'); place.id = 'told';"
    start += "place.textContent = JSON.stringify(what); document.body.append(place); };"
    page = re.sub(r"<meta http-equiv[^>]*>", "", page)
    run = f"addEventListener('load', () => setTimeout(() => {{ {script} }}, 100));"
    file = tmp_path / "told.html"
    file.write_text(page.replace("</body>", f"<script>{start}{run}</script></body>"), "utf-8")
    found = re.search(r'<pre id="told">(.*?)</pre>', opened(file, tmp_path), re.DOTALL)
    assert found, "the script did not come to its end"
    return json.loads(unescape(found.group(1)))


def candidates(generator: random.Random) -> list[Candidate]:
    """A few networks with figures that often meet, so that ties are decided too; time is missing in some sets."""
    timed = generator.random() < 0.8
    made = []
    for index in range(generator.randint(1, 8)):
        top1, size = generator.choice([0.6, 0.75, 0.801, 0.93, 0.95]), generator.choice([50_000, 100_000, 3_141_592])
        time_ms = generator.choice([0.5, 1.0, 7.7]) if timed or generator.random() < 0.5 else None
        p_value = generator.choice([0.0, 0.001, 0.049, 0.05, 0.7, 1.0])
        made.append(Candidate(f"net{index}", top1, size, time_ms, p_value=min(1, 3 * p_value), n=100, p_alone=p_value))
    best = max(one.top1 for one in made)
    return [replace(one, p_value=1.0, p_alone=1.0) if one.top1 == best else one for one in made]


def test_the_rule_is_that_of_python(tmp_path: Path) -> None:
    generator = random.Random(0)
    cases = []
    for _ in range(300):
        found = candidates(generator)
        weights = [generator.choice([0, 0.05, 0.2, 1.0, 2.5]) for _ in range(3)]
        rows = [{"name": c.name, "top1": c.top1, "bytes": c.size_bytes, "ms": c.time_ms, "p": c.p_alone} for c in found]
        weigh = Weigh(accuracy=weights[0], size=weights[1], time=weights[2])
        cases.append((rows, weigh.model_dump(), found, weigh))
    points = [[(float(generator.randint(0, 5)), generator.randint(0, 5) / 5) for _ in range(7)] for _ in range(50)]
    ranges = [sorted((generator.uniform(0.01, 1), generator.uniform(1.5, 5000))) for _ in range(50)]
    given = json.dumps({"cases": [case[:2] for case in cases], "points": points, "ranges": ranges})
    script = f"""{template_text("comparison_rule.js")}
      const given = {given};
      tell({{
        ranked: given.cases.map(([rows, weigh]) => rule.ranked(rows, weigh).map((entry) => entry.one.name)),
        efficient: given.cases.map(([rows]) => rule.efficient(rows).map((one) => one.name)),
        front: given.points.map((points) => rule.front(points)),
        linear: given.ranges.map(([low, high]) => rule.linearTicks(low, high, 7)),
        log: given.ranges.map(([low, high]) => rule.logTicks(low, high, 6)),
        none: rule.ranked([], {{ accuracy: 1, size: 1, time: 1 }}),
      }});"""
    found = told(script, tmp_path)
    assert [names[0] for names in found["ranked"]] == [recommend(case[2], case[3]).name for case in cases]
    assert found["efficient"] == [[one.name for one in efficient(case[2])] for case in cases]
    assert found["front"] == [front(one) for one in points]
    for low, high, linear, log in zip(*zip(*ranges, strict=True), found["linear"], found["log"], strict=True):
        assert linear == pytest.approx(linear_ticks(low, high, 7))
        assert log == pytest.approx(log_ticks(low, high, 6))
    assert found["none"] == []
    assert len({names[0] for names in found["ranked"]}) > 3


def test_the_script_runs_under_the_pages_own_policy_and_draws_what_python_drew(tmp_path: Path) -> None:
    page = write(made_comparison(), tmp_path)
    before, after = page.read_text("utf-8"), opened(page, tmp_path)
    still = before.split('<div class="wide">')[1].split("</svg>")[0]
    drawn = after.split('id="drawn"')[1].split("</svg>")[0]
    fore = r'class="dot c(\d) fore'
    assert len(re.findall(fore, still)) == len(re.findall(fore, drawn)) == 3  # feathernet taught, MobileNetV2, ConvNeXt
    assert re.findall(r'class="dot c(\d)', still) == re.findall(r'class="dot c(\d)', drawn)
    ticks = r">(\d+%|\d+ [KM]B)</text>"
    assert re.findall(ticks, still) == re.findall(ticks, drawn)
    levels = [float(level) for level in re.findall(r'cy="([\d.]+)" r="6"', drawn)]
    assert levels == pytest.approx([float(level) for level in re.findall(r'cy="([\d.]+)" r="6"', still)], abs=0.01)
    assert 'id="static" hidden' in after
    assert 'class="tools js" hidden' not in after
    outcome = re.sub(r"<[^>]+>", "", after.split('id="outcome">')[1].split("</p>")[0])
    assert outcome == "★ MobileNetV2 as int8"  # the rule of Python, on the same figures, said so too


def test_the_page_decides_as_python_would(tmp_path: Path) -> None:
    """Sliders on the page against `recommend` on the same rows, from the study's own odd weights to none at all."""
    made = made_comparison(weigh=Weigh(accuracy=0.123, size=0.0417, time=0.2))
    rows = [row for row in made.rows if row.status == "done"]
    found = []
    for row in rows:
        assert row.p_best is not None
        timed, top1 = row.latency_of(row.ships or "float32"), row.int8_top1 if row.ships == "int8" else row.top1
        assert timed is not None
        assert top1 is not None
        assert row.ships is not None
        size = row.weight_bytes[row.ships]
        found.append(Candidate(row.name, top1.value, size, timed.p50_ms, p_value=row.p_best, n=550))
    settings = [(0, 0.2, 0.2), (0, 0, 1), (2, 0, 0), (0.3, 0.3, 0), (0.05, 0.2, 0.2), (0.1, 1, 0), (0, 0, 0)]
    expected = [recommend(found, Weigh(accuracy=a, size=s, time=t)).name for a, s, t in settings]
    own = recommend(found, made.weigh).name
    script = f"""
      const set = (id, value) => {{
        const slider = document.getElementById(id);
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
      }};
      const name = () => document.getElementById("outcome").firstChild.textContent.replace("★ ", "");
      const said = [name(), ...{json.dumps(settings)}.map(([accuracy, size, time]) => {{
        set("w-accuracy", accuracy); set("w-size", size); set("w-time", time);
        return name();
      }})];
      document.querySelector("[data-weigh=study]").click();
      tell([...said, name(), document.querySelector("#w-size + output").textContent]);"""
    told_names = told(script, tmp_path, render(made.model_copy(update={"recommended": own})))
    assert told_names == [own, *expected, own, "0.0417"]
    assert len(set(expected)) >= 3


def test_the_page_says_what_the_photos_cannot_tell(tmp_path: Path) -> None:
    """6.4 points below at a twelfth of the size, by chance or not: the recommended one, with a word of warning."""
    rows = (made_row(*FIGURES[1], p_best=1.0), made_row(*FIGURES[6], tied=True, p_best=0.9))
    page = render(made_comparison(rows=rows, pairs=(), recommended="feathernet taught"))
    said = told('tell(document.getElementById("because").textContent);', tmp_path, page)
    assert "6.4 points below MobileNetV2, which these photos cannot tell from chance, at 8% of its size" in said


def test_sort_filter_pick_and_weigh(tmp_path: Path) -> None:
    script = """
      const one = (query) => document.querySelector(query), all = (query) => [...document.querySelectorAll(query)];
      const text = (query) => one(query).textContent, press = (query) => one(query).click();
      const names = (table) => all(`.${table} tbody tr:not([hidden]) .called`).map((name) => name.textContent);
      const change = (query, value, kind) => {
        one(query).value = value;
        one(query).dispatchEvent(new Event(kind));
      };
      const said = {};

      press(".study th[data-sort=weight_int8] button");
      said.small = names("study");
      said.sorted = one(".study th[data-sort=weight_int8]").getAttribute("aria-sort");
      press(".study th[data-sort=weight_int8] button");
      said.large = names("study");
      said.other = names("rest");
      press(".rest th[data-sort=macro_f1] button");
      said.macro = names("study");
      said.unsorted = one(".study th[data-sort=weight_int8]").hasAttribute("aria-sort");
      press(".rest th[data-sort=name] button");
      said.named = names("rest");
      press(".study th[data-sort=rank] button");

      change("#filter", "scratch feather", "input");
      said.filtered = names("rest");
      said.matches = text("#matches");
      said.drawn = all("#drawn .dot").length;
      change("#filter", "", "input");
      press("input[value=pretrained]");
      said.pretrained = names("study");
      press("input[value='']");

      press('.study tr[data-row="3"] button');
      said.picked = one("#drawn .dot.selected").dataset.row;
      said.card = text("#picked");
      one('#drawn .dot[data-row="5"]').dispatchEvent(new MouseEvent("click"));
      said.rows = all("tr.selected").map((line) => line.dataset.row);
      press("#picked button");
      said.closed = one("#picked").hidden && !one("tr.selected");

      change("#cost", "ms_float32", "change");
      change("#score", "macro_f1", "change");
      said.axes = one("#drawn .dot").getAttribute("aria-label");
      press("#log");
      said.linear = text("#drawn .axis-name");
      press("#log");
      said.log = text("#drawn .axis-name");
      change("#kin", "road", "change");
      said.kins = all("#kins li").map((kin) => kin.textContent);
      one('#drawn .dot[tabindex="0"]').focus();
      said.tip = text("#tip");
      const next = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
      document.activeElement.dispatchEvent(next);
      said.next = document.activeElement.dataset.row;

      press("[data-weigh=accuracy]");
      said.accurate = text("#outcome");
      said.ship = all(".chip.ship:not([hidden])").map((chip) => chip.closest("tr").dataset.row);
      press("[data-weigh=study]");
      change("#most-size", "1", "input");
      said.limited = text("#outcome");
      said.beyond = all(".study tr.beyond").length;
      change("#most-size", "0.001", "input");
      said.none = text("#outcome");
      change("#most-size", "", "input");
      said.back = text("#outcome");
      tell(said);"""
    found = told(script, tmp_path, render(made_comparison()))
    by_size = sorted(FIGURES, key=lambda figures: figures[6])
    assert found["small"] == [figures[0] for figures in by_size]
    assert found["sorted"] == "ascending"
    assert found["large"][0] == "AlexNet"
    assert found["other"] == found["large"]
    assert found["named"] == sorted((figures[0] for figures in FIGURES), key=str.lower)
    assert found["kins"] == ["tuned", "trained", "probe", "distilled"]
    assert found["macro"] == [figures[0] for figures in FIGURES]
    assert not found["unsorted"]
    assert found["filtered"] == ["feathernet taught", "feathernet"]
    assert found["matches"] == "2 of 11"
    assert found["drawn"] == 2
    assert found["pretrained"] == [f[0] for f in FIGURES if f[2] != "none"]
    assert found["picked"] == "3"
    assert "ResNet50" in found["card"]
    assert "94.4 MB" in found["card"]
    assert found["rows"] == ["5", "5"]
    assert found["closed"]
    assert found["axes"].startswith("EfficientNetB0: macro-F1 0.950, time per photo, float32 9.42 ms")
    assert found["linear"] == "time per photo, float32"
    assert found["log"] == "time per photo, float32 (logarithmic)"
    assert found["tip"].startswith("EfficientNetB0")
    assert "0.950 (0.929 to 0.965)" in found["tip"]
    assert found["next"] == "1"
    assert found["accurate"] == "★ ConvNeXtTiny as float32"
    assert found["ship"] == ["2"]
    assert found["limited"] == "★ feathernet taught as int8"
    assert found["beyond"] == 8
    assert found["none"] == "None is small and fast enough."
    assert found["back"] == "★ MobileNetV2 as int8"
