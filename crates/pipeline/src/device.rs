//! Which machine part computes: the CPU, or a GPU that this build knows (features `cuda` and `metal`).

use std::fmt;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What a person asks for: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`, `metal:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first GPU that this build knows and that is there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by its number, from 0.
    Cuda(usize),
    /// A Metal device by its number, from 0.
    Metal(usize),
}

impl DeviceChoice {
    /// What may be written, for messages.
    pub const FORMS: &str = "auto, cpu, cuda or metal; for another GPU than the first, cuda:1, cuda:2, …";
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal(ordinal) => write!(f, "metal:{ordinal}"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::Device(format!("there is no device {name:?}: choose {}", Self::FORMS));
        let (kind, ordinal) = match name.split_once(':') {
            // Nothing but digits: no sign, no blanks.
            Some((kind, ordinal)) if ordinal.bytes().all(|b| b.is_ascii_digit()) => {
                (kind, Some(ordinal.parse::<usize>().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
            None => (name, None),
        };
        match (kind, ordinal) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", ordinal) => Ok(Self::Cuda(ordinal.unwrap_or(0))),
            ("metal", ordinal) => Ok(Self::Metal(ordinal.unwrap_or(0))),
            _ => Err(unknown()),
        }
    }
}

/// An open device, and what its user should know about it.
#[derive(Debug)]
pub struct Opened {
    /// Where tensors go.
    pub device: Device,
    /// What it is: `CPU`, or a GPU's name, memory and driver.
    pub description: String,
    /// Why it is not what could be hoped for: which GPUs of this build did not open, and which kernels its driver refuses.
    pub warnings: Vec<String>,
}

/// Opens the device that `choice` means, for the thread that calls: each worker opens its own.
///
/// # Errors
/// [`Error::Device`] when it is not part of this build, or is but does not open.
pub fn open(choice: DeviceChoice) -> Result<Opened, Error> {
    let device = match choice {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda(ordinal) => gpu(choice, "CUDA", ordinal, open_cuda)?,
        DeviceChoice::Metal(ordinal) => gpu(choice, "Metal", ordinal, Device::new_metal)?,
        DeviceChoice::Auto => return automatic(),
    };
    let warnings = missing_kernels(&device);
    Ok(Opened { description: description(&device), device, warnings })
}

/// The first GPU that opens, else the CPU with the reasons why none did.
fn automatic() -> Result<Opened, Error> {
    let built =
        [(cfg!(feature = "cuda"), DeviceChoice::Cuda(0)), (cfg!(feature = "metal"), DeviceChoice::Metal(0))];
    let mut reasons = Vec::new();
    for (_, choice) in built.into_iter().filter(|(built, _)| *built) {
        match open(choice) {
            Ok(opened) => return Ok(opened),
            Err(error) => reasons.push(format!("computing on the CPU instead of a GPU: {error}")),
        }
    }
    Ok(Opened { warnings: reasons, ..open(DeviceChoice::Cpu)? })
}

/// The device of [`open`] alone.
///
/// # Errors
/// As [`open`].
pub fn device(choice: DeviceChoice) -> Result<Device, Error> {
    Ok(open(choice)?.device)
}

impl DeviceChoice {
    /// Whether this build has such a device at all, which shows without opening it.
    ///
    /// # Errors
    /// [`Error::Device`], which says how to build what has it.
    pub fn in_this_build(self) -> Result<(), Error> {
        let (name, built, feature) = match self {
            Self::Cuda(_) => ("CUDA", cfg!(feature = "cuda"), "cudnn"),
            Self::Metal(_) => ("Metal", cfg!(feature = "metal"), "metal"),
            Self::Auto | Self::Cpu => return Ok(()),
        };
        if built {
            return Ok(());
        }
        Err(Error::Device(format!(
            "this build has no {name}: build it with `--features {feature}`, or use the device cpu"
        )))
    }
}

fn gpu(
    choice: DeviceChoice,
    name: &str,
    ordinal: usize,
    open: fn(usize) -> candle_core::Result<Device>,
) -> Result<Device, Error> {
    choice.in_this_build()?;
    open(ordinal).map_err(|error| {
        Error::Device(format!(
            "the {name} device {ordinal} does not open ({error}): check its driver and number, or use the device cpu"
        ))
    })
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> candle_core::Result<Device> {
    kernels::open_cuda(ordinal)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(ordinal: usize) -> candle_core::Result<Device> {
    Device::new_cuda(ordinal)
}

fn missing_kernels(device: &Device) -> Vec<String> {
    #[cfg(feature = "cuda")]
    return {
        let missing = kernels::missing_kernels(device).into_iter();
        missing.map(|reason| format!("slower kernels take the place of ours: {reason}")).collect()
    };
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        Vec::new()
    }
}

fn description(device: &Device) -> String {
    #[cfg(feature = "cuda")]
    if let Ok(Some(card)) = kernels::card(device) {
        let (whole, part) = (card.capability / 10, card.capability % 10);
        let (driver, minor) = (card.driver / 1000, card.driver % 1000 / 10);
        let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
        return format!(
            "{} ({:.1} GiB, {:.1} free; compute capability {whole}.{part}; driver for CUDA {driver}.{minor})",
            card.name,
            gib(card.memory),
            gib(card.free)
        );
    }
    match device {
        Device::Cpu => "CPU".to_owned(),
        Device::Cuda(_) => "CUDA".to_owned(),
        Device::Metal(_) => "Metal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_strangers_are_told_the_names() {
        for (name, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
            ("metal:0", DeviceChoice::Metal(0)),
        ] {
            assert_eq!(name.parse::<DeviceChoice>().ok(), Some(choice), "{name}");
        }
        for name in
            ["gpu", "cuda:", "cuda:-1", "cuda: 1", "cuda:+1", "cpu:0", "auto:1", "cuda:1:2", "", "CUDA"]
        {
            let error = name.parse::<DeviceChoice>().expect_err(name).to_string();
            assert!(error.contains(&format!("{name:?}")) && error.contains("cuda:1"), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(2), DeviceChoice::Metal(0)] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().ok(), Some(choice));
        }
    }

    #[test]
    fn auto_always_finds_something() {
        let opened = open(DeviceChoice::Auto).expect("something");
        assert!(!opened.device.is_cpu() || opened.description == "CPU");
        assert!(device(DeviceChoice::Cpu).expect("the CPU is there").is_cpu());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let error = device(DeviceChoice::Cuda(0)).expect_err("not built in").to_string();
        assert_eq!(error, "this build has no CUDA: build it with `--features cudnn`, or use the device cpu");
    }
}
