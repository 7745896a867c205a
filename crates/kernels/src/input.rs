//! What a layer over pictures reads: one picture, several as if concatenated, or one as if upsampled.

use candle_core::{Result, Tensor};

use crate::pictures::cat_channels;
use crate::resampling::upsample_nearest;

/// Pictures (b, c, h, w) as a [`Conv2d`](crate::Conv2d) or a [`GroupNorm`](crate::GroupNorm) takes them. On the CPU in f32
/// neither the concatenated nor the upsampled picture is ever in memory where the layer can do without.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One tensor.
    One(&'a Tensor),
    /// Tensors concatenated along their channels.
    Concat(&'a [&'a Tensor]),
    /// A tensor resized to `height` × `width` by nearest neighbours.
    Upsampled {
        /// The picture before.
        picture: &'a Tensor,
        /// Rows after.
        height: usize,
        /// Columns after.
        width: usize,
    },
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(x: &'a Tensor) -> Self {
        Self::One(x)
    }
}

impl<'a> From<&'a [&'a Tensor]> for Input<'a> {
    fn from(parts: &'a [&'a Tensor]) -> Self {
        Self::Concat(parts)
    }
}

impl<'a, const N: usize> From<&'a [&'a Tensor; N]> for Input<'a> {
    fn from(parts: &'a [&'a Tensor; N]) -> Self {
        Self::Concat(parts)
    }
}

impl<'a> Input<'a> {
    /// The tensors it is made of.
    pub(crate) fn tensors(&self) -> &[&'a Tensor] {
        match self {
            Self::One(x) | Self::Upsampled { picture: x, .. } => std::slice::from_ref(x),
            Self::Concat(parts) => parts,
        }
    }

    /// Its channels.
    pub(crate) fn channels(&self) -> Result<usize> {
        self.tensors().iter().map(|x| x.dim(1)).sum()
    }

    /// The input as one tensor in memory.
    pub(crate) fn materialise(self) -> Result<Tensor> {
        match self {
            Self::One(x) => Ok(x.clone()),
            Self::Concat(parts) => cat_channels(parts),
            Self::Upsampled { picture, height, width } => upsample_nearest(picture, height, width),
        }
    }
}
