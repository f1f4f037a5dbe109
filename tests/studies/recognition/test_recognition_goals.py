"""Which goals the recognisers reach: the published study's accuracies and this study's own."""

from pathlib import Path

import pandas as pd
import pytest

from envsound.metrics.published import published_value, read_published
from envsound.studies.recognition.goals import GOAL_COLUMNS, GOALS, OWN_GOAL, findings_goals, goals_table, reasons
from envsound.studies.recognition.recognisers import KINDS

PUBLISHED = Path(__file__).parents[3] / "data" / "published" / "published_study.csv"
NOTHING = pd.DataFrame({"recogniser": []})


def rows(**accuracies: float) -> pd.DataFrame:
    """Return recognition.csv with a row of each kind of that accuracy."""
    table = pd.DataFrame({"recogniser": [f"a {kind}" for kind in accuracies], "kind": list(accuracies)})
    table["codec"] = ["none" if kind == "cnn" else "bundled" for kind in accuracies]
    values = [float(value) for value in accuracies.values()]
    table = table.assign(status="measured", accuracy=values, n_folds=5, accuracy_unheard=0.25)
    return table.assign(low=table["accuracy"] - 0.02, high=table["accuracy"] + 0.02)


def verdicts(benchmark: str = "esc50", **accuracies: float) -> dict[str, str]:
    table = goals_table(rows(**accuracies), benchmark, PUBLISHED)
    return dict(zip(table["recogniser"], table["verdict"], strict=True))


def test_the_targets_are_the_published_figures_and_the_studys_own():
    study, table = read_published(PUBLISHED), goals_table(NOTHING, "esc50", PUBLISHED)
    assert list(table.columns) == GOAL_COLUMNS and set(table["verdict"]) == {"not run here"}
    expected = [published_value(study, f"accuracy_esc50_{item}", "test") / 100 for item in ("frozen", "finetuned")]
    assert table["target"].tolist() == [*expected, OWN_GOAL] == pytest.approx([0.723, 0.796, 0.8])
    city = goals_table(NOTHING, "urbansound8k", PUBLISHED)
    assert city["target"].tolist() == pytest.approx([0.698, 0.754])
    assert goals_table(NOTHING, "esc10", PUBLISHED).empty and goals_table(NOTHING, "", PUBLISHED).empty


def test_a_goal_is_reached_at_its_target_and_not_below():
    assert verdicts(conformer_probe=0.723, conformer_frozen=0.7229) | verdicts(conformer_finetuned=0.7959) == {
        "a conformer_probe": "reached", "a conformer_frozen": "not reached", "a conformer_finetuned": "not reached",
        "not run here": "not run here",
    }  # fmt: skip
    assert verdicts(cnn=0.8)["a cnn"] == "reached" and verdicts(cnn=0.79)["a cnn"] == "not reached"


def test_other_kinds_and_cited_rows_reach_no_goal():
    assert set(verdicts(ast_probe=0.99, mfcc_svm=0.99, codec_probe=0.99)) == {"not run here"}
    cited = rows(cnn=0.99).assign(status="cited")
    assert set(goals_table(cited, "esc50", PUBLISHED)["verdict"]) == {"not run here"}
    assert {kind for goal in GOALS for kind in goal.kinds} <= set(KINDS)


def test_the_sentences_say_how_many_rows_reach_a_goal_and_what_the_best_does_on_unmet_clips():
    goals = goals_table(rows(conformer_probe=0.75, conformer_frozen=0.3, cnn=0.7), "esc50", PUBLISHED)
    text = findings_goals(goals)
    assert (
        "**published study, frozen** (72.3%): reached by 1 of its 2 rows; the best of them on these very clips" in text
    )
    assert (
        "*a conformer_probe*, is at 75.0% (73.0 to 77.0), and at 25.0% of the clips that its codec has not met." in text
    )
    assert "**published study, fine-tuned** (79.6%): not run here." in text
    assert "network from nothing** (80.0%): not reached; *a cnn* is at 70.0% (68.0 to 72.0)." in text
    assert findings_goals(goals_table(NOTHING, "esc10", PUBLISHED)) == ""


def test_reasons_are_given_for_what_was_run_and_not_reached_alone():
    def why(**accuracies: float) -> str:
        return reasons(goals_table(rows(**accuracies), "esc50", PUBLISHED))

    assert why() == "" == why(cnn=0.9, conformer_probe=0.9, conformer_finetuned=0.9)
    assert "network from nothing" in why(cnn=0.5) and "codec" not in why(cnn=0.5)
    both = why(conformer_probe=0.1, conformer_finetuned=0.1)
    assert both.count("few folds") == 1 and not any(letter.isdigit() for letter in both)
