"""The chapter on the evaluation and the page of closest pairs, staged from tables that were made up."""

import re
from pathlib import Path

import pandas as pd
import pytest
from fakes.evaluations import SPACES, evaluation, make_published
from fakes.linked_players import players
from fakes.runs import make_run, tone

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.book.build import build
from envsound.book.evaluation import FIGURES, NOT_RUN, EvaluationChapter, failures, sizes
from envsound.book.nearest import NearestPairsPage
from envsound.evaluation.tables import telling_apart
from envsound.metrics.tests import N_SWAPS
from envsound.report.assets import Assets
from envsound.report.listener_findings import findings_distances, findings_training, findings_truth
from envsound.report.runs import Run
from envsound.run.publish import LISTENERS

REPOSITORY = Path(__file__).parents[2]
FRAGMENTS = ("runs", "apart", "diversity", "distances", "truth", "training", "classes", "memorisation", "seeds")


@pytest.fixture
def staged(root):
    """The fragments of two published runs, one of which has notebook 14's tables alone."""
    published = root / "data" / "published"
    make_published(published / "esc10")
    other = make_published(published / "wide", "wide seed 0")
    for name in LISTENERS:
        (other / name).unlink(missing_ok=True)
    EvaluationChapter(published, Assets(root / "book", [root / "data"]), root / "book").stage()
    folder = root / "book" / "executed" / "evaluation"
    return {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in FRAGMENTS}


def test_every_fragment_is_in_the_chapter():
    chapter = (REPOSITORY / "book" / "evaluation.md").read_text(encoding="utf-8")
    assert re.findall(r"```{include} executed/evaluation/(\w+).txt\n```", chapter) == list(FRAGMENTS)
    contents = (REPOSITORY / "book" / "_toc.yml").read_text()
    assert "file: evaluation\n" in contents and "file: executed/nearest_pairs\n" in contents


def test_every_source_that_is_cited_is_in_the_bibliography():
    chapter = (REPOSITORY / "book" / "evaluation.md").read_text(encoding="utf-8")
    cited = {key for keys in re.findall(r"{cite(?::t)?}`([^`]+)`", chapter) for key in keys.split(",")}
    keys = re.findall(r"^@\w+{([^,]+),$", (REPOSITORY / "book" / "references.bib").read_text(encoding="utf-8"), re.M)
    assert len(cited) > 10 and cited <= set(keys) and len(keys) == len(set(keys))


def test_without_a_published_run_the_chapter_says_so(root):
    folder = build.stage([]) / "evaluation"
    assert {(folder / f"{name}.txt").read_text() for name in FRAGMENTS} == {f"{NOT_RUN}\n"}


def test_every_published_run_has_its_row(staged):
    assert staged["runs"].count("executed/published_") == 2 and "ten classes of made-up sound" in staged["runs"]
    rows = [line for line in staged["apart"].splitlines() if line.startswith("| ")]
    assert rows[-2:] == ["| esc10 seed 0 | 3 | 0 | 1 | 2 | 0 | 0 | 0 | 0 | 3 |",
                         "| wide seed 0 | 3 | 0 | 1 | 2 | 0 | 0 | 0 | 0 | 3 |"]  # fmt: skip
    assert "**wide**" not in staged["truth"] and "**esc10**" in staged["truth"]


def test_what_the_model_fails_at_is_said_plainly_and_the_codecs_part_in_it(staged):
    assert "**esc10 seed 0 fails in 2 of 3 metrics** (n = 100 against 80 real clips)" in staged["apart"]
    assert re.search(r"Cliff's delta: [^,]+ \(-0\.25\), [^,]+ \(-0\.25\)\. The codec alone changes 1", staged["apart"])
    assert "1 of these (80 pairs, paired test), with its distance D beside the model's: Zero" in staged["apart"]
    assert " 0.48 beside 0.47. So much may not be the model's doing." in staged["apart"]
    shuffled = "frames shuffled in 0 (n = 80), bigram in 0 (n = 80), unigram in 0 (n = 80)."
    assert f"fail in no more: {shuffled}" in staged["apart"]
    assert "Two clips of one class of esc10 seed 0 lie **0.40** times as far apart" in staged["diversity"]
    snr, zcr = (staged["apart"].index(word) for word in ("SNR", "Zero"))
    assert snr < zcr  # the widest distance first


def test_numbers_of_clips_stand_beside_counts_of_failures(staged):
    listed = "model 100; every other system 80"
    assert f"Clips tested against 80 real ones: {listed}. More clips tell more apart" in staged["apart"]
    assert f"beside its own original by {N_SWAPS:,} random exchanges within pairs" in staged["apart"]


def test_without_pairs_the_codec_s_test_is_called_what_it_is():
    table = evaluation().assign(test="two-sample", n=80)
    counts = telling_apart(table).set_index("system")
    model = next(counts[counts.index == "generated"].itertuples())
    assert "The codec alone changes 1 of these (n = 80)" in failures(table, counts, model)[0]
    assert sizes(counts, model) == "Clips tested against 80 real ones: model 80; every other system 80."
    uneven = counts.assign(n=[70 if name == "noise" else 80 for name in counts.index])
    assert "white noise 70. More clips tell more apart" in sizes(uneven, model)
    harmless = table.assign(p_holm=table["p_holm"].where(table["system"] != "codec", 1.0))
    counts = telling_apart(harmless).set_index("system")
    assert "The codec alone changes none of these (n = 80)." in failures(harmless, counts, model)[0]


def test_a_run_with_several_training_seeds_has_their_spread(staged, root):
    assert "- KAD, cnn, 2 components: **0.38** on average over 2 training seeds, standard" in staged["seeds"]
    assert "| generated clips heard as asked | cnn | 25% | 50% | 38% | 18% | 25% | 50% | 2 |" in staged["seeds"]
    alone = make_published(root / "data" / "other" / "esc10", n_seeds=1).parent
    EvaluationChapter(alone, Assets(root / "book", [root / "data"]), root / "book").stage()
    text = (root / "book" / "executed" / "evaluation" / "seeds.txt").read_text()
    assert "With one training seed" in text and "|" not in text


def test_tables_hold_every_system_with_its_interval(staged):
    line = next(line for line in staged["diversity"].splitlines() if "mean over classes" in line)
    assert line.startswith("| esc10 seed 0 | mean over classes | 0.20 (0.15 to 0.25) | 0.30 (0.25 to 0.35) | 0.40 (")
    assert (
        "| esc10 | cnn, 2 components | model | 80 | 3.00 (2.50 to 3.50) | 0.4 | 30 | 27 | 24 | 0.50 (0.20"
        in (staged["distances"])
    )
    assert "| esc10 | cnn (reports) | 100% (20% to 90%) |" in staged["truth"]
    assert "The network hears none of the clips that were asked to be: rain." in staged["truth"]
    assert "| rain | 8 of 8 | 8 of 8 | 0 of 8 | **3.00** |" in staged["classes"]
    copied = (
        "| esc10 | training clips through the codec | cnn, 2 components | 10 | 0.80 | 0.85 | 0.55 | 4 (0.6) | 0.5 |"
    )
    assert f"{copied} not found |" in staged["memorisation"]


def test_figures_are_linked_where_there_are_some(root, staged):
    links = re.findall(r"{figure} (\S+)", "".join(staged.values()))
    assert len(links) == 3 and all((root / "book" / link).read_bytes() == b"png" for link in links)
    assert set(FIGURES) >= {"evaluation_overview", "listener_distances"}


def test_the_figure_of_several_training_seeds_is_shown_once(root):
    folder = make_published(root / "data" / "published" / "esc10")
    table = read_csv(folder / "evaluation.csv")
    again = table[table["system"] == "generated"].assign(run="esc10 seed 1")
    write_csv(folder / "evaluation.csv", pd.concat([table, again], ignore_index=True))
    EvaluationChapter(folder.parent, Assets(root / "book", [root / "data"]), root / "book").stage()
    text = (root / "book" / "executed" / "evaluation" / "apart.txt").read_text(encoding="utf-8")
    assert "**esc10 seed 1 fails" in text and text.count("{figure}") == 1
    assert text.count("Clips tested against") == 1


# Findings


def test_findings_name_the_baselines_that_are_nearer(staged):
    assert "KAD **3.00** (2.50 to 3.50; floor 1.00, ceiling 2.00, white noise 8.00)" in staged["distances"]
    assert "told from real clips; 0 of 5 systems" in staged["distances"]
    assert "- AST: not run here: no weights" in staged["distances"]
    rows = pd.DataFrame({"embedding": "e", "side": ["generated", "shuffled"], "kad": [2.0, 1.0], "kad_low": 1.0,
                         "kad_high": 3.0, "kad_p_adjusted": 0.5, "note": ""})  # fmt: skip
    text = findings_distances(rows)
    assert "not told from real clips; 1 of 1 systems that need no model are nearer: shuffled" in text


def test_findings_hold_the_ceiling_beside_the_model(staged):
    assert (
        "- cnn (reports) hears the class asked for in **50%** (20% to 90%) of 16 generated clips; in 100% of real"
        in (staged["truth"])
    )
    untold = pd.DataFrame({"category": [""], "side": ["real"], "classifier": ["cnn"]})
    assert "not told classes" in findings_truth(untold) and "can teach none" in findings_training(pd.DataFrame())


# The page of pairs


def with_pairs(run: Path) -> Path:
    folder = run / "nearest_pairs"
    rows = []
    for number, space in enumerate(SPACES):
        tone(folder / f"{number}_clip.wav", 300 + number)
        tone(folder / f"{number}_nearest.wav", 400 + number)
        row = {"rank": 1, "side": "generated", "space": space, "clip": "g", "category": "sea_waves", "nearest": "t"}
        row |= {"nearest_category": "rain", "distance": 3.0, "relative": 0.5}
        rows.append(row | {"clip_file": f"{number}_clip.wav", "nearest_file": f"{number}_nearest.wav"})
    write_csv(folder / "pairs.csv", pd.DataFrame(rows))
    return folder


def write_page(run: Path) -> Path:
    page = Path("book") / "executed" / "nearest_pairs.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(NearestPairsPage(Assets("book", [run]), page).write([Run(run)]), encoding="utf-8")
    return page


def test_pairs_of_the_readers_runs_are_heard_side_by_side(root):
    run = make_run(root)
    folder = with_pairs(run)
    page = build.stage([run]) / "nearest_pairs.md"
    text = page.read_text(encoding="utf-8")
    assert len(players(page)) == 4 and "sea waves · g" in text and "rain · t" in text and "<td>0.50</td>" in text
    assert all(f"### {space}" in text for space in SPACES) and "**synthetic** stand-ins" in text
    assert players(page)[1].read_bytes() == (folder / "0_nearest.wav").read_bytes()
    (folder / "0_nearest.wav").unlink()
    page = write_page(run)
    assert "0_nearest.wav: not on this machine" in page.read_text(encoding="utf-8") and len(players(page)) == 3


def test_without_pairs_the_page_says_how_to_make_them(root):
    text = write_page(make_run(root)).read_text(encoding="utf-8")
    assert "Not run here" in text and "17_evaluate_by_listeners.ipynb" in text


def test_a_pair_that_leaves_its_folder_is_refused(root):
    run = make_run(root)
    folder = with_pairs(run)
    pairs = pd.read_csv(folder / "pairs.csv")
    write_csv(folder / "pairs.csv", pairs.assign(nearest_file="../samples/000.wav"))
    with pytest.raises(InputError, match="leads outside"):
        write_page(run)


def test_what_a_table_of_pairs_says_is_text_and_no_markup(root):
    run = make_run(root)
    folder = with_pairs(run)
    pairs = pd.read_csv(folder / "pairs.csv")
    write_csv(folder / "pairs.csv", pairs.assign(space="<script>x</script>"))
    text = write_page(run).read_text(encoding="utf-8")
    assert "<script>" not in text and "### &lt;script&gt;x&lt;/script&gt;" in text
    write_csv(folder / "pairs.csv", pairs.assign(rank="<script>"))
    with pytest.raises(InputError, match=r"pairs\.csv: rank '<script>'"):
        write_page(run)
