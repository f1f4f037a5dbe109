"""The csv of a folder: columns, whole numbers, filters, files led to recordings."""

import pytest

from envsound.base.errors import InputError
from envsound.data.listing import (
    ESC50_COLUMNS,
    FOLDER_COLUMNS,
    choose,
    read_listing,
    recording_of,
)

ESC50 = """filename,fold,target,category,esc10,src_file,take
1-1-A-0.wav,1,0,dog,True,1,A
2-1-A-7.wav,2,7,cat,False,1,A
3-1-A-0.wav,3,0,dog,True,1,A
"""


def listing(tmp_path, text: str, required=ESC50_COLUMNS):
    (tmp_path / "clips.csv").write_text(text, encoding="utf-8")
    return read_listing(tmp_path / "clips.csv", required)


def test_a_plain_folder_gets_targets_in_alphabetical_order(tmp_path):
    text = "\ufefffilename, category ,fold\na/x.1, wind ,1\nb.WAV,bell,2.0\nNA,NA,3\n"
    found = listing(tmp_path, text, FOLDER_COLUMNS)
    assert found["clip_id"].tolist() == ["a/x.1", "b", "NA"]
    assert found["category"].tolist() == ["wind", "bell", "NA"]
    assert found["target"].tolist() == [2, 1, 0] and not found["esc10"].any()
    assert found["fold"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("column", ESC50_COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    with pytest.raises(InputError, match=rf"clips\.csv: lacks the column {column};"):
        listing(tmp_path, ESC50.replace(column, "other"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a readable csv"),
        ("filename,category,fold\n", "has no rows"),
        ("filename,category,fold\na.wav,dog,one\n", "row 1 has fold 'one'; expected a whole number"),
        ("filename,category,fold\na.wav,dog,1.5\n", "row 1 has fold '1.5'"),
        ("filename,category,fold\na.wav,dog,inf\n", "row 1 has fold 'inf'"),
        ("filename,category,fold\na.wav,dog,1\nb.wav,dog,\n", "row 2 has fold ''"),
        ("filename,category,fold,target\na.wav,dog,1,x\n", "row 1 has target 'x'"),
        ("filename,category,fold,esc10\na.wav,dog,1,maybe\n", "row 1 has esc10 'maybe'"),
        ("filename,category,fold\na.wav,,1\n", "row 1 has no category"),
        ('filename,category,fold\n"a.wav,dog,1\n', "not a readable csv|has no category|has fold"),
    ],
)
def test_a_csv_that_makes_no_sense_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        listing(tmp_path, text, FOLDER_COLUMNS)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32"])
def test_a_csv_in_another_encoding_is_one_line(tmp_path, encoding):
    (tmp_path / "clips.csv").write_bytes("filename,category,fold\na.wav,chien aboyé,1\n".encode(encoding))
    with pytest.raises(InputError, match=r"clips\.csv: .*expected a csv saved as UTF-8") as caught:
        read_listing(tmp_path / "clips.csv", FOLDER_COLUMNS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "head", ["filename,category,fold,category", "filename,category,fold, category ", "fold,fold,a,b"]
)
def test_a_column_twice_is_one_line(tmp_path, head):
    with pytest.raises(InputError, match=r"clips\.csv: has the column (category|fold) twice"):
        listing(tmp_path, f"{head}\na.wav,dog,1,x\n", FOLDER_COLUMNS)


def test_csvs_of_people_who_met_these_faults_are_read_or_one_line(cases):
    refused = {}
    for path in sorted(cases.glob("csv_*.csv")):
        try:
            assert read_listing(path, FOLDER_COLUMNS)["category"].str.len().min() > 0
        except InputError as error:
            refused[path.stem] = str(error)
    assert set(refused) == {"csv_latin1_makes_snakemake_traceback", "csv_same_column_twice_after_strip"}
    assert not any("\n" in words for words in refused.values())


def test_a_csv_that_is_not_there_or_is_binary_is_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80" * 50)
    for name, words in (("no.csv", "no such file"), ("binary.csv", "")):
        with pytest.raises(InputError, match=f"{name}.*{words}"):
            read_listing(tmp_path / name, FOLDER_COLUMNS)


def test_esc50_columns_are_typed_and_filters_keep_what_they_say(tmp_path):
    table = listing(tmp_path, ESC50)
    assert table["clip_id"].tolist() == ["1-1-A-0", "2-1-A-7", "3-1-A-0"]
    assert table["fold"].tolist() == [1, 2, 3] and table["target"].tolist() == [0, 7, 0]
    assert table["esc10"].tolist() == [True, False, True] and len(choose(table)) == 3
    assert choose(table, esc10_only=True)["fold"].tolist() == [1, 3]
    assert choose(table, folds=[2, 3])["clip_id"].tolist() == ["2-1-A-7", "3-1-A-0"]
    assert choose(table, categories=["dog"], folds=(3,))["clip_id"].tolist() == ["3-1-A-0"]


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"folds": [1, 9]}, r"folds=\[1, 9\]: 9 not in the csv; expected some of 1, 2, 3"),
        ({"categories": ["dog", "cow"]}, "cow not in the csv; expected some of cat, dog"),
        ({"categories": "dog"}, "categories='dog': expected a list"),
        ({"categories": ["cat"], "folds": [1]}, "none of the 3 clips of the csv is left"),
        ({"categories": ["cat"], "esc10_only": True}, "none of the 3 clips of the csv is left"),
    ],
)
def test_an_impossible_choice_is_one_clear_error(tmp_path, request_, message):
    with pytest.raises(InputError, match=message):
        choose(listing(tmp_path, ESC50), **request_)


@pytest.mark.parametrize(
    ("filename", "recording"),
    [
        ("1-100032-A-0.wav", "100032"), ("folder/5-100032-B-41.ogg", "100032"), ("4-100032-C", "100032"),
        ("100032-3-0-12", "100032"), ("100032-3-0-12.wav", "100032"),
        ("5-s0x4-B-41.wav", ""), ("a_dog.wav", ""), ("dog-1.wav", ""), ("1-100032-a-0.wav", ""), ("", ""),
    ],
)  # fmt: skip
def test_clips_of_one_recording_have_its_number_and_other_names_none(filename, recording):
    assert recording_of(filename) == recording
