//! Where to compute.

use candle_core::Device;

use crate::{Error, Result};

/// The device that `--device` names: auto, cpu, cuda or cuda:N.
///
/// `auto` takes the first GPU if this build has CUDA and the machine has one, else the CPU; the second value is a sentence for
/// the user in that case.
///
/// # Errors
/// The name is not known, this build has no CUDA, or there is no such GPU.
pub fn open(name: &str) -> Result<(Device, Option<String>)> {
    let expected = "auto, cpu, cuda or cuda:N";
    match name {
        "cpu" => Ok((Device::Cpu, None)),
        "auto" if !cfg!(feature = "cuda") => Ok((Device::Cpu, None)),
        "auto" => Ok(match Device::new_cuda(0) {
            Ok(device) => (device, None),
            Err(e) => (Device::Cpu, Some(format!("no CUDA device ({e}); training on the CPU"))),
        }),
        _ => {
            let ordinal = match name.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok()),
                None => None,
            };
            let Some(ordinal) = ordinal else { return Err(Error::setting("device", name, expected)) };
            if !cfg!(feature = "cuda") {
                let expected = "auto or cpu: this build has no CUDA, for which it takes --features cuda";
                return Err(Error::setting("device", name, expected));
            }
            let device = Device::new_cuda(ordinal)
                .map_err(|e| Error::Unsupported(format!("device = {name}: no such GPU can be used: {e}")))?;
            Ok((device, None))
        }
    }
}
