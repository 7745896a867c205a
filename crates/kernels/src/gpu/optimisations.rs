//! Which optimisations for GPUs are on, so that a bench can compare them in one process.

use std::sync::atomic::{AtomicU32, Ordering};

/// An optimisation for GPUs that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimisation {
    /// Fused attention by our own kernel.
    Attention,
    /// The same with 128 queries a block instead of 64.
    WideAttention,
    /// Bias, skip, activation, GEGLU and the like in one pass.
    Pointwise,
    /// Layer norm, and group norm where channels come last.
    Norms,
    /// Convolutions of half precision on tensor cores.
    TensorCores,
    /// Pictures in half precision whose channels lie side by side.
    ChannelsLast,
}

impl Optimisation {
    /// All of them by name.
    pub const NAMES: [(&str, Self); 6] = [
        ("attention", Self::Attention),
        ("wide-attention", Self::WideAttention),
        ("pointwise", Self::Pointwise),
        ("norms", Self::Norms),
        ("tensor-cores", Self::TensorCores),
        ("channels-last", Self::ChannelsLast),
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What is off.
static DISABLED: AtomicU32 = AtomicU32::new(0);

/// Turns these off from now on, and all others on: for benches.
pub fn disable(optimisations: &[Optimisation]) {
    DISABLED.store(optimisations.iter().fold(0, |bits, each| bits | each.bit()), Ordering::Relaxed);
}

/// Whether it is on.
#[allow(dead_code)] // a build without GPU asks for none
pub(crate) fn enabled(optimisation: Optimisation) -> bool {
    DISABLED.load(Ordering::Relaxed) & optimisation.bit() == 0
}
