//! Which forms of the GPU's stand in place of the plain ones, so that a bench can compare them in one process.

use std::sync::atomic::{AtomicU32, Ordering};

/// A form for GPUs that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
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

impl Form {
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

/// What is left out.
static WITHOUT: AtomicU32 = AtomicU32::new(0);

/// Leaves these forms out from now on, and no others: for benches.
pub fn leave_out(forms: &[Form]) {
    WITHOUT.store(forms.iter().fold(0, |bits, form| bits | form.bit()), Ordering::Relaxed);
}

/// Whether a form is in use.
#[allow(dead_code)] // a build without GPU asks for none
pub(crate) fn on(form: Form) -> bool {
    WITHOUT.load(Ordering::Relaxed) & form.bit() == 0
}
