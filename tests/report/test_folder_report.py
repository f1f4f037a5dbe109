"""The report on two folders: made by notebook 04 alone, whole in one file, and no name in it is ever markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from envsound.base.files import read_csv, read_json, write_json, write_wav
from envsound.evaluation.compare import evaluate_run, results_folder
from envsound.metrics.extended import PER_CLIP
from envsound.report.folder_report import NO_REPORT, html_table, paragraph, write_report

REPOSITORY = Path(__file__).parents[2]
STUDY = Path("data") / "published" / "published_study.csv"
AWKWARD = "<img src=x onerror=alert(1)> & $x_ `y`.wav"


def noise(seed: int, n_samples: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).clip(-1, 1)


@pytest.fixture
def places(tmp_path_factory, root) -> tuple[Path, Path]:
    """Two folders outside the (empty) repository that is the working directory."""
    (root / STUDY).parent.mkdir(parents=True)
    shutil.copyfile(REPOSITORY / STUDY, root / STUDY)
    made, real = (tmp_path_factory.mktemp(name) for name in ("made by $m$ <b>", "real"))
    for number in range(3):
        write_wav(made / "dog" / f"{number}.wav", noise(number, 16_000), 16_000)
        stereo = np.stack([noise(10 + number, 30_000), noise(20 + number, 30_000)], 1)
        soundfile.write(_folder(real / "dog") / f"{number}.flac", stereo, 44_100)
    write_wav(made / AWKWARD, noise(5, 8_000), 22_050)
    write_wav(made / f"silent {AWKWARD}", np.zeros(8_000), 22_050)
    (real / "broken.mp3").write_bytes(b"ID3")
    return made, real


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def run_notebook(made: Path, real: Path, cache: Path) -> Path:
    """Run notebook 04 as the kernel would, without starting one, and return the folder of its results."""
    cells = json.loads((REPOSITORY / "notebooks" / "04_metrics.ipynb").read_text(encoding="utf-8"))["cells"]
    scope: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
        if "parameters" in cell["metadata"].get("tags", []):
            scope |= {"generated_dir": str(made), "real_dir": str(real), "n_resamples": 5, "n_jobs": 1}
            scope["evaluate_run"] = lambda *a, **k: evaluate_run(*a, **k, cache_dir=cache)
    return scope["output_dir"]


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_the_notebook_leaves_a_report_of_any_two_folders(places, root, tmp_path):
    made, real = places
    before = sorted(path for place in places for path in place.rglob("*"))
    folder = run_notebook(made, real, tmp_path / "cache")
    assert sorted(path for place in places for path in place.rglob("*")) == before
    assert folder == results_folder("", str(made), str(real)) and (root / folder).is_dir()
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.words)
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert {tag for tag, _ in page.tags} & {"script", "link", "a", "audio", "iframe"} == set()
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(metric.axis_label in text for metric in PER_CLIP.values())
    assert "Everything is measured at 16000 Hz" in text and "44100" in text
    assert f"silent {AWKWARD}" in text and "broken.mp3" in text
    assert "Spectral convergence" in text and "pairs are" not in text and "4 of 4 pairs" in text
    record = read_json(folder / "provenance.json")["steps"]["04_metrics"]
    assert f"numpy {record['versions']['numpy']}" in text and record["commit"] in text
    facts = record["facts"]
    assert facts["sample_rate_hz"] == 16_000 and facts["n_clips"] == {"generated": 4, "real": 3}
    assert facts["sides"]["generated"]["stored_rates_hz"] == [16_000, 22_050] and facts["n_skipped"] == 2


def test_the_numbers_of_the_report_are_those_of_the_tables(places, tmp_path):
    folder = run_notebook(*places, tmp_path / "cache")
    page = (folder / "report.html").read_text(encoding="utf-8")
    table = read_csv(folder / "evaluation.csv").set_index(["system", "metric"])
    row = table.loc[("generated", "rms")]
    cells = re.findall(r"<tr><td>RMS</td>(.*?)</tr>", page)
    shown = [re.findall(r"<td>(.*?)</td>", cell) for cell in cells]
    delta = "{cliffs_delta:+.2f} ({cliffs_delta_low:+.2f} to {cliffs_delta_high:+.2f})".format(**row)
    assert shown[1][0] == delta and shown[1][3] == "two-sample"
    assert shown[1][4] == f"{row['ks']:.3g}" and shown[1][6] == f"{row['p_holm']:.3g}"
    real = table.loc[("real", "rms")]
    assert shown[0][0] == "{mean:.3g} ({mean_low:.3g} to {mean_high:.3g})".format(**real)
    assert shown[0][6:] == ["3", "4"]


def test_synthetic_clips_are_called_so(places, tmp_path):
    made, real = places
    folder = results_folder("", str(made), str(real))
    result = evaluate_run("", generated_dir=str(made), real_dir=str(real), n_resamples=5, cache_dir=tmp_path / "cache")
    step = dict.fromkeys(("started", "commit", "device", "platform", "python"), "")
    write_json(folder / "provenance" / "04_metrics.json", step | {"parameters": {}, "versions": {}})
    write_report(result, folder, real)
    assert "Synthetic, not real" not in (folder / "report.html").read_text(encoding="utf-8")
    run = tmp_path / "run"
    write_json(run / "provenance" / "01_encode_clips.json", {"parameters": {"dataset": "synthetic"}})
    assert "report.html" in write_report(result, folder, run)
    assert "<strong>Synthetic, not real.</strong>" in (folder / "report.html").read_text(encoding="utf-8")
    result.effects = None
    (folder / "report.html").unlink()
    assert write_report(result, folder) == NO_REPORT and not (folder / "report.html").exists()


def test_text_is_never_markup_but_for_bold_italics_and_code():
    assert paragraph("**a** *b* `c*d*<`<i>") == "<p><strong>a</strong> <em>b</em> <code>c*d*&lt;</code>&lt;i&gt;</p>"
    table = html_table(["<th>"], [["</td><script>"]])
    assert "<script>" not in table and "&lt;/td&gt;&lt;script&gt;" in table and "<th>&lt;th&gt;</th>" in table
