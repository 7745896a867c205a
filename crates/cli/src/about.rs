//! What this program is, and why it computes where it does.

use pipeline::{DeviceChoice, Opened};

/// Of the package.
const PACKAGE: &str = env!("CARGO_PKG_VERSION");
/// Of the repository, short.
const COMMIT: &str = env!("BUILD_COMMIT");
/// `cpu`, or the GPU features of the build.
const FEATURES: &str = env!("BUILD_FEATURES");

/// Such as `0.2.0 (1a2b3c4d5e, cpu)`.
pub(crate) const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ", ", env!("BUILD_FEATURES"), ")");

/// The same for the server.
pub(crate) fn program() -> server::About {
    server::About::new(PACKAGE, COMMIT, FEATURES)
}

/// Why it is this device and no other.
pub(crate) fn reason(choice: DeviceChoice, opened: Option<&Opened>) -> &'static str {
    match choice {
        DeviceChoice::Auto if FEATURES == "cpu" => "auto: this build has no GPU support",
        DeviceChoice::Auto if opened.is_some_and(|opened| opened.device.is_cpu()) => {
            "auto: no GPU of this build opened"
        }
        DeviceChoice::Auto => "auto: the first GPU that opened",
        _ => "as chosen",
    }
}
