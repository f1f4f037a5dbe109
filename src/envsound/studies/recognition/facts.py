"""What the tables say of a recogniser beside its accuracy: its kind, what it learnt from, what its codec has met.

A codec is trained as a compressor, without labels. Where that training held recordings that a round tests on, whoever
reads its codes hears them through a codec that knows them. The codec's card and its list of training clips tell which.
"""

from pathlib import Path

import numpy as np

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, sha256_file
from envsound.base.paths import find_root
from envsound.codec import BUNDLED
from envsound.studies.recognition.names import clip_names, source_of
from envsound.studies.recognition.recognisers import KINDS
from envsound.studies.recognition.rounds import Clips, Fold, Recogniser

NO_KIND, NO_CODEC = "other", "none"  # as the tables have it
CARD, LISTED = "card.json", "attribution.csv"  # beside a codec's weights: what it is, and the clips it was trained on


def kind_of(recogniser: Recogniser) -> str:
    """Return a recogniser's kind, a key of `recognisers.KINDS`; NO_KIND for one that is not among them."""
    return next((kind for kind, made in KINDS.items() if type(recogniser) is made), NO_KIND)


def codec_of(recogniser: Recogniser) -> str:
    """Return the setting `codec` of a recogniser that reads codes; "" for one that hears the sound itself.

    The setting is looked up on the recogniser: `settings()` leaves it out where only the codes depend on it.
    """
    return str(getattr(recogniser, "codec", ""))


def codec_label(codec: str) -> str:
    """Return a codec's name for a table: a file's without its folder, NO_CODEC for none."""
    return Path(codec).stem if codec else NO_CODEC


def learnt_from(recogniser: Recogniser, fold: Fold) -> Clips:
    """Return the clips that a recogniser's answers are learnt from: the validation clips too where it is refitted."""
    return fold.train_and_validation if recogniser.settings().get("refit", False) else fold.train


def met_recordings(codec: str) -> frozenset[str] | None:
    """Return the recordings (`recognition_names.source_of`) that a codec was trained on; None where that is not known.

    codec: as in `codecs.load_codec`; "" has met nothing. It is known of a codec whose weights lie beside a card that
    names their hash, and a list of training clips. Raises InputError when the list has no clips.
    """
    if not codec:
        return frozenset()
    weights = find_root() / BUNDLED if codec == "bundled" else Path(codec)
    card, listed = weights.parent / CARD, weights.parent / LISTED
    if not all(path.is_file() for path in (weights, card, listed)):
        return None
    if read_json(card).get("content_hash") != sha256_file(weights):  # the card of another codec
        return None
    table = read_csv(listed)
    if "clip" not in table or table.empty:
        raise InputError(f"{listed}: names no clip; expected a column clip with the clips the codec was trained on")
    return frozenset(source_of(clip) for clip in table["clip"])


def heard_clips(met: frozenset[str] | None, clips: Clips) -> np.ndarray:
    """Return whether each clip's recording was among a codec's training clips: float64 [n], 1 or 0; NaN: not known.

    met: from `met_recordings`. Other cuts of a recording that was met count as met: they resemble each other.
    """
    if met is None:
        return np.full(len(clips), np.nan)
    return np.array([float(source_of(name) in met) for name in clip_names(clips.files)])
