#!/bin/sh
# Derives requirements.lock from pyproject.toml, keeping every pin that still fits.
# To update a package, delete its line from requirements.lock first.
set -eu
cd "$(dirname "$0")/.."

command -v uv >/dev/null 2>&1 || { echo "make lock needs uv: pip install uv" >&2; exit 1; }

header='# Exact versions for Python 3.11 to 3.13 on Linux, macOS (Apple silicon) and Windows. Written by `make lock`.
# The CUDA libraries are left out: the metadata of torch itself pins every one that computes (only the linker
# nvjitlink and cuda-bindings have a range), and the CPU and Apple builds of torch have none of them.
'
cuda='cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc
      nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver
      nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13
      nvidia-nvtx triton'

pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
[ ! -f requirements.lock ] || cp requirements.lock "$pins"
uv pip compile pyproject.toml --all-extras --universal --fork-strategy fewest --no-header --no-annotate --quiet \
    $(printf -- ' --no-emit-package %s' $cuda) --output-file "$pins" >/dev/null
{ printf '%s\n' "$header"; grep -v '^#' "$pins" | grep .; } > requirements.lock
