//! Where to compute.

use candle_core::Device;

use crate::{Error, Result, parallel::Launch};

/// The device that `--device` names: auto, cpu, cuda or cuda:N.
///
/// `auto` takes the first GPU if this build has CUDA and the machine has one, else the CPU; the second value is a sentence for
/// the user in that case.
///
/// # Errors
/// The name is not known, this build has no CUDA, or there is no such GPU.
pub fn open(name: &str) -> Result<(Device, Option<String>)> {
    match Name::parse(name)? {
        Name::Cpu => Ok((Device::Cpu, None)),
        Name::Auto if !cfg!(feature = "cuda") => Ok((Device::Cpu, None)),
        Name::Auto => Ok(match Device::new_cuda(0) {
            Ok(device) => (device, None),
            Err(e) => (Device::Cpu, Some(format!("no CUDA device ({}); training on the CPU", reason(&e)))),
        }),
        Name::Cuda(ordinal) => Ok((open_gpu(name, ordinal.unwrap_or(0))?, None)),
    }
}

/// The device of one of several processes: auto and cuda name the GPU that is this rank's on its machine. For one process,
/// [`open`].
///
/// # Errors
/// As [`open`]; also where `auto` finds no GPU, or `name` is cpu, since several processes train on GPUs only.
pub fn open_rank(name: &str, launch: &Launch) -> Result<(Device, Option<String>)> {
    launch.check_build()?;
    if launch.world_size == 1 {
        return open(name);
    }
    let ordinal = match Name::parse(name)? {
        Name::Cpu => {
            let expected = format!("auto, cuda or cuda:N, since WORLD_SIZE is {}", launch.world_size);
            return Err(Error::setting("device", name, &expected));
        }
        Name::Cuda(Some(ordinal)) => ordinal,
        Name::Auto | Name::Cuda(None) => launch.ordinal(visible_gpus(name)?)?,
    };
    Ok((open_gpu(name, ordinal)?, None))
}

/// What `--device` says.
enum Name {
    Auto,
    Cpu,
    /// With its number, if it says one.
    Cuda(Option<usize>),
}

impl Name {
    fn parse(name: &str) -> Result<Self> {
        let number = |rest: &str| rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok());
        match (name, name.strip_prefix("cuda")) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some("")) => Ok(Self::Cuda(None)),
            (_, Some(rest)) if number(rest).is_some() => Ok(Self::Cuda(number(rest))),
            _ => Err(Error::setting("device", name, "auto, cpu, cuda or cuda:N")),
        }
    }
}

fn open_gpu(name: &str, ordinal: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        let expected = "auto or cpu: this build has no CUDA, for which it takes --features cuda";
        return Err(Error::setting("device", name, expected));
    }
    Device::new_cuda(ordinal).map_err(|e| unusable(name, &e))
}

fn unusable(name: &str, e: &candle_core::Error) -> Error {
    Error::Unsupported(format!("device = {name}: no such GPU can be used: {}", reason(e)))
}

/// What candle says, without the backtrace that it appends where `RUST_BACKTRACE` is set: a missing GPU is no bug.
fn reason(e: &candle_core::Error) -> String {
    match e {
        candle_core::Error::WithBacktrace { inner, .. } => reason(inner),
        e => e.to_string(),
    }
}

#[cfg(feature = "cuda")]
fn visible_gpus(name: &str) -> Result<usize> {
    use candle_core::cuda_backend::{WrapErr, cudarc::driver::CudaContext};

    let count = CudaContext::device_count().w().map_err(|e| unusable(name, &e))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(not(feature = "cuda"))]
fn visible_gpus(_name: &str) -> Result<usize> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_device_are_refused() {
        for name in ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda0", "cuda:0:1", "cuda:99999999999999999999"] {
            let error = open(name).unwrap_err().to_string();
            assert_eq!(error, format!("device = {name}: expected auto, cpu, cuda or cuda:N"));
        }
        assert!(open("cpu").unwrap().0.is_cpu());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        for name in ["cuda", "cuda:1"] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("device = {name}: ")) && error.contains("--features cuda"), "{error}");
        }
        let (device, note) = open("auto").unwrap();
        assert!(device.is_cpu() && note.is_none());
    }

    #[test]
    fn one_rank_takes_what_open_takes_and_several_take_gpus() {
        let alone = Launch::default();
        assert!(open_rank("cpu", &alone).unwrap().0.is_cpu());
        let several = Launch { world_size: 2, ..Launch::default() };
        let error = open_rank("cpu", &several).unwrap_err().to_string();
        let expected = if cfg!(feature = "nccl") {
            "device = cpu: expected auto, cuda or cuda:N, since WORLD_SIZE is 2"
        } else {
            "WORLD_SIZE = 2: expected 1: this build"
        };
        assert!(error.starts_with(expected), "{error}");
    }
}
