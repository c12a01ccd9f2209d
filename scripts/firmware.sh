#!/usr/bin/env bash
# Builds the firmware for all boards, runs it in QEMU and compares what it prints and costs with what is committed.
#
#     scripts/firmware.sh            fails where something differs
#     scripts/firmware.sh --update   writes runtime/firmware/expected/, budgets.json and mix.json anew
#
# Installs nothing; --update needs llvm-objdump too.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "scripts/firmware.sh: $1" >&2
    exit 1
}

missing() {
    fail "the firmware does not build for $1; if the target is missing: rustup target add $1"
}

# core, target, machine, QEMU's other arguments. A SysTick tick is no whole number of instructions at shift=0.
boards="
cortex-m0  thumbv6m-none-eabi            microbit    -global nrf51-soc.flash-size=0x200000 -icount shift=6
cortex-m3  thumbv7m-none-eabi            mps2-an385  -icount shift=6
cortex-m4  thumbv7em-none-eabihf         mps2-an386  -icount shift=6
cortex-m7  thumbv7em-none-eabihf         mps2-an500  -icount shift=6
cortex-m55 thumbv8m.main-none-eabihf     mps3-an547  -icount shift=6
rv32imc    riscv32imc-unknown-none-elf   virt        -icount shift=0 -bios none
"

command -v python3 >/dev/null || fail "python3 is missing"
command -v qemu-system-arm >/dev/null || fail "qemu-system-arm is missing: apt-get install qemu-system-arm"
command -v qemu-system-riscv32 >/dev/null || fail "qemu-system-riscv32 is missing: apt-get install qemu-system-misc"

python3 scripts/firmware_budgets_test.py

target_dir=${CARGO_TARGET_DIR:-$PWD/runtime/firmware/target}
results=$target_dir/results
rm -rf "$results"

# Panic messages hold the paths of source files: without the project's own, code has the same size wherever it lies.
paths="target.'cfg(all())'.rustflags = ['--remap-path-prefix=$PWD=unbraid']"

# firmware PROFILE TARGET FEATURES PROGRAM: builds a program.
firmware() {
    (cd runtime/firmware && cargo build --quiet --config "$paths" --profile "$1" --target "$2" --features "$3" --bin "$4")
}

cores=()
while read -r core target machine arguments; do
    [ -n "$core" ] || continue
    cores+=("$core")
    mkdir -p "$results/$core"
    echo "$machine $target" >"$results/$core/board.txt"
    qemu=qemu-system-arm
    [ "$machine" != virt ] || qemu=qemu-system-riscv32
    for features in "$core" "$core,compact"; do
        output=$results/$core
        [ "$features" = "$core" ] || output=$results/$core/compact
        mkdir -p "$output"
        for program in demo color self_check; do
            firmware release "$target" "$features" "$program" || missing "$target"
            elf=$target_dir/$target/release/$program
            # shellcheck disable=SC2086 # several arguments
            timeout 120 $qemu -M "$machine" -nographic -semihosting-config enable=on,target=native $arguments -kernel "$elf" \
                >"$output/$program.txt" </dev/null || fail "$program for $features: $(tail -n 1 "$output/$program.txt")"
        done
        if [ "${1:-}" = --update ] && [ "$features" = "$core" ]; then
            # shellcheck disable=SC2086 # several arguments
            python3 scripts/instruction_mix.py "$core" $qemu -M "$machine" -nographic \
                -semihosting-config enable=on,target=native $arguments -kernel "$target_dir/$target/release/demo" </dev/null
        fi
        firmware size "$target" "$features" size || missing "$target"
        cp "$target_dir/$target/size/size" "$output/size.elf"
    done
done <<<"$boards"

firmware release thumbv7em-none-eabihf cortex-m4 panic_free || fail "a panic can be reached"
# Other kernels.
firmware release thumbv7em-none-eabihf cortex-m4,compact panic_free || fail "a panic can be reached with feature compact"
firmware release thumbv8m.main-none-eabihf cortex-m55 panic_free || fail "a panic can be reached on a Cortex-M55"
if output=$(firmware release thumbv7em-none-eabihf cortex-m4,deliberate-panic panic_free 2>&1); then
    fail "panic_free links although it has a panic: the check does not see panics"
fi
grep -q "undefined symbol: a_panic_can_be_reached" <<<"$output" || fail "panic_free with a panic fails otherwise: $output"

python3 scripts/firmware_budgets.py "$@" "$results" "${cores[@]}"
