//! Pictures as planes of values, read where they lie: the channels of one tensor, or of several as if concatenated.

use std::ops::Range;

use candle_core::{CpuStorage, Result, Storage, Tensor};

/// The planes of a batch of pictures.
pub(crate) struct Planes<'a> {
    /// Each (batch, its channels, size), one behind the other along the channels.
    parts: Vec<Part<'a>>,
    /// Values of a plane.
    size: usize,
}

struct Part<'a> {
    values: &'a [f32],
    channels: Range<usize>,
}

impl<'a> Planes<'a> {
    /// Channel `channel` of picture `image`.
    pub(crate) fn plane(&self, image: usize, channel: usize) -> &'a [f32] {
        self.runs(image, channel..channel + 1).next().unwrap_or(&[])
    }

    /// Channels `channels` of picture `image`: a run of values from each tensor that has some of them.
    pub(crate) fn runs(&self, image: usize, channels: Range<usize>) -> impl Iterator<Item = &'a [f32]> {
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

/// The dimensions (b, c, h, w) of tensors joined along their channels.
pub(crate) fn joined_dims(parts: &[&Tensor]) -> Result<(usize, usize, usize, usize)> {
    let Some((first, rest)) = parts.split_first() else { candle_core::bail!("no pictures to join") };
    let (batch, mut channels, height, width) = first.dims4()?;
    for part in rest {
        let (b, c, h, w) = part.dims4()?;
        if (b, h, w) != (batch, height, width) {
            candle_core::bail!(
                "{:?} and {:?} cannot be joined along their channels",
                first.dims(),
                part.dims()
            );
        }
        channels += c;
    }
    Ok((batch, channels, height, width))
}

/// Calls `f` with the planes of `parts` joined along their channels. Only what does not lie in order is copied.
pub(crate) fn read<R>(parts: &[&Tensor], f: impl FnOnce(Planes<'_>) -> Result<R>) -> Result<R> {
    let (_, _, height, width) = joined_dims(parts)?;
    let parts: Vec<Tensor> = parts.iter().map(|part| part.contiguous()).collect::<Result<_>>()?;
    let held: Vec<_> = parts.iter().map(Tensor::storage_and_layout).collect();
    let mut planes = Planes { parts: Vec::with_capacity(held.len()), size: height * width };
    let mut channels = 0;
    for (part, (storage, layout)) in parts.iter().zip(&held) {
        let Storage::Cpu(CpuStorage::F32(values)) = &**storage else {
            candle_core::bail!("expected f32 on the CPU, got {:?} on {:?}", part.dtype(), part.device())
        };
        let values = values.get(layout.start_offset()..).unwrap_or(&[]);
        let own = channels..channels + part.dim(1)?;
        channels = own.end;
        planes.parts.push(Part { values: &values[..part.elem_count()], channels: own });
    }
    f(planes)
}
