//! Which machine part computes: the CPU, or a GPU that this build knows (features `cuda` and `metal`).

use candle_core::Device;

use crate::Error;

/// What a person asks for: `auto`, `cpu`, `cuda` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU that this build knows and that is there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device.
    Cuda,
    /// The first Metal device.
    Metal,
}

impl DeviceChoice {
    /// All of them by name.
    pub const NAMES: [(&str, Self); 4] =
        [("auto", Self::Auto), ("cpu", Self::Cpu), ("cuda", Self::Cuda), ("metal", Self::Metal)];
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let named = Self::NAMES.into_iter().find(|(each, _)| *each == name);
        named.map(|(_, choice)| choice).ok_or_else(|| {
            Error::Device(format!("there is no device {name:?}: choose auto, cpu, cuda or metal"))
        })
    }
}

/// Opens the device that `choice` means.
///
/// # Errors
/// [`Error::Device`] when it is not part of this build, or is but does not open.
pub fn device(choice: DeviceChoice) -> Result<Device, Error> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda => gpu("CUDA", "cuda", cfg!(feature = "cuda"), Device::new_cuda),
        DeviceChoice::Metal => gpu("Metal", "metal", cfg!(feature = "metal"), Device::new_metal),
        DeviceChoice::Auto => {
            let gpu = device(DeviceChoice::Cuda).or_else(|_| device(DeviceChoice::Metal));
            Ok(gpu.unwrap_or(Device::Cpu))
        }
    }
}

fn gpu(
    name: &str,
    feature: &str,
    built: bool,
    open: fn(usize) -> candle_core::Result<Device>,
) -> Result<Device, Error> {
    if !built {
        return Err(Error::Device(format!(
            "this build has no {name}: build it with `--features {feature}`, or use the device cpu"
        )));
    }
    open(0).map_err(|error| {
        Error::Device(format!(
            "the {name} device does not open ({error}): check its driver, or use the device cpu"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_strangers_are_told_the_names() {
        for (name, choice) in DeviceChoice::NAMES {
            assert_eq!(name.parse::<DeviceChoice>().ok(), Some(choice));
        }
        let error = "gpu".parse::<DeviceChoice>().expect_err("no such device");
        assert_eq!(error.to_string(), "there is no device \"gpu\": choose auto, cpu, cuda or metal");
    }

    #[test]
    fn auto_always_finds_something() {
        assert!(device(DeviceChoice::Auto).is_ok());
        assert!(device(DeviceChoice::Cpu).expect("the CPU is there").is_cpu());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let error = device(DeviceChoice::Cuda).expect_err("not built in").to_string();
        assert_eq!(error, "this build has no CUDA: build it with `--features cuda`, or use the device cpu");
    }
}
