"""The list of mutations fits the code: each text is there once, each test exists. `make mutants` runs them."""

import re
import shutil

import pytest
from mutants import ROOT, TESTS, mutate, passes, read_mutations, try_mutation

MUTATIONS = read_mutations()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation["rule"][:60])
def test_a_mutation_fits_the_code(mutation, tmp_path):
    file, name = mutation["test"].split("::")
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE)
    shutil.copytree(ROOT / "src", tmp_path / "src")
    mutate(tmp_path / "src", mutation)


def test_a_mutation_is_caught_and_the_code_as_it_is_passes():
    mutation = next(one for one in MUTATIONS if one["test"].endswith("test_schedule_known_values"))
    assert passes(mutation["test"], ROOT / "src")
    assert try_mutation(mutation)


def test_a_test_that_does_not_exist_is_no_success():
    with pytest.raises(RuntimeError, match="no_such_test"):
        passes("systems/test_masking.py::no_such_test", ROOT / "src")


def test_text_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="0 times"):
        mutate(ROOT / "src", {"file": "systems/soundstorm/masking.py", "before": "no such text", "after": ""})
