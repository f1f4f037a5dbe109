"""The recognisers of the study by kind, and how a row of its table is read from a file of settings.

A file in notebooks/studies/recognisers names a `kind` and whatever differs from that kind's defaults. A new kind is a line in
KINDS: a dataclass, or a function, whose parameters are plain settings with defaults and which gives a
`recognition.Recogniser`.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import yaml

from envsound.base.errors import InputError
from envsound.run.presets import checked, nearest
from envsound.studies.recognition.cnn import CnnRecogniser
from envsound.studies.recognition.finetuned import FinetunedConformer
from envsound.studies.recognition.frozen import FrozenConformer, ProbedConformer
from envsound.studies.recognition.probe import AstProbe, CodecProbe
from envsound.studies.recognition.rounds import Recogniser, folder_name
from envsound.studies.recognition.svm import MfccSvm

FOLDER = Path("notebooks/studies/recognisers")
KINDS: dict[str, Callable[..., Recogniser]] = {
    "codec_probe": CodecProbe,
    "mfcc_svm": MfccSvm,
    "cnn": CnnRecogniser,
    "ast_probe": AstProbe,
    "conformer_frozen": FrozenConformer,
    "conformer_probe": ProbedConformer,
    "conformer_finetuned": FinetunedConformer,
}


def recogniser_names(folder: str | Path = FOLDER) -> list[str]:
    """Return the names of the files of settings in `folder`, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.yml"))


def load_recognisers(
    names: Sequence[str], shared: Mapping[str, Any] | None = None, folder: str | Path = FOLDER
) -> list[Recogniser]:
    """Return the recognisers of some files of settings, in order.

    shared: settings for all of them, such as device or codec, given to those that have them and do not state them.
    Raises InputError for an unknown file, kind or setting, a value of the wrong type or out of range, no name at all,
    and for two recognisers that would be the same row.
    """
    if not names:
        raise InputError(f"recognisers: there are none; expected some of {', '.join(recogniser_names(folder))}")
    found = [_load(name, dict(shared or {}), Path(folder)) for name in names]
    rows = [folder_name(one.name) for one in found]
    repeated = [one.name for one, row in zip(found, rows, strict=True) if rows.count(row) > 1]
    if repeated:
        raise InputError(f"recognisers: {repeated[0]!r} occurs {len(repeated)} times; expected a name for each row")
    return found


def make_recogniser(kind: str, settings: Mapping[str, Any], label: str = "recogniser") -> Recogniser:
    """Return a recogniser of a kind from its settings; what is left out has its default.

    label: what error messages call the place the settings come from. Raises InputError as `load_recognisers` does.
    """
    if kind not in KINDS:
        raise InputError(f"{label}: unknown kind {kind!r}; expected {nearest(kind, KINDS)}")
    defaults = _defaults(kind)
    given = {}
    for key, value in settings.items():
        if key not in defaults:
            raise InputError(f"{label}: unknown setting {key!r} of a {kind}; expected {nearest(key, defaults)}")
        given[key] = _checked(value, defaults[key], f"{label}: {key}")
    return KINDS[kind](**given)


def _load(name: str, shared: dict[str, Any], folder: Path) -> Recogniser:
    path, known = folder / f"{name}.yml", recogniser_names(folder)
    if name not in known:
        raise InputError(f"recogniser {name!r}: no such file as {path}; expected {nearest(name, known)}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(settings, dict) or "kind" not in settings:
        raise InputError(f"{path}: has no kind; expected kind: and one of {', '.join(KINDS)}")
    kind = str(settings.pop("kind"))
    own = _defaults(kind) if kind in KINDS else {}
    return make_recogniser(kind, {key: shared[key] for key in shared if key in own} | settings, str(path))


def _defaults(kind: str) -> dict[str, Any]:
    """Return the settings of a kind and their defaults."""
    return {name: parameter.default for name, parameter in signature(KINDS[kind]).parameters.items()}


def _checked(value: Any, example: Any, label: str) -> Any:
    """Return a value in the type of its default; a list becomes a tuple where that is one."""
    if example is Parameter.empty:
        return value
    if isinstance(example, tuple):
        return tuple(checked(list(value) if isinstance(value, tuple) else value, list(example), label))
    return checked(value, example, label)
