"""What the sentences on listeners say: what was measured, of the model and of the controls, and who is no judge."""

import pytest
from fakes.evaluations import class_training, class_truth, memorisation

from envsound.evaluation.memorisation import COPIED, THROUGH_CODEC
from envsound.report.listener_findings import findings_copies, findings_training, findings_truth

CNN = "cnn, 2 components"


@pytest.mark.parametrize("guilty", [True, False])
def test_copies_through_the_codec_say_where_the_search_sees_them(guilty):
    text = findings_copies(memorisation(guilty))
    assert ("**nearer to training clips than new recordings are**" in text) == guilty
    copies = "Training clips through the codec (n = 10), which is how a model of codes would copy, are found out in"
    assert f"{copies} log-mel and not in {CNN}." in text
    assert (f"In *{CNN}*" in text) == guilty


def test_a_verdict_is_stated_with_shares_and_distinct_clips_and_never_explained_away():
    table = memorisation(guilty=True)
    table.loc[(table["side"] == THROUGH_CODEC) & (table["space"] == CNN), ["n_nearest", "nearer"]] = [1, 0.5]
    text = findings_copies(table)
    measured = f"In *{CNN}* 40% (4 of 10) of the model's clips are nearer to a training clip than every held-out one "
    measured += "(0.6 by chance) and point at 3 different training clips; one is nearer than a held-out clip with a "
    measured += "chance of 55%. Of the copies through the codec 10% (1 of 10) are so near there, the chance is 50%."
    assert measured in text
    assert "no sign" not in text and "typical" not in text


def test_without_copies_through_the_codec_the_model_is_judged_alone():
    table = memorisation(guilty=True)
    text = findings_copies(table[table["side"] != THROUGH_CODEC])
    assert "through the codec" not in text and f"In *{CNN}* 40% (4 of 10)" in text
    few = table.replace({"side": {THROUGH_CODEC: "copy"}}).drop(columns="n_distinct")
    older = findings_copies(few)
    assert "Training clips through the codec (n = 10)" in older and "point at" not in older
    assert "Beware" in findings_copies(table[table["side"] != COPIED])


def test_a_listener_that_judged_the_settings_is_marked_in_the_sentences():
    plain = findings_truth(class_truth()), findings_training(class_training())
    assert all("judged" not in text for text in plain)
    truth, training = class_truth(), class_training()
    truth["note"] = (truth["classifier"] == "mfcc_svm").map({True: "judged the settings", False: ""})
    assert findings_truth(truth).count("- mfcc_svm: judged the settings") == 1
    assert "- cnn: judged" not in findings_truth(truth)
    assert findings_training(training.assign(note="judged the settings")).endswith("- cnn: judged the settings")
    assert findings_training(training.drop(columns="note")) == findings_training(training)
