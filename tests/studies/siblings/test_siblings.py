"""The audit of the siblings: what their printed figures say of each other, computed."""

from pathlib import Path

import pytest
from fakes.runs import staging

from envsound.base.files import read_csv, write_csv
from envsound.studies.siblings import page

FILE = Path(__file__).parents[3] / "data" / "published" / page.FILE


def test_every_check_follows_from_the_printed_figures():
    computed = {one.what: (one.computed, one.meaning) for one in page.checks(FILE)}
    assert computed["clips in training and validation"] == ("4,605", "245 clips are in neither")
    assert computed["numbers of the embedding, in mels"][0] == "12.6"
    assert computed["classes in which the baseline is beaten"][0] == "7 of 7"
    assert "21,260,032" in computed["parameters"][0] and "21,194,496" in computed["parameters"][0]
    assert computed["means over classes, FAD"] == ("off by 0.0010 at most", "VAE-EnCodec16, Table 2")
    assert computed["numbers a second: NoiseBand, EnCodec 16, EnCodec 128"][0] == "3,000, 1,200, 9,600"
    assert computed["EnCodec 16 beside NoiseBand, FAD"] == ("24% lower in the mean", "39% higher for thunder")
    assert computed["least mSTFT of any noise, in that of silence"][0] == "0.586"
    assert computed["mean quality of MusicGen"][0] == "4.78"
    assert computed["matches of 34, the fewest"][0] == "51% to 81%"
    assert computed["training and validation figures of the two models"][0] == "7 of 7 equal in every digit"
    assert computed["real-time factor"][0] == "2.1 times real time"


def test_the_page_shows_every_check_and_a_changed_figure_changes_it(tmp_path):
    table = read_csv(FILE)
    table.loc[(table["measure"] == "clips of training"), "value"] = 4605
    write_csv(tmp_path / "data" / "published" / page.FILE, table)
    book = staging(tmp_path)
    page.stage(book)
    text = (tmp_path / "book" / "executed" / "siblings" / "checks.txt").read_text()
    assert "0 clips are in neither" in text and text.count("\n| ") > 12 and "published_siblings.csv" in text
    assert page.facts(book.published)["siblings"]["n_figures"] == str(len(table))


def test_without_the_table_the_page_says_so(tmp_path):
    page.stage(staging(tmp_path))
    assert "Nothing published" in (tmp_path / "book" / "executed" / "siblings" / "checks.txt").read_text()
    with pytest.raises(KeyError, match="no figure"):
        page.Printed(read_csv(FILE), page.TEXT).one("loudness", "MusicGen")
