"""One store: what was made is made once, each thing that it depends on has a file of its own, damage is mended."""

import numpy as np
import pytest

from envsound.base.cache import ARRAY, JSON, clip_key, kept, kept_all, key, libraries


def test_a_value_is_made_once_for_each_thing_it_depends_on(tmp_path):
    made = []

    def get(*parts, form=JSON):
        return kept(tmp_path, list(parts), lambda: made.append(parts) or {"value": len(made)}, form)

    assert get("a", 1) == get("a", 1) == {"value": 1} and get("a", 2) == {"value": 2} and len(made) == 2
    assert {path.name for path in tmp_path.iterdir()} == {f"{key('a', 1)}.json", f"{key('a', 2)}.json"}


@pytest.mark.parametrize("content", [b"", b"half of it"])
def test_a_damaged_file_is_made_anew(tmp_path, content):
    (tmp_path / f"{key('x')}.npy").write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert kept(tmp_path, ["x"], lambda: np.arange(3), ARRAY).tolist() == [0, 1, 2]
    assert kept(tmp_path, ["x"], lambda: pytest.fail("made twice"), ARRAY).tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", ["", "[1]", "null", '{"rms": 1}', '{"value": 2, "sha256": "0"}', "\0" * 90])
def test_a_value_that_is_not_as_it_was_written_is_named_and_made_anew(tmp_path, content):
    (tmp_path / f"{key('x')}.json").write_text(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert kept(tmp_path, ["x"], lambda: {"rms": 0.1 + 0.2}, JSON) == {"rms": 0.1 + 0.2}
    assert kept(tmp_path, ["x"], lambda: pytest.fail("made twice"), JSON) == {"rms": 0.1 + 0.2}


def test_many_values_are_made_together_once_each_and_come_in_order(tmp_path):
    asked = []

    def get(*names):
        def make(places):
            asked.append([names[place] for place in places])
            return (f"value of {names[place]}" for place in places)

        return kept_all(tmp_path, [[name] for name in names], make, JSON)

    assert get("a", "b") == ["value of a", "value of b"]
    assert get("c", "b", "c", "a", "d") == [f"value of {name}" for name in "cbcad"]
    assert get("a", "d") == ["value of a", "value of d"] and asked == [["a", "b"], ["c", "d"]]


def test_keys_change_with_samples_and_versions():
    assert clip_key(np.zeros(3)) == clip_key(np.zeros(3, np.float32)) != clip_key(np.zeros(4))
    assert libraries("numpy", "no-such-package") == f"numpy {np.__version__}, no-such-package absent"
