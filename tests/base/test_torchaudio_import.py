"""`import encodec` works whatever torchaudio does; each case is a fresh Python, as imports happen once."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import envsound

SOURCES = Path(envsound.__file__).parents[1]
NATIVE_PARTS = """
from torchaudio import _extension
if _extension._load_lib("libtorchaudio"):
    raise AssertionError("a stand-in has no library to load")

@_extension.fail_if_no_rir
def simulate_rir():
    return "native"

COMPILED = _extension._IS_TORCHAUDIO_EXT_AVAILABLE
"""


def run(code: str, *folders: Path) -> str:
    """Run `code` in a fresh Python with `folders` before the installed packages; return what it printed."""
    paths = os.pathsep.join(str(folder) for folder in (*folders, SOURCES))
    command, environment = [sys.executable, "-c", textwrap.dedent(code)], {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def fake_torchaudio(folder: Path, extension: str, rest: str) -> Path:
    """Write a package torchaudio that imports `_extension` and then `rest`, as the real one does."""
    package = folder / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("print('init')\nfrom . import _extension, rest\n")
    (package / "_extension.py").write_text(extension)
    (package / "rest.py").write_text(rest)
    return folder


def test_importing_envsound_is_light_and_encodec_works_without_torchaudios_library():
    output = run("""
        import sys, envsound
        print("torch" in sys.modules, "torchaudio" in sys.modules)
        import torch
        def load_library(path):
            raise OSError("libc10_cuda.so: cannot open shared object file")
        torch.ops.load_library = load_library
        from envsound.base.torchaudio_import import import_encodec
        print(import_encodec().EncodecModel.__name__)
        import torchaudio
        halved = torchaudio.transforms.Resample(2, 1)(torch.zeros(1, 80))
        print(type(torchaudio._extension).__name__, halved.shape[1])
    """)
    assert output.splitlines()[-3:] == ["False False", "EncodecModel", "_Extension 40"]


ERRORS = ("OSError('libc10_cuda.so: cannot open shared object file')", "ImportError('undefined symbol')",
          "RuntimeError('different CUDA versions')", "AttributeError('no attribute cuda_version')")  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
def test_stand_in_says_that_nothing_is_compiled(tmp_path, error):
    fake_torchaudio(tmp_path, f"import torchaudio.rest\nraise {error}", NATIVE_PARTS)
    code = """
        try:
            import torchaudio
        except Exception as error:
            print("failed")
        import envsound
        import torchaudio
        print(torchaudio.rest.COMPILED, torchaudio._extension._check_cuda_version())
        try:
            torchaudio.rest.simulate_rir()
        except RuntimeError as error:
            print(error)
    """
    told = "torchaudio's simulate_rir needs its native library, which does not load"
    assert run(code, tmp_path).splitlines() == ["init", "failed", "init", "init", "False None", told]


def test_working_torchaudio_is_left_alone(tmp_path):
    fake_torchaudio(tmp_path, "WORKS = True\nprint('extension')", "COMPILED = True")
    code = """
        import sys, envsound
        before = len(sys.meta_path)
        envsound.base.torchaudio_import.install()
        import torchaudio
        print(torchaudio._extension.__file__, torchaudio.rest.COMPILED, len(sys.meta_path) - before)
    """
    lines = run(code, tmp_path).splitlines()
    assert lines == ["init", "extension", f"{tmp_path / 'torchaudio' / '_extension.py'} True 0"]


def test_other_defects_of_torchaudio_are_not_hidden(tmp_path):
    fake_torchaudio(tmp_path, "raise OSError('no library')", "import a_module_that_is_not_there")
    output = run("import envsound, torchaudio", tmp_path)
    assert output.splitlines()[-1] == "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
