"""Players link to their file, and those of recordings that ship say whose they are."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from envsound.base.files import write_csv
from envsound.base.paths import MATERIAL, find_root
from envsound.report.players import credit, example_table, pair_players, player

BARK = '<a href="http://www.freesound.org/people/nfrae/sounds/100032/">rose_bark.wav</a> by nfrae, '


@pytest.fixture
def shipped(root):
    """An empty repository with the list of authors that ships."""
    shutil.copytree(
        find_root(Path(__file__).parent) / MATERIAL, root / MATERIAL, ignore=shutil.ignore_patterns("audio")
    )


@pytest.mark.parametrize("clip", ["1-100032-A-0", "1-100032-A-0+3", "1-100032-A-0.ogg", "some/where/1-100032-A-0.wav"])
def test_a_recording_that_ships_is_credited_with_links_to_source_and_licence(shipped, clip):
    assert BARK in credit(clip) and ">CC0</a>" in credit(clip)
    shown = player("a.wav", "dog & co", clip=clip)
    assert shown.index("dog &amp; co") < shown.index(BARK) < shown.index("</figcaption>") and 'src="a.wav"' in shown
    assert "by/3.0/" in credit("1-110389-A-0")


def test_other_sounds_are_credited_to_nobody_and_so_are_all_without_the_list(shipped, root):
    for other in ("000.wav", "1-40730-A-1", "", "2-100032-A-0"):
        assert credit(other) == ""
    (root / "elsewhere" / "notebooks" / "presets").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "elsewhere")
        assert credit("1-100032-A-0") == ""


def test_a_title_cannot_break_the_page(root):
    row = {"clip": "1-1-A", "title": "<b>", "author": "a & b", "url": 'http://x/"', "licence": "CC-BY"}
    write_csv(root / MATERIAL / "attribution.csv", pd.DataFrame([row]))
    assert '<a href="http://x/&quot;">&lt;b&gt;</a> by a &amp; b' in credit("1-1-A-0")


def test_tables_of_examples_and_of_pairs_credit_each_recording_once(shipped):
    row = {"clip": "1-100032-A-0", "category": "dog", "original": "o.wav", "codec": "c.wav", "opus": ""}
    example = pd.DataFrame([row | {"codec_name": "mine", "codec_kbps": 6.0, "opus_kbps": 6.0}])
    assert "".join(example_table(example, lambda name, label: name)).count(BARK) == 1
    pair = {"space": "mel", "rank": 1, "clip": "000", "clip_file": "g.wav", "category": "dog", "distance": 1.0}
    pair |= {"nearest": "1-100032-A-0", "nearest_file": "n.wav", "nearest_category": "dog"}
    assert pair_players(pd.DataFrame([pair]), ".", ".").count(BARK) == 1
