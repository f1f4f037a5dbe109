"""Numbers, shares, intervals, names and tables as text."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from envsound.base import text


@pytest.mark.parametrize(
    ("value", "written"),
    [(True, "yes"), (12, "12"), (12_000, "12,000"), (0.123456, "0.1235"), (12345.6, "12,346"), (2e-6, "2.00e-06"),
     (0.0, "0"), (float("nan"), "–"), (float("-inf"), "–")],
)  # fmt: skip
def test_numbers(value, written):
    assert text.number(value) == written


def test_shares_intervals_and_cells():
    assert (text.percent(0.71349), text.percent(-1e-9), text.percent(float("nan"))) == ("71.3", "0.0", "–")
    assert text.interval({"low": 0.5, "high": 0.625}) == "50.0 to 62.5"
    assert text.interval({"low_a": float("nan"), "high_a": 1.0}, "_a") == "–"
    assert (text.cell(None), text.cell(1234.5)) == ("–", "1,234")


def test_tables_and_dropdowns():
    table = text.markdown_table(["a", "b"], [["x|y", "1"]])
    assert table == ["| a | b |", "| :-- | --: |", "| x\\|y | 1 |"]
    assert text.wide(table, "small")[0] == "::::{div} wide-table small"
    assert text.dropdown("more", []) == [] and "more" in text.dropdown("more", table)[0]


def test_names_are_printable_and_no_markup():
    assert text.printable("a\nb\udcff") == "a\\nb\\udcff" and text.code_span("a`b\t") == "`a'b\\t`"
    assert text.slug("a b/../ж") == "a-b" and text.slug("...") == "unnamed"


def test_readable_tables_have_no_nan_and_few_digits():
    shown = text.readable(pd.DataFrame({"a": [1.23456, np.nan, 0.0000123456, 123456.7], "n": [1, 2, 3, 4]}))
    assert list(shown["a"]) == ["1.235", "–", "1.23e-05", "123,457"] and list(shown["n"]) == [1, 2, 3, 4]


AWKWARD = ["../../x", "a/../b", "/etc/hostname", "x" * 250, "<img src=x onerror=alert(1)>", "dog | cat", "$5 & {b}",
           "..", "", "дождь", "a\nb", "con:", "*", "\udcff", "# dog", "`ls`", "[x](y)", "a\\b"]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_makes_a_file_in_its_folder_that_no_other_name_makes(name, tmp_path):
    made = text.file_name(name)
    (tmp_path / f"0000_{made}.wav").touch()
    assert [path.parent for path in tmp_path.rglob("*.wav")] == [tmp_path] and made.isascii() and len(made) < 100
    assert len({text.file_name(one) for one in AWKWARD}) == len(AWKWARD)
    for usual in ("dog", "clock_alarm", "1-100032-A-0"):
        assert text.file_name(usual) == usual


@pytest.mark.parametrize("name", [name for name in AWKWARD if name])
def test_any_name_is_shown_as_it_is_and_as_nothing_else(name):
    from markdown_it import MarkdownIt

    shown = MarkdownIt().render(f"### {text.plain(name)}")
    tags = re.findall(r"<[^>]*>", shown)
    assert tags == ["<h3>", "</h3>"]
    assert html.unescape(shown.removeprefix("<h3>").removesuffix("</h3>\n")) == text.printable(name)
