//! Convolutions in f32 on the CPU: which algorithm, and its run.

use candle_core::{Device, Result, Tensor};

use super::Conv2d;
use crate::Input;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::geometry::Geometry;
use crate::cpu::microkernel::Microkernel;
use crate::cpu::planes::{self, Planes};
use crate::cpu::winograd::{self, TileSize};
use crate::cpu::{Values, implicit};
use crate::resampling::upsample_nearest;

/// How a convolution is computed. All algorithms read the same packed weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Algorithm {
    /// A matrix product whose columns are gathered from the picture block by block.
    ImplicitGemm,
    /// Minimal filtering; `upsampled` if every value of the input stands for 2 × 2 of the geometry's.
    Winograd { tile_size: TileSize, upsampled: bool },
}

impl Algorithm {
    /// Winograd's where it pays, else the implicit product.
    pub(super) fn choose(geometry: &Geometry, exact: bool) -> Self {
        TileSize::choose(geometry, exact)
            .map_or(Self::ImplicitGemm, |tile_size| Self::Winograd { tile_size, upsampled: false })
    }
}

/// The convolution of `input`, by the algorithm that its shape asks for.
pub(super) fn convolve(
    microkernel: &'static Microkernel,
    input: Input<'_>,
    conv: &Conv2d,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    if let Input::Upsampled { picture, height, width } = input {
        let (batch, channels, h, w) = picture.dims4()?;
        if (height, width) == (2 * h, 2 * w) {
            let geometry = geometry((batch, channels, height, width), conv)?;
            if let Some(tile_size) = TileSize::choose(&geometry, conv.exact) {
                let algorithm = Algorithm::Winograd { tile_size, upsampled: true };
                return convolve_with(algorithm, microkernel, &[picture], conv, geometry, residual);
            }
        }
        let larger = upsample_nearest(picture, height, width)?;
        return convolve(microkernel, Input::One(&larger), conv, residual);
    }
    let x = input.tensors();
    let geometry = geometry(planes::concat_dims(x)?, conv)?;
    let algorithm = Algorithm::choose(&geometry, conv.exact);
    convolve_with(algorithm, microkernel, x, conv, geometry, residual)
}

/// The sizes of `conv` over pictures of these dimensions.
pub(super) fn geometry(dims: (usize, usize, usize, usize), conv: &Conv2d) -> Result<Geometry> {
    Geometry::new(dims, conv.weight.dims(), &conv.window)
}

impl Conv2d {
    /// Its sizes over pictures of these dimensions.
    pub(crate) fn geometry(&self, dims: (usize, usize, usize, usize)) -> Result<Geometry> {
        geometry(dims, self)
    }
}

/// A convolution of pictures concatenated along their channels, by the algorithm asked for.
pub(crate) fn convolve_with(
    algorithm: Algorithm,
    microkernel: &'static Microkernel,
    x: &[&Tensor],
    conv: &Conv2d,
    geometry: Geometry,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let packed = conv.weight.packed(|values| implicit::pack(microkernel, values, &geometry))?;
    let (bias, residual) = addends(conv.bias.as_ref(), residual, &geometry)?;
    let (bias, residual) = (Values::optional(bias.as_ref())?, Values::optional(residual.as_ref())?);
    let epilogue = Epilogue {
        row_bias: bias.as_deref(),
        residual: residual.as_deref(),
        activation: conv.activation,
        ..Epilogue::default()
    };
    let x = planes::in_order(x)?;
    let planes = Planes::of(&x)?;
    let y = match algorithm {
        Algorithm::Winograd { tile_size, upsampled } => {
            let x = winograd::Source { planes: &planes, upsampled };
            winograd::convolve(tile_size, microkernel, x, packed, &geometry, epilogue)
        }
        Algorithm::ImplicitGemm => implicit::convolve(microkernel, &planes, packed, &geometry, epilogue),
    };
    Tensor::from_vec(y, &geometry.out_dims(), &Device::Cpu)
}

/// What is added to each channel, (out) or (b, out), and what to each value, both contiguous.
fn addends(
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let channels = [geometry.batch, geometry.output, 1, 1];
    if let Some(bias) = bias.filter(|bias| bias.dims() != [geometry.output]) {
        candle_core::bail!("a bias of {:?} where {} values are needed", bias.dims(), geometry.output);
    }
    let (by_channel, by_value) = match residual {
        None => (bias.cloned(), None),
        Some(residual) if residual.dims() == channels => {
            let residual = residual.reshape((geometry.batch, geometry.output))?;
            (Some(bias.map_or(Ok(residual.clone()), |bias| residual.broadcast_add(bias))?), None)
        }
        Some(residual) if residual.dims() == geometry.out_dims() => (bias.cloned(), Some(residual.clone())),
        Some(residual) => {
            candle_core::bail!("{:?} cannot be added to {:?}", residual.dims(), geometry.out_dims())
        }
    };
    let in_order = |x: Option<Tensor>| x.map(|x| x.contiguous()).transpose();
    Ok((in_order(by_channel)?, in_order(by_value)?))
}
