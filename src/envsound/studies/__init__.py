"""Studies: each is one folder with what it computes, its figures and its page; removing the folder removes the study.

A study `x` has `x/page.py` (see `report.fragments.StudyPage`) and may have `x/command.py`, a command of `envsound`.
"""

import pkgutil
from types import ModuleType


def study_names() -> list[str]:
    """Return the names of the studies that are there, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def modules_named(name: str) -> dict[str, ModuleType]:
    """Return the module `name`, such as "page", of every study that has one, by study."""
    found = {}
    for study in study_names():
        package = pkgutil.resolve_name(f"{__name__}.{study}")
        if any(module.name == name for module in pkgutil.iter_modules(package.__path__)):
            found[study] = pkgutil.resolve_name(f"{__name__}.{study}.{name}:")  # with the colon its errors are its own
    return found
