#!/usr/bin/env bash
# The ROS 2 wheels export CMake targets with the include directories of the machine that built them.
# Point them at this environment's Python and numpy, else rosidl_generate_interfaces refuses them:
# "Imported target ... includes non-existent path".
set -euo pipefail
venv=$1
python_include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
numpy_include=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
{ grep -rlZ /opt/python/cp3 "$venv/share" --include='*.cmake' || true; } | xargs -0 --no-run-if-empty sed -i -E \
  -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/_core/include#$numpy_include#g" \
  -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$python_include#g"
