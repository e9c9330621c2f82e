#!/bin/sh
# Puts a TensorFlow wheel into .cache/tensorflow-venv and prints the folder that `espalier native --tensorflow` takes.
# Usage: reference/tensorflow/setup.sh [REQUIREMENT]   (default: tensorflow-cpu==2.21.0)
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=$root/.cache/tensorflow-venv
python=${PYTHON:-python3}
test -x "$venv/bin/python" || "$python" -m venv "$venv"
# The headers and libraries are all that is used, and the wheel holds them: its Python dependencies stay out.
"$venv/bin/python" -m pip install --quiet --no-deps "${1:-tensorflow-cpu==2.21.0}" >&2
"$venv/bin/python" -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('tensorflow').origin))"
