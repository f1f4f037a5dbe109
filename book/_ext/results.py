"""Makes the study's result files available to the prose as MyST substitutions, such as `{{ codec.n_parameters
}}`.
"""

from pathlib import Path

from envsound.report.facts import book_facts
from envsound.studies.codec_report.page import CODEC_REPORTS, codec_report_facts


def load(app, config):
    """Read the result files of the repository that holds the book."""
    root = Path(app.srcdir).parent
    ceiling, variants = (codec_report_facts(root / "data" / "published" / name) for name in CODEC_REPORTS)
    measured = {"ceiling": ceiling, "variants": variants}
    config.myst_substitutions = {**config.myst_substitutions, **book_facts(root), **measured}


def setup(app):
    """Load the facts once the configuration is known."""
    app.connect("config-inited", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
