//! Pictures as planes of values, read where they lie: the channels of one tensor, or of several as if concatenated.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::Values;

/// The planes of a batch of pictures.
pub(crate) struct Planes<'a> {
    /// Each (batch, its channels, size), one behind the other along the channels.
    parts: Vec<Part<'a>>,
    /// Values of a plane.
    size: usize,
}

struct Part<'a> {
    values: Values<'a>,
    channels: Range<usize>,
}

impl<'a> Planes<'a> {
    /// The planes of `parts`, contiguous tensors ([`in_order`]) concatenated along their channels.
    pub(crate) fn of(parts: &'a [Tensor]) -> Result<Self> {
        let (_, _, height, width) = concat_dims(&parts.iter().collect::<Vec<_>>())?;
        let mut planes = Self { parts: Vec::with_capacity(parts.len()), size: height * width };
        let mut channels = 0;
        for part in parts {
            let own = channels..channels + part.dim(1)?;
            channels = own.end;
            planes.parts.push(Part { values: Values::of(part)?, channels: own });
        }
        Ok(planes)
    }

    /// Channel `channel` of picture `image`.
    pub(crate) fn plane(&self, image: usize, channel: usize) -> &[f32] {
        self.runs(image, channel..channel + 1).next().unwrap_or(&[])
    }

    /// Channels `channels` of picture `image`: a run of values from each tensor that has some of them.
    pub(crate) fn runs(&self, image: usize, channels: Range<usize>) -> impl Iterator<Item = &[f32]> {
        self.parts.iter().filter_map(move |part| {
            let first = channels.start.max(part.channels.start);
            let last = channels.end.min(part.channels.end);
            (first < last).then(|| {
                let start = (image * part.channels.len() + first - part.channels.start) * self.size;
                &part.values[start..start + (last - first) * self.size]
            })
        })
    }
}

/// The tensors with their values in order; only what does not lie so is copied.
pub(crate) fn in_order(parts: &[&Tensor]) -> Result<Vec<Tensor>> {
    parts.iter().map(|part| part.contiguous()).collect()
}

/// The dimensions (b, c, h, w) of tensors concatenated along their channels.
pub(crate) fn concat_dims(parts: &[&Tensor]) -> Result<(usize, usize, usize, usize)> {
    let Some((first, rest)) = parts.split_first() else { candle_core::bail!("no pictures to concatenate") };
    let (batch, mut channels, height, width) = first.dims4()?;
    for part in rest {
        let (b, c, h, w) = part.dims4()?;
        if (b, h, w) != (batch, height, width) {
            candle_core::bail!(
                "{:?} and {:?} cannot be concatenated along their channels",
                first.dims(),
                part.dims()
            );
        }
        channels += c;
    }
    Ok((batch, channels, height, width))
}
