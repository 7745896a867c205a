//! Where the taps of a convolution lie, for every back end.

/// Steps and padding of a convolution's window, the same along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Pixels from one window to the next.
    pub(crate) stride: usize,
    /// Zeros around the input on all four sides.
    pub(crate) padding: usize,
    /// Further zeros to the right and below.
    pub(crate) padding_end: usize,
    /// Distance of neighbouring taps.
    pub(crate) dilation: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { stride: 1, padding: 0, padding_end: 0, dilation: 1 }
    }
}

impl Window {
    /// Windows along an axis of `length` pixels, `kernel` taps each; `None` where not even one fits.
    pub(crate) fn count(&self, length: usize, kernel: usize) -> Option<usize> {
        let padded = length + 2 * self.padding + self.padding_end;
        let free = padded.checked_sub(self.dilation * kernel.saturating_sub(1) + 1)?;
        Some(free / self.stride.max(1) + 1)
    }
}
