//! Cycles that instructions take, as the cores' makers publish them.
//!
//! Every instruction takes one cycle; what is here comes on top. Where a manual leaves a time open, both ends are here.

use super::mix::Mix;
use super::range::Range;

/// A processor core.
pub struct Core {
    pub name: &'static str,
    /// Whose instruction counts and mix hold: a core of `budgets.json` and `mix.json`.
    pub counted: &'static str,
    extra: Extra,
    /// Cycles compared with a core of the same `extra` that issues one instruction at a time.
    scale: f64,
    pub source: &'static str,
}

/// Cycles beyond the first, for each instruction of a kind of [`Mix`].
struct Extra {
    load: Range,
    store: Range,
    /// What it saves to stand behind a load.
    pipelined: Range,
    transferred: Range,
    multiply: Range,
    long_multiply: Range,
    vector: Range,
    taken: Range,
}

impl Core {
    /// Cycles for each instruction of a mix, with `branch` more for each branch that is taken.
    pub fn cycles_per_instruction(&self, mix: &Mix, branch: Range) -> Range {
        let Extra { load, store, pipelined, transferred, multiply, long_multiply, vector, taken } = &self.extra;
        let extra = *load * mix.load
            + *store * mix.store
            + *pipelined * mix.pipelined
            + *transferred * mix.transferred
            + *multiply * mix.multiply
            + *long_multiply * mix.long_multiply
            + *vector * mix.vector
            + (*taken + branch) * mix.taken;
        (Range::exactly(1.0) + extra) * self.scale * UNCOUNTED
    }
}

/// What the mix does not tell apart: calls from other branches, and encoding from decoding, whose mixes differ by 1 %.
const UNCOUNTED: Range = Range::new(0.98, 1.02);

const NONE: Range = Range::exactly(0.0);
const ONE: Range = Range::exactly(1.0);

const ARMV6_M: Extra = Extra {
    load: ONE,
    store: ONE,
    pipelined: NONE,
    transferred: ONE,
    multiply: NONE,
    long_multiply: NONE,
    vector: NONE,
    taken: Range::exactly(2.0),
};

/// A load or store may overlap with a load before it, a store with what follows; a taken branch refills the pipeline.
const ARMV7E_M: Extra = Extra {
    load: ONE,
    store: Range::new(0.0, 1.0),
    pipelined: Range::new(-1.0, 0.0),
    transferred: ONE,
    multiply: NONE,
    long_multiply: NONE,
    vector: NONE,
    taken: Range::new(1.0, 3.0),
};

/// What is usual in short in-order pipelines, for cores of which no timing is published.
const RISC_V: Extra = Extra {
    load: Range::new(0.0, 1.0),
    store: Range::new(0.0, 1.0),
    pipelined: NONE,
    transferred: NONE,
    multiply: Range::new(0.0, 1.0),
    long_multiply: Range::new(0.0, 1.0),
    vector: NONE,
    taken: Range::new(1.0, 2.0),
};

pub static CORTEX_M0: Core = Core {
    name: "Cortex-M0",
    counted: "cortex-m0",
    extra: ARMV6_M,
    scale: 1.0,
    source: "Arm DDI 0432C, table 3-1, with the fast multiplier",
};

pub static CORTEX_M0_PLUS: Core = Core {
    name: "Cortex-M0+",
    counted: "cortex-m0",
    extra: Extra { taken: ONE, ..ARMV6_M },
    scale: 1.0,
    source: "Arm DDI 0484C, table 3-1, with the fast multiplier",
};

pub static CORTEX_M3: Core = Core {
    name: "Cortex-M3",
    counted: "cortex-m3",
    extra: Extra { multiply: Range::new(0.0, 1.0), long_multiply: Range::new(2.0, 6.0), ..ARMV7E_M },
    scale: 1.0,
    source: "Arm DDI 0337I, tables 3-1 and 3.3.2",
};

pub static CORTEX_M4: Core = Core {
    name: "Cortex-M4",
    counted: "cortex-m4",
    extra: ARMV7E_M,
    scale: 1.0,
    source: "Arm DDI 0439D, tables 3-1 and 3-2",
};

pub static CORTEX_M33: Core = Core {
    name: "Cortex-M33",
    counted: "cortex-m4",
    extra: ARMV7E_M,
    scale: 0.63 / 0.70,
    source: "the Cortex-M4's, by MLPerf Tiny's ResNet-8: 0.70 multiply-adds a cycle against 0.63",
};

pub static CORTEX_M7: Core = Core {
    name: "Cortex-M7",
    counted: "cortex-m7",
    extra: ARMV7E_M,
    scale: 0.63 / 1.09,
    source: "the Cortex-M4's, by MLPerf Tiny's ResNet-8: 1.09 multiply-adds a cycle against 0.63",
};

pub static CORTEX_M55: Core = Core {
    name: "Cortex-M55",
    counted: "cortex-m55",
    // Two cycles for 128 bits, of which a load and a multiplication one after the other share one.
    extra: Extra { vector: Range::new(0.0, 1.0), ..ARMV7E_M },
    scale: 1.0,
    source: "Arm 101051: 64 bits of a vector a cycle, neighbors overlap; the rest as the Cortex-M4's",
};

pub static ESP32_C3: Core = Core {
    name: "ESP32-C3 (RV32IMC, four stages)",
    counted: "rv32imc",
    extra: RISC_V,
    scale: 1.0,
    source: "no timings published: those of short in-order pipelines",
};

pub static BUMBLEBEE: Core = Core {
    name: "Nuclei Bumblebee (RV32IMAC, two stages)",
    counted: "rv32imc",
    extra: RISC_V,
    scale: 1.0,
    source: "no timings published: those of short in-order pipelines",
};

pub static QINGKE_V4: Core = Core {
    name: "WCH QingKe V4F (RV32IMAFC)",
    counted: "rv32imc",
    extra: RISC_V,
    scale: 1.0,
    source: "no timings published: those of short in-order pipelines",
};
