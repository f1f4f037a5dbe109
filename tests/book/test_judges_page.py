"""What pages include of judges, from a report that was made up."""

import pandas as pd
from fakes.runs import staging

from envsound.base.files import write_csv
from envsound.book.judges import class_rows, judged_rows, reported_classes, short_rows, stage_judges, verdict_rows

LADDER = pd.DataFrame([
    {"codec": "mine", "judge": name, "part": "all classes", "kind": kind, "admitted": admitted, "why": why}
    for name, admitted, why in (("probe A", "yes", ""), ("deaf", "no", "hears noise as dogs"))
    for kind in ("real", "codec")
])  # fmt: skip
HEARD = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "n_real": 80, "accuracy_real": 1.0, "share": 0.5}
HEARD |= {"share_low": 0.4, "share_high": 0.6}


def test_tables_name_who_was_refused_and_give_shares_with_intervals():
    assert [row["why not"] for row in verdict_rows(LADDER)] == ["", "hears noise as dogs"]
    rows = [{"judge": "A", "system": "model", "n": 20} | HEARD, {"judge": "probe B", "system": "x", "n": 9} | HEARD]
    first, second = judged_rows(pd.DataFrame(rows))
    assert list(first)[1:3] == ["probe B", "probe B, of real"]  # whoever reports stands first
    assert first["A"] == "50% of 20" and first["probe B"] == first["probe B, of real"] == "–"
    assert second["probe B, of real"] == "50% (40% to 60%)"
    by_class = [{"judge": "A", "system": "x", "category": "sea_waves", "refused": 0.25} | HEARD,
                {"judge": "probe B", "system": "x", "category": "sea_waves", "refused": 0.0} | HEARD]  # fmt: skip
    (row,) = class_rows(pd.DataFrame(by_class))
    assert row == {"class": "sea waves", "probe B: x": "50% (40% to 60%), refused 0%",
                   "A: x": "50% (40% to 60%), refused 25%"}  # fmt: skip
    told = [{"judge": "probe B", "system": system, "category": of, "n": 20, "accuracy": n / 20, "refused": 0.1}
            for of, numbers in (("sea_waves", (20, 15, 2)), ("dog", (19, 18, 17)))
            for system, n in zip(("real", "codec", "masked model, seed 0"), numbers, strict=True)]  # fmt: skip
    dog, waves = reported_classes(pd.DataFrame(told))
    assert dog == {"class": "dog", "recordings": "95% of 20", "codec": "90% of 20", "masked model, seed 0": "85% of 20",
                   "refused": "10%"}  # fmt: skip
    assert waves["class"] == "sea waves" and waves["masked model, seed 0"] == "10% of 20"
    kept = short_rows([first, second, second | {"system": "c, 4 of 8 levels"}, second | {"system": "c, 8 of 8 levels"}])
    assert [row["system"] for row in kept] == ["model", "x", "c, 8 of 8 levels"]
    assert list(kept[0]) == ["system", "probe B", "probe B, of real", "A"]


def test_pages_get_tables_and_say_when_there_is_nothing(root):
    book = staging(root)
    stage_judges(book)
    pieces = root / "book" / "executed" / "judges"
    names = ("ladder", "judged", "reported", "by_class")
    assert all("Not run here" in (pieces / f"{name}.txt").read_text() for name in names)
    folder = root / "data" / "published" / "judges" / "mine"
    write_csv(folder / "ladder.csv", LADDER)
    write_csv(folder / "judged.csv", pd.DataFrame([{"judge": "probe A", "system": "model", "n": 20} | HEARD]))
    stage_judges(staging(root))
    assert "hears noise as dogs" in (pieces / "ladder.txt").read_text()
    assert "| model | 50% of 20 | 50% (40% to 60%) |" in (pieces / "judged.txt").read_text()
