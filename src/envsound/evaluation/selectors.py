"""Who judged the decoding settings that a run was made with, so that none of these reports on it unmarked.

A setting that looks best to a judge favours what that judge attends to. Notebook 15 records its judge; this module
reads those records and says of any other listener whether it is the same one, or one of the same kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envsound.base.errors import InputError
from envsound.base.files import read_json

STEP = "15_compare_decoding"
PUBLISHED = Path("data") / "published"
SAME = "judged the decoding settings itself: no independent judge"
SAME_KIND = "another {kind} judged the decoding settings, which may favour this one"


@dataclass(frozen=True)
class Selectors:
    """The judges of a run's settings: the content hashes of some, and the kinds of some, such as "MFCC and SVM"."""

    hashes: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def note(self, content_hash: str = "", kind: str = "") -> str:
        """Return what a reader must know of a listener's numbers, "" for one that has nothing to do with a choice."""
        if content_hash and content_hash in self.hashes:
            return SAME
        return SAME_KIND.format(kind=kind) if kind and kind in self.kinds else ""

    def notes(self, listeners: Mapping[str, Any], are_trained_anew: bool = False) -> dict[str, str]:
        """Return the note of each listener, by its `content_hash` and `kind` where it has them.

        are_trained_anew: the numbers are those of listeners like these, trained on other clips: only kinds count.
        """
        return {
            name: self.note("" if are_trained_anew else getattr(one, "content_hash", ""), getattr(one, "kind", ""))
            for name, one in listeners.items()
        }

    def check(self, reporting: Mapping[str, Any]) -> None:
        """Raise InputError when one of the listeners that report is a judge of the settings itself."""
        for name, one in reporting.items():
            if getattr(one, "content_hash", None) in self.hashes:
                raise InputError(f"listener {name!r}: selected the model; expected another one to report on it")


def read_selectors(run_dir: str | Path, more: Sequence[str] = (), published: str | Path = PUBLISHED) -> Selectors:
    """Return the judges of notebook 15 that a run's own record names, and that of the run published under its preset.

    A preset's settings are chosen with one run and used by all of them. more: content hashes of further judges. A
    record from before judges had a hash names their kind alone. Raises InputError for a record that cannot be read.
    """
    hashes, kinds = set(more), set()
    for folder in (Path(run_dir), Path(published) / Path(run_dir).resolve().parent.name):
        file = folder / "provenance.json"
        facts = read_json(file).get("steps", {}).get(STEP, {}).get("facts", {}) if file.is_file() else {}
        judges = facts.get("selected_by", {})
        hashes |= set(judges.values())
        kinds |= {*judges, *([facts["recogniser"]] if facts.get("recogniser") else [])}
    return Selectors(frozenset(hashes), frozenset(kinds))
