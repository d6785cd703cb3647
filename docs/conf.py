"""Sphinx configuration; build with ``sphinx-build -W -b html docs docs/_build``."""

import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent

project = "skconv"
author = "The skconv developers"
copyright = f"2026, {author}"
version = release = installed_version("skconv")

extensions = ["sphinx.ext.autodoc", "myst_parser", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "_generated", "examples", "whats_new"]
html_theme = "furo"

autodoc_member_order = "bysource"
numpydoc_show_inherited_class_members = False  # get_params and its like are scikit-learn's to explain
numpydoc_class_members_toctree = False  # members stand on their class's page

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_(?!mnist_recipe)",  # shown, but not run: it trains for minutes
}


def draft_release_notes(app):
    """Collect the fragments of docs/whats_new into _generated/unreleased.rst, which whats_new.rst includes."""
    draft = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "to come", "--date", "unreleased"],
        cwd=DOCS.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    generated = DOCS / "_generated"
    generated.mkdir(exist_ok=True)
    (generated / "unreleased.rst").write_text(draft.stdout, encoding="utf-8")


def skip_foreign(app, what, name, member, skip, options):
    """Leave out what scikit-learn's classes bring along, whose docstrings refer to scikit-learn's own pages.

    That is what they define, and set_fit_request and its like, which they put into ours.
    """
    module = getattr(getattr(member, "fget", member), "__module__", None) or ""
    is_request = name.startswith("set_") and name.endswith("_request")
    return True if is_request or module.split(".")[0] == "sklearn" else None


def setup(app):
    app.connect("builder-inited", draft_release_notes)
    app.connect("autodoc-skip-member", skip_foreign)
