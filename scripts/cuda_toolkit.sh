#!/usr/bin/env bash
# What it takes to build with --features cuda, cudnn or nccl, without root and without a GPU: scripts/cuda_toolkit.sh DIR
#
# Puts NVIDIA's compiler from the CUDA 13 wheels on PyPI into DIR (102 MB to download, 270 MB there), and static libraries
# that find CUDA's shared libraries when the program starts (scripts/cuda_loaders.py). Prints the environment for cargo:
#
#   eval "$(scripts/cuda_toolkit.sh DIR)" && cargo build --release --features cuda
#
# With --libraries, the shared libraries too (cuBLAS, cuRAND, NVRTC, cuDNN, NCCL: 1 GB and more), for machines that have a GPU
# and its driver but no toolkit; LD_LIBRARY_PATH is part of the environment then.
# CUDA_COMPUTE_CAP, if set, is kept; 90 is a Hopper GPU, 80 an A100, 89 an RTX 40.
set -euo pipefail
usage="usage: scripts/cuda_toolkit.sh DIR [--libraries]"
dir=${1:?$usage}
case "${2:-}" in
    "" | --libraries) ;;
    *)
        echo "$usage" >&2
        exit 2
        ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
home=$dir/nvidia/cu13

fail() {
    echo "cuda_toolkit.sh: $1" >&2
    exit 1
}
# pip replaces folders that an earlier call made, so each call has a target of its own.
wheels() {
    local target=$1
    shift
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --upgrade --target "$target" "$@" >&2 ||
        fail "pip could not install $*"
}

if [ ! -x "$home/bin/nvcc" ]; then
    wheels "$dir" nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    chmod +x "$home"/bin/* "$home"/nvvm/bin/*
fi
# Candle's kernels link the CUDA runtime by this name; the static one leaves the program without another file to find.
ln -sf libcudart_static.a "$home/lib/libcudart.a"

# The loaders are made from cudarc's own declarations, of the version that Cargo.lock names.
if [ ! -f "$home/lib/stubs/libnccl.a" ]; then
    (cd "$here/.." && cargo fetch --locked >&2) || fail "cargo fetch failed"
    cudarc=$(cd "$here/.." && cargo metadata --locked --format-version 1 --features unbraid-trainer/cuda |
        python3 -c 'import json, os, sys; print(*(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
    [ -d "$cudarc" ] || fail "cudarc: found ${cudarc:-nothing}, expected the folder of one version"
    python3 "$here/cuda_loaders.py" "$cudarc" "$home/lib/stubs" >&2
fi

if [ "${2:-}" = --libraries ]; then
    libraries=$dir/libraries
    if [ ! -d "$libraries/nvidia/nccl" ]; then
        wheels "$libraries" nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88 nvidia-cudnn-cu13==9.21.1.3 nvidia-nccl-cu13==2.30.7
    fi
    found=$(printf '%s:' "$libraries"/nvidia/*/lib)
    echo "export LD_LIBRARY_PATH='${found%:}'\"\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\""
fi
cat <<END
export CUDA_HOME='$home'
export PATH='$home/bin':"\$PATH"
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-90}'
export CUDAFORGE_THREADS='${CUDAFORGE_THREADS:-$(nproc)}'
END
