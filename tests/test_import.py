"""What ``import skconv`` pulls in, seen in fresh processes; what it takes is for benchmarks/suites/start.py."""

import json
import subprocess
import sys

# What fit and predict need of scikit-learn; whatever these load on their own account (SciPy's sparse matrices, joblib
# ...) differs between versions and is not skconv's doing. skconv may load nothing beyond.
NEEDED = (
    "numpy",
    "sklearn.base",
    "sklearn.utils.metaestimators",  # parameters of named layers
    "sklearn.utils.multiclass",
    "sklearn.utils.validation",
)


def run_python(tmp_path, *arguments):
    # In tmp_path, so that the installed skconv is imported and not the uncompiled sources of the repository's root.
    return subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)


def modules_after(tmp_path, *imports):
    """Return the names of all modules that a fresh process holds after importing ``imports``."""
    code = f"import json, sys, {', '.join(imports)}; print(json.dumps(list(sys.modules)))"
    return set(json.loads(run_python(tmp_path, "-c", code).stdout))


def test_import_pulls_in_nothing_needless(tmp_path):
    added = modules_after(tmp_path, "skconv") - modules_after(tmp_path, *NEEDED)
    # sklearn.callback imports rich, and what that needs, where it is installed: so does sklearn.linear_model.
    added -= modules_after(tmp_path, "sklearn.linear_model")
    own = {"skconv", *sys.stdlib_module_names}
    # Every version of Cython keeps what its extension modules share in a module such as _cython_3_3_1.
    assert not {name for name in added if name.partition(".")[0] not in own and not name.startswith("_cython_")}
