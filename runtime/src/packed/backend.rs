//! Which instruction set runs a model.

use core::fmt;
use core::str::FromStr;
use std::boxed::Box;
use std::string::{String, ToString};

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::isa::neon::Neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::isa::simd128::Simd128;
use super::isa::{Isa, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::isa::{avx2::Avx2, avx512::Avx512};
use super::network::{self, Worker};
use super::{MAX_BYTES, PackError};
use crate::model::Model;

/// An instruction set that [`Packed`](super::Packed) has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Plain loops; everywhere.
    Portable,
    /// WebAssembly that was compiled for 128-bit SIMD, `-C target-feature=+simd128`.
    WasmSimd128,
    /// x86-64 with AVX2.
    Avx2,
    /// AArch64 with NEON's dot products.
    NeonDotprod,
    /// x86-64 with AVX-512 VNNI.
    Avx512Vnni,
}

impl Backend {
    /// All of them, the fastest last.
    pub const ALL: [Backend; 5] =
        [Backend::Portable, Backend::WasmSimd128, Backend::Avx2, Backend::NeonDotprod, Backend::Avx512Vnni];

    /// The name used on the command line: `portable`, `wasm-simd128`, `avx2`, `neon-dotprod`, `avx512-vnni`.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Portable => "portable",
            Backend::WasmSimd128 => "wasm-simd128",
            Backend::Avx2 => "avx2",
            Backend::NeonDotprod => "neon-dotprod",
            Backend::Avx512Vnni => "avx512-vnni",
        }
    }

    /// Those that this machine has, the fastest last.
    pub fn available() -> impl DoubleEndedIterator<Item = Backend> {
        Backend::ALL.into_iter().filter(|backend| backend.is_available())
    }

    /// The fastest that this machine has.
    pub fn best() -> Backend {
        Backend::available().next_back().unwrap_or(Backend::Portable)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Backend::Portable => true,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::WasmSimd128 => true,
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Backend::NeonDotprod => Neon::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512Vnni => Avx512::detect().is_some(),
            // Those of other processors.
            _ => false,
        }
    }

    /// Rearranges a model.
    pub(super) fn worker(self, model: &Model<'_>) -> Result<Box<dyn Worker>, PackError> {
        match self {
            Backend::Portable => worker(Some(Portable), self, model),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::WasmSimd128 => worker(Some(Simd128), self, model),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Backend::NeonDotprod => worker(Neon::detect(), self, model),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => worker(Avx2::detect(), self, model),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512Vnni => worker(Avx512::detect(), self, model),
            _ => Err(PackError::Unavailable { backend: self }),
        }
    }
}

fn worker<I: Isa>(isa: Option<I>, backend: Backend, model: &Model<'_>) -> Result<Box<dyn Worker>, PackError> {
    let isa = isa.ok_or(PackError::Unavailable { backend })?;
    let needed = network::bytes::<I>(model);
    if needed > MAX_BYTES { Err(PackError::Memory { needed }) } else { Ok(network::worker(isa, model)) }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of [`Backend::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend {name:?}; there are {}", Backend::ALL.map(Backend::name).join(", "))]
pub struct UnknownBackend {
    /// The name that was asked for.
    pub name: String,
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        let found = Backend::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| UnknownBackend { name: name.to_string() })
    }
}
