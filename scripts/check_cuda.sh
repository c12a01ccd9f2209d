#!/usr/bin/env bash
# Builds with each CUDA feature, lints, links, and runs the result: scripts/check_cuda.sh [TOOLKIT_DIR [--libraries]]
#
# Needs no GPU: the compiler comes from scripts/cuda_toolkit.sh, into TOOLKIT_DIR (target/cuda-toolkit). On a machine without
# a driver it also checks what a user is told there. With --libraries, the loaders also have to find CUDA's real libraries
# (1 GB more to download). Most of the time goes to candle's CUDA kernels, which are built once.
set -euo pipefail
cd "$(dirname "$0")/.."
toolkit=${1:-target/cuda-toolkit}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
    echo "check_cuda.sh: $1" >&2
    exit 1
}

environment=$(scripts/cuda_toolkit.sh "$toolkit")
eval "$environment"

echo "== loaders"
${CC:-cc} -O1 scripts/cuda_loaders_check.c -L"$CUDA_HOME/lib/stubs" -lnvrtc -lcurand -lcublas -lcublasLt -lcudnn -lnccl -lcuda -o "$out/loaders"
"$out/loaders"
if [ "${2:-}" = --libraries ]; then
    # In a subshell: what is built below has to start without them.
    (
        eval "$(scripts/cuda_toolkit.sh "$toolkit" --libraries)"
        "$out/loaders" | tee "$out/found"
        [ "$(grep -c -E '^(NVRTC|cuRAND|cuBLAS|NCCL) 0: version [1-9]|^cuBLASLt [0-9]{5,}|^cuDNN [0-9]{5,}' "$out/found")" = 6 ] ||
            fail "a library was not found"
    )
fi

for features in cuda cudnn nccl; do
    echo "== $features"
    cargo clippy -p unbraid-trainer --all-targets --features "$features" -- -D warnings
done
echo "== linking with all of them"
cargo build -p unbraid-trainer --bin unbraid --features cudnn,nccl
unbraid=$CARGO_TARGET_DIR/debug/unbraid

if [ -e /dev/nvidiactl ]; then
    echo "a GPU is here: cargo test -p unbraid-trainer --features cudnn,nccl runs what there is to run on it"
    exit 0
fi

# says COMMAND... : expects the exit status $status and a line with $text on stderr.
says() {
    local found=0
    "$@" >"$out/out" 2>"$out/err" || found=$?
    if [ "$found" != "$status" ] || ! grep -q -F -- "$text" "$out/err"; then
        cat "$out/err" >&2
        fail "$*: exit status $found, expected $status and: $text"
    fi
    grep -F -- "$text" "$out/err"
}
small=(--steps 2 --batch-size 4 --discriminator-units 16 --discriminator-layers 1)

echo "== without a GPU"
status=1
text="device = cuda: no such GPU can be used"
says "$unbraid" train --run "$out/cuda" --device cuda "${small[@]}"
[ ! -e "$out/cuda" ] || fail "the refused run left a folder"
status=0
text="training on the CPU"
says "$unbraid" train --run "$out/auto" --device auto "${small[@]}"

echo "== several processes without a GPU"
status=1
text="no such GPU can be used"
says env RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost "$unbraid" train --run "$out/ranks" "${small[@]}"
echo "CUDA builds are well"
