#!/bin/sh
# Makes .venv (or repairs a half-made one) and installs exactly what requirements.lock pins.
# PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
unset PYTHONHOME PYTHONPATH

suitable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        path=$(command -v "$name" 2>/dev/null) || continue
        if "$path" -c "$suitable" >/dev/null 2>&1; then
            echo "$path"
            return
        fi
    done
    echo "No suitable Python found: Python 3.11, 3.12 or 3.13 with its venv module is needed" \
         "(tried: ${PYTHON:-python3 python3.13 python3.12 python3.11 python})." \
         "Install one (on Debian or Ubuntu also python3-venv), or run: make setup PYTHON=/path/to/python" >&2
    exit 1
}

if ! .venv/bin/python -c "$suitable" >/dev/null 2>&1 || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear .venv
fi

echo "Installing the pinned packages (once; several hundred MB, more where torch brings CUDA)"
.venv/bin/python -m pip install --retries 10 --progress-bar on -r requirements.lock
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
.venv/bin/python -m pip check
