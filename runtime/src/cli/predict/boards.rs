//! Well-known boards: what they run at, and what their flash costs.
//!
//! `source` names where the figures stand. Those of the ESP32-C3 and of Arm's AN547 were read there, the others are from
//! memory: look at the data sheet before you rely on one.

use super::cores::{self, Core};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A board, its clock at the most that the vendor's manual allows.
pub struct Board {
    /// What `--board` takes.
    pub name: &'static str,
    pub title: &'static str,
    pub core: &'static Core,
    pub megahertz: f64,
    /// Bytes that one program can use.
    pub ram: usize,
    /// Bytes.
    pub flash: usize,
    pub weights: Flash,
    /// Where all of this is written.
    pub source: &'static str,
}

/// How long a core waits for weights and for code in flash.
pub struct Flash {
    /// Bytes that arrive at once.
    pub line: usize,
    /// Cycles that a line keeps the core waiting.
    pub wait: f64,
    /// Bytes of weights that a cache keeps; 0 without one.
    pub cache: usize,
    /// Cycles that a taken branch waits for code, at most; 0 where code is cached.
    pub branch: f64,
}

/// Flash as fast as the core.
const NO_WAIT: Flash = Flash { line: 4, wait: 0.0, cache: 0, branch: 0.0 };

/// The board of that name.
pub fn find(name: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.name == name)
}

pub static BOARDS: [Board; 18] = [
    Board {
        name: "microbit-v1",
        title: "BBC micro:bit v1 (nRF51822)",
        core: &cores::CORTEX_M0,
        megahertz: 16.0,
        ram: 16 * KIB,
        flash: 256 * KIB,
        weights: NO_WAIT,
        source: "Nordic nRF51822 product specification 3.4: 16 MHz, flash without wait states",
    },
    Board {
        name: "pico",
        title: "Raspberry Pi Pico (RP2040)",
        core: &cores::CORTEX_M0_PLUS,
        megahertz: 133.0,
        ram: 264 * KIB,
        flash: 2 * MIB,
        // 28 clocks of the serial flash for 8 bytes, each two of the core's.
        weights: Flash { line: 8, wait: 56.0, cache: 16 * KIB, branch: 0.0 },
        source: "RP2040 datasheet: 133 MHz, 16 KiB cache, lines of 8 bytes from quad SPI at half the clock",
    },
    Board {
        name: "pico-2",
        title: "Raspberry Pi Pico 2 (RP2350)",
        core: &cores::CORTEX_M33,
        megahertz: 150.0,
        ram: 520 * KIB,
        flash: 4 * MIB,
        weights: Flash { line: 8, wait: 56.0, cache: 16 * KIB, branch: 0.0 },
        source: "RP2350 datasheet: 150 MHz, 16 KiB cache, lines of 8 bytes from quad SPI at half the clock",
    },
    Board {
        name: "nucleo-f103rb",
        title: "Nucleo-F103RB (STM32F103RB)",
        core: &cores::CORTEX_M3,
        megahertz: 72.0,
        ram: 20 * KIB,
        flash: 128 * KIB,
        weights: Flash { line: 4, wait: 2.0, cache: 0, branch: 2.0 },
        source: "ST DS5319, PM0075: 72 MHz, 2 wait states, a prefetch buffer for code in sequence",
    },
    Board {
        name: "arduino-due",
        title: "Arduino Due (SAM3X8E)",
        core: &cores::CORTEX_M3,
        megahertz: 84.0,
        ram: 96 * KIB,
        flash: 512 * KIB,
        weights: Flash { line: 16, wait: 4.0, cache: 0, branch: 4.0 },
        source: "Atmel SAM3X/SAM3A datasheet 11057: 84 MHz, 4 wait states, 128 bits at once",
    },
    Board {
        name: "stm32f407-discovery",
        title: "STM32F4DISCOVERY (STM32F407VG)",
        core: &cores::CORTEX_M4,
        megahertz: 168.0,
        ram: 192 * KIB,
        flash: MIB,
        weights: Flash { line: 16, wait: 5.0, cache: 128, branch: 0.0 },
        source: "ST DS8626, RM0090: 168 MHz, 5 wait states, 128 bits at once, 64 lines of code and 8 of data cached",
    },
    Board {
        name: "microbit-v2",
        title: "BBC micro:bit v2 (nRF52833)",
        core: &cores::CORTEX_M4,
        megahertz: 64.0,
        ram: 128 * KIB,
        flash: 512 * KIB,
        weights: Flash { line: 4, wait: 2.0, cache: 0, branch: 0.0 },
        source: "Nordic nRF52833 product specification: 64 MHz, 2 wait states, code cached",
    },
    Board {
        name: "nrf52840-dk",
        title: "nRF52840 DK",
        core: &cores::CORTEX_M4,
        megahertz: 64.0,
        ram: 256 * KIB,
        flash: MIB,
        weights: Flash { line: 4, wait: 2.0, cache: 0, branch: 0.0 },
        source: "Nordic nRF52840 product specification: 64 MHz, 2 wait states, code cached",
    },
    Board {
        name: "nucleo-l4r5zi",
        title: "Nucleo-L4R5ZI (STM32L4R5ZI), MLPerf Tiny's reference board",
        core: &cores::CORTEX_M4,
        megahertz: 120.0,
        ram: 640 * KIB,
        flash: 2 * MIB,
        weights: Flash { line: 16, wait: 5.0, cache: 256, branch: 0.0 },
        source: "ST DS12023, RM0432: 120 MHz, 5 wait states, 1 KiB of code and 256 bytes of data cached",
    },
    Board {
        name: "teensy-3.6",
        title: "Teensy 3.6 (MK66FX1M0)",
        core: &cores::CORTEX_M4,
        megahertz: 180.0,
        ram: 256 * KIB,
        flash: MIB,
        weights: Flash { line: 16, wait: 7.0, cache: 8 * KIB, branch: 0.0 },
        source: "NXP K66P144M180SF5RM: 180 MHz, flash at 26 MHz, 128 bits at once, 8 KiB cache",
    },
    Board {
        name: "stm32f746-discovery",
        title: "STM32F746G-DISCO (STM32F746NG)",
        core: &cores::CORTEX_M7,
        megahertz: 216.0,
        ram: 320 * KIB,
        flash: MIB,
        weights: Flash { line: 32, wait: 8.0, cache: 4 * KIB, branch: 0.0 },
        source: "ST DS10916, RM0385: 216 MHz, 7 wait states, 256 bits at once, 4 KiB of code and of data cached",
    },
    Board {
        name: "nucleo-h743zi",
        title: "Nucleo-H743ZI (STM32H743ZI)",
        core: &cores::CORTEX_M7,
        megahertz: 480.0,
        ram: 512 * KIB,
        flash: 2 * MIB,
        // 5 clocks of the bus, each two of the core's.
        weights: Flash { line: 32, wait: 10.0, cache: 16 * KIB, branch: 0.0 },
        source: "ST DS12110, RM0433: 480 MHz, 4 wait states at half the clock, 256 bits at once, 16 KiB caches",
    },
    Board {
        name: "teensy-4.1",
        title: "Teensy 4.1 (i.MX RT1062)",
        core: &cores::CORTEX_M7,
        megahertz: 600.0,
        ram: 512 * KIB,
        flash: 8 * MIB,
        // 78 clocks of the serial flash at 133 MHz for 32 bytes.
        weights: Flash { line: 32, wait: 350.0, cache: 32 * KIB, branch: 0.0 },
        source: "NXP IMXRT1060RM: 600 MHz, 32 KiB caches, lines of 32 bytes from quad SPI at 133 MHz",
    },
    Board {
        name: "alif-ensemble-e7",
        title: "Alif Ensemble E7 DevKit, high-performance core",
        core: &cores::CORTEX_M55,
        megahertz: 400.0,
        ram: MIB,
        flash: 5632 * KIB,
        weights: Flash { line: 32, wait: 20.0, cache: 32 * KIB, branch: 0.0 },
        source: "Alif Ensemble E7 datasheet: 400 MHz, 32 KiB caches; not published: 20 cycles for a line of MRAM",
    },
    Board {
        name: "corstone-300",
        title: "Arm Corstone-300 on an MPS3 FPGA board (AN547)",
        core: &cores::CORTEX_M55,
        megahertz: 32.0,
        ram: 512 * KIB,
        flash: 2 * MIB,
        weights: NO_WAIT,
        source: "Arm application note AN547: 32 MHz, memories without wait states",
    },
    Board {
        name: "esp32-c3",
        title: "ESP32-C3-DevKitM-1",
        core: &cores::ESP32_C3,
        megahertz: 160.0,
        ram: 384 * KIB,
        flash: 4 * MIB,
        // 85 clocks of the serial flash at 80 MHz for 32 bytes.
        weights: Flash { line: 32, wait: 170.0, cache: 16 * KIB, branch: 0.0 },
        source: "Espressif ESP32-C3 datasheet 2.0: 160 MHz, 16 KiB cache, lines of 32 bytes from quad SPI at 80 MHz",
    },
    Board {
        name: "longan-nano",
        title: "Sipeed Longan Nano (GD32VF103CB)",
        core: &cores::BUMBLEBEE,
        megahertz: 108.0,
        ram: 32 * KIB,
        flash: 128 * KIB,
        weights: NO_WAIT,
        source: "GigaDevice GD32VF103 datasheet: 108 MHz, flash without wait states",
    },
    Board {
        name: "ch32v307",
        title: "WCH CH32V307V-EVT",
        core: &cores::QINGKE_V4,
        megahertz: 144.0,
        ram: 64 * KIB,
        flash: 256 * KIB,
        weights: NO_WAIT,
        source: "WCH CH32V307 datasheet: 144 MHz, 256 KiB of flash without wait states",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_plain() {
        for (index, board) in BOARDS.iter().enumerate() {
            assert!(board.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)));
            assert!(BOARDS[..index].iter().all(|other| other.name != board.name), "{}", board.name);
        }
    }
}
