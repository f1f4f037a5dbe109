"""Result files as MyST substitutions, such as `{{ codec.n_parameters }}`, and links to studies that may be removed."""

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import ReferenceRole

from envsound.book import substitutions


class StudyRole(ReferenceRole):
    """A link to a study or system: {study}`words <speed#anchor>`; plain words where there is no such page."""

    def run(self):
        """Return the link, relative to the page it stands on."""
        name, _, anchor = self.target.partition("#")
        places = (f"{folder}/{name}" for folder in ("studies", "systems"))
        page = next((place for place in places if (Path(self.env.srcdir) / f"{place}.md").is_file()), None)
        if page is None:
            return [nodes.inline(self.rawtext, self.title)], []
        uri = self.env.app.builder.get_relative_uri(self.env.docname, page)
        uri += f"#{anchor}" if anchor else ""
        return [nodes.reference(self.rawtext, self.title, refuri=uri, internal=True)], []


def load(app, config):
    """Read the result files of the repository that holds the book."""
    config.myst_substitutions = {**config.myst_substitutions, **substitutions(Path(app.srcdir).parent)}


def setup(app):
    """Load the facts once the configuration is known."""
    app.connect("config-inited", load)
    app.add_role("study", StudyRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
