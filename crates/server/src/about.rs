//! What this program is and what it runs on: for the first lines of the log, the probes, and the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The program, and the devices of its workers as far as they are open. Clones share the devices.
#[derive(Debug, Clone)]
pub struct About {
    /// Such as `0.2.0`.
    pub version: &'static str,
    /// Of the repository, short; `unknown` where it was built without one.
    pub commit: &'static str,
    /// `cpu`, or the GPU features it was built with, such as `cuda+cudnn`.
    pub features: &'static str,
    devices: Arc<Mutex<BTreeMap<usize, String>>>,
}

impl About {
    /// A program that has opened no device yet.
    #[must_use]
    pub fn new(version: &'static str, commit: &'static str, features: &'static str) -> Self {
        Self { version, commit, features, devices: Arc::default() }
    }

    /// Worker `worker` computes on `device`, which is a description for people.
    pub fn computes_on(&self, worker: usize, device: &str) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.insert(worker, device.to_owned());
    }

    /// The devices that are open, by worker.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Default for About {
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_VERSION"), "unknown", "cpu")
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.version, self.commit, self.features)
    }
}
