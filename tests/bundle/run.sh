#!/bin/sh
# Runs the numeric tests of this bundle on the GPU of this machine; --help tells more. PYTHON names another Python.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$(readlink -f "$0")")/tests/bundle/run_bundle.py" "$@"
