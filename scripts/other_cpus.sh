#!/usr/bin/env bash
# Tests the runtime's engine for vector units on processors that this machine doesn't have: AArch64 with and without dot
# products, in QEMU, and WebAssembly with SIMD, in Node. The tests are those of `cargo test`; each run names the backend that
# must be the best one there.
# Needs rustup and, by their Debian names, qemu-user, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and nodejs (18 or newer).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "scripts/other_cpus.sh: $1" >&2
    exit 1
}
need() {
    command -v "$1" >/dev/null || fail "$1 is missing: install $2"
}

need rustup "Rust with rustup"
need qemu-aarch64 qemu-user
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need node "nodejs, 18 or newer"
libraries=/usr/aarch64-linux-gnu
[ -e "$libraries/lib/crt1.o" ] || fail "AArch64's C library is missing: install libc6-dev-arm64-cross"
arm=aarch64-unknown-linux-gnu
wasi=wasm32-wasip1
browser=wasm32-unknown-unknown
rustup target add "$arm" "$wasi" "$browser" || fail "not all Rust targets can be installed: $arm, $wasi, $browser"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS=-Ctarget-feature=+simd128
# With threads, V8 of Node 20 crashes when a long test program ends, after all its tests.
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node --single-threaded --no-warnings $PWD/scripts/wasi.mjs"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS

# run_tests TARGET BACKEND
run_tests() {
    # A panic ends a WebAssembly program at once; its message is lost if it is captured.
    UNBRAID_EXPECT_BACKEND=$2 cargo test -p unbraid --features std --target "$1" --lib --test packed --test parity -- --nocapture
}

# on_arm CPU BACKEND
on_arm() {
    echo "-- $arm, $1: $2"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L $libraries -cpu $1" run_tests "$arm" "$2"
}
on_arm max neon-dotprod
on_arm cortex-a76 neon-dotprod
on_arm cortex-a53 portable

echo "-- $wasi: wasm-simd128"
run_tests "$wasi" wasm-simd128

for target in "$arm" "$browser"; do
    echo "-- clippy for $target"
    cargo clippy -p unbraid --features std --target "$target" -- -D warnings
done
