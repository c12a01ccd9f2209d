//! Says which kernel of `src/kernels/` the target runs: stable compilers do not tell Arm's instruction sets
//! apart in `cfg`, only targets and flags do.

use std::env;

const KERNELS: [&str; 7] = ["compact", "portable", "scalar", "armv6m", "armv7m", "dsp", "helium"];
/// Cores of target `thumbv8m.main` that have the vector extension MVE, "Helium".
const HELIUM_CORES: [&str; 3] = ["cortex-m52", "cortex-m55", "cortex-m85"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(kernel, values({}))", KERNELS.map(|kernel| format!("{kernel:?}")).join(", "));
    println!("cargo::rustc-check-cfg=cfg(patches)");
    let kernel = if env::var_os("CARGO_FEATURE_COMPACT").is_some() {
        "compact"
    } else {
        kernel(&variable("TARGET"), &variable("CARGO_ENCODED_RUSTFLAGS"))
    };
    println!("cargo::rustc-cfg=kernel={kernel:?}");
    // Those of `src/kernels/product/`; the others compute whole rows themselves.
    if !["compact", "helium"].contains(&kernel) {
        println!("cargo::rustc-cfg=patches");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The kernel for a target triple and the compiler's flags, separated by 0x1f.
fn kernel(target: &str, flags: &str) -> &'static str {
    let core =
        flags.split('\x1f').filter_map(|flag| flag.split_once("target-cpu=")).next_back().map_or("", |(_, core)| core);
    let (architecture, _) = target.split_once('-').unwrap_or((target, ""));
    match architecture {
        "thumbv6m" | "thumbv8m.base" => "armv6m",
        "thumbv7m" => "armv7m",
        "thumbv7em" => "dsp",
        // These cores are made without it, too.
        "thumbv8m.main" if HELIUM_CORES.contains(&core) && !flags.contains("-mve") => "helium",
        // Some of these cores have the DSP extension, but assembly is read for the target, which does not.
        "thumbv8m.main" => "armv7m",
        _ if architecture.starts_with("riscv32") => "scalar",
        _ => "portable",
    }
}
