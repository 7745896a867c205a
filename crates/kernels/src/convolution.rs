//! Two-dimensional convolutions over (batch, channels, height, width).
//!
//! A [`Conv2d`] owns its weight, so that a faster form may keep it packed; [`conv2d`] applies it. "Convolution" is
//! cross-correlation, as in every deep-learning framework.

use candle_core::{DType, Device, Result, Tensor};

use crate::Activation;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::micro::Micro;
use crate::cpu::{implicit, planes, winograd};
use crate::gpu::Ending;
use crate::linear::with_values;
use crate::pictures::{cat_channels, channels_last};
use crate::resampling::upsample_nearest;
use crate::weight::Weight;

/// A convolution: weight (out, in, kh, kw), optional bias (out), geometry, optional activation after the bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Weight,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    /// Further zeros to the right and below.
    padding_end: usize,
    dilation: usize,
    activation: Option<Activation>,
    exact: bool,
}

impl Conv2d {
    /// Stride 1, no padding, no dilation, no activation. `weight`: (out, in, kh, kw); `bias`: (out).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        let weight = Weight::new(weight);
        Self {
            weight,
            bias,
            stride: 1,
            padding: 0,
            padding_end: 0,
            dilation: 1,
            activation: None,
            exact: false,
        }
    }

    /// Steps of the window along both axes.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Zeros put around the input on all four sides.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Further zeros put to the right and below only.
    pub fn padding_end(mut self, padding: usize) -> Self {
        self.padding_end = padding;
        self
    }

    /// Distance of neighbouring taps.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// Function applied after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// Only forms that round as finely as a plain sum: by 3e-7 (relative, L2) instead of the 2e-6 of Winograd's
    /// F(4×4, 3×3).
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }
}

/// `x` (b, in, h, w) → (b, out, h', w') with h' = (h + 2·padding + padding_end − dilation·(kh−1) − 1)/stride + 1.
pub fn conv2d(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    sum(x, conv, None)
}

/// `conv2d` of pictures joined along their channels, without joining them first.
pub fn conv2d_joined(x: &[&Tensor], conv: &Conv2d) -> Result<Tensor> {
    match x.iter().all(|x| conv.weight.takes(x)) {
        true => fast(Micro::best(), x, conv, None),
        false => plain(&cat_channels(x)?, conv, None),
    }
}

/// `conv2d` of `x` resized to `height` × `width` by nearest neighbours. Where that doubles both sides, Winograd's forms
/// double rows in the cache; the larger picture is never in memory.
pub fn upsample_conv2d(x: &Tensor, height: usize, width: usize, conv: &Conv2d) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    if conv.weight.takes(x) && (height, width) == (2 * h, 2 * w) {
        let geometry = Geometry::new((batch, channels, height, width), conv)?;
        if let Some(form) = winograd::Form::of(&geometry, conv.exact) {
            return by(Form::Winograd { form, doubled: true }, Micro::best(), &[x], conv, geometry, None);
        }
    }
    conv2d(&upsample_nearest(x, height, width)?, conv)
}

/// `conv2d` plus `addend` before the activation: a skip (b, out, h', w'), or one value for each channel (b, out, 1, 1).
pub fn conv2d_add(x: &Tensor, conv: &Conv2d, addend: &Tensor) -> Result<Tensor> {
    sum(x, conv, Some(addend))
}

fn sum(x: &Tensor, conv: &Conv2d, addend: Option<&Tensor>) -> Result<Tensor> {
    match conv.weight.takes(x) {
        true => fast(Micro::best(), &[x], conv, addend),
        false => plain(x, conv, addend),
    }
}

/// The definition; on a GPU its fused parts.
fn plain(x: &Tensor, conv: &Conv2d, addend: Option<&Tensor>) -> Result<Tensor> {
    let weight = match crate::gpu::channels_last(x.device(), x.dtype()) {
        true => conv.weight.plain_channels_last(x)?,
        false => conv.weight.plain(x)?,
    };
    let x = &match (conv.padding_end, channels_last(x)) {
        (0, _) => x.clone(),
        (end, Some(rows)) => {
            rows.pad_with_zeros(1, 0, end)?.pad_with_zeros(2, 0, end)?.permute((0, 3, 1, 2))?
        }
        (end, None) => x.pad_with_zeros(2, 0, end)?.pad_with_zeros(3, 0, end)?,
    };
    let (padding, stride, dilation) = (conv.padding, conv.stride, conv.dilation);
    // A window of one pixel is a matrix product where channels lie side by side: cuDNN's own took twice the time on an H200.
    let one_pixel = weight.dims().get(2..) == Some(&[1, 1][..]) && (padding, stride) == (0, 1);
    if let (true, Some(rows)) = (one_pixel, channels_last(x)) {
        let (batch, height, width, channels) = rows.dims4()?;
        let flat = weight.reshape(((), channels))?;
        let y = rows.reshape(((), channels))?.matmul(&flat.t()?)?;
        let y = y.reshape((batch, height, width, flat.dim(0)?))?.permute((0, 3, 1, 2))?;
        return ended(y, conv, addend);
    }
    let y = match crate::gpu::conv2d(x, &weight, padding, stride, dilation) {
        Some(y) => y?,
        // On the CPU, candle has none in bf16.
        None if x.device().is_cpu() && x.dtype() == DType::BF16 => {
            let (x, weight) = (x.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
            x.contiguous()?.conv2d(&weight, padding, stride, dilation, 1)?.to_dtype(DType::BF16)?
        }
        None => x.contiguous()?.conv2d(&weight, padding, stride, dilation, 1)?,
    };
    ended(y, conv, addend)
}

/// What follows the sums `y`, which nobody else holds.
fn ended(y: Tensor, conv: &Conv2d, addend: Option<&Tensor>) -> Result<Tensor> {
    let (embedding, skip) = match addend {
        Some(addend) if addend.rank() == 4 && addend.dims()[2..] == [1, 1] => (Some(addend), None),
        other => (None, other),
    };
    let ending = Ending { bias: conv.bias.as_ref(), embedding, skip, activation: conv.activation };
    if let Some(finished) = crate::gpu::finish_picture(&y, ending) {
        finished?;
        return Ok(y);
    }
    let y = biased(y, conv.bias.as_ref())?;
    let y = match addend {
        Some(addend) => y.broadcast_add(addend)?,
        None => y,
    };
    match conv.activation {
        Some(activation) => activation.apply(&y),
        None => Ok(y),
    }
}

/// Sizes of a convolution of one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) output: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Geometry {
    /// Fails if the weight does not fit pictures of these dimensions.
    pub(crate) fn new(dims: (usize, usize, usize, usize), conv: &Conv2d) -> Result<Self> {
        let (batch, input, height, width) = dims;
        let &[output, channels, kernel_height, kernel_width] = conv.weight.dims() else {
            candle_core::bail!("a convolution's weight has four dimensions, not {:?}", conv.weight.dims())
        };
        let (stride, padding, dilation) = (conv.stride, conv.padding, conv.dilation);
        let size = |n: usize, kernel: usize| {
            (n + 2 * padding + conv.padding_end)
                .checked_sub(dilation * kernel.saturating_sub(1) + 1)
                .map(|n| n / stride.max(1) + 1)
        };
        match (size(height, kernel_height), size(width, kernel_width)) {
            (Some(out_height), Some(out_width)) if channels == input && stride > 0 => Ok(Self {
                batch,
                input,
                height,
                width,
                output,
                kernel_height,
                kernel_width,
                stride,
                padding,
                dilation,
                out_height,
                out_width,
            }),
            _ => candle_core::bail!(
                "a convolution of {:?} (stride {stride}, padding {padding}, dilation {dilation}) cannot take {:?}",
                conv.weight.dims(),
                dims
            ),
        }
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// An image's share of a bias (out), which is for all images, or (b, out).
    pub(crate) fn bias_of<'a>(&self, bias: &'a [f32], image: usize) -> &'a [f32] {
        let own = if bias.len() > self.output { image * self.output } else { 0 };
        &bias[own..own + self.output]
    }

    fn out_dims(&self) -> [usize; 4] {
        [self.batch, self.output, self.out_height, self.out_width]
    }
}

/// How a convolution is computed. All forms read the same packed weight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// By the implicit product.
    Implicit,
    /// By Winograd's; `doubled` if every value of the input stands for 2 × 2 of the geometry's.
    Winograd { form: winograd::Form, doubled: bool },
}

impl Form {
    /// Winograd's form where it pays, else the implicit product.
    fn of(geometry: &Geometry, exact: bool) -> Self {
        winograd::Form::of(geometry, exact)
            .map_or(Self::Implicit, |form| Self::Winograd { form, doubled: false })
    }
}

fn fast(micro: &'static Micro, x: &[&Tensor], conv: &Conv2d, addend: Option<&Tensor>) -> Result<Tensor> {
    let geometry = Geometry::new(planes::joined_dims(x)?, conv)?;
    by(Form::of(&geometry, conv.exact), micro, x, conv, geometry, addend)
}

/// A convolution of pictures joined along their channels, in the form asked for.
pub(crate) fn by(
    form: Form,
    micro: &'static Micro,
    x: &[&Tensor],
    conv: &Conv2d,
    geometry: Geometry,
    addend: Option<&Tensor>,
) -> Result<Tensor> {
    let dims = geometry.out_dims();
    let packed = conv.weight.packed(|values| implicit::pack(micro, values, &geometry))?;
    let (bias, skip) = addends(conv.bias.as_ref(), addend, &geometry)?;
    let y = with_values(bias.as_ref(), |row_bias| {
        with_values(skip.as_ref(), |addend| {
            let epilogue = Epilogue { row_bias, addend, activation: conv.activation, ..Epilogue::default() };
            planes::read(x, |x| {
                Ok(match form {
                    Form::Winograd { form, doubled } => {
                        let x = winograd::Source { planes: &x, doubled };
                        winograd::convolve(form, micro, x, packed, &geometry, epilogue)
                    }
                    Form::Implicit => implicit::convolve(micro, &x, packed, &geometry, epilogue),
                })
            })
        })
    })?;
    Tensor::from_vec(y, &dims, &Device::Cpu)
}

/// What is added to each channel, (out) or (b, out), and what to each value.
fn addends(
    bias: Option<&Tensor>,
    addend: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let channels = [geometry.batch, geometry.output, 1, 1];
    if let Some(bias) = bias.filter(|bias| bias.dims() != [geometry.output]) {
        candle_core::bail!("a bias of {:?} where {} values are needed", bias.dims(), geometry.output);
    }
    match addend {
        None => Ok((bias.cloned(), None)),
        Some(addend) if addend.dims() == channels => {
            let addend = addend.reshape((geometry.batch, geometry.output))?;
            Ok((Some(bias.map_or(Ok(addend.clone()), |bias| addend.broadcast_add(bias))?), None))
        }
        Some(addend) if addend.dims() == geometry.out_dims() => Ok((bias.cloned(), Some(addend.clone()))),
        Some(addend) => {
            candle_core::bail!("{:?} cannot be added to {:?}", addend.dims(), geometry.out_dims())
        }
    }
}

pub(crate) fn biased(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
        None => Ok(y),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result, Tensor};

    use super::{Conv2d, Form, Geometry, by, fast, plain};
    use crate::Activation;
    use crate::compare::{assert_close, noise};
    use crate::cpu::micro::Micro;
    use crate::cpu::winograd;
    use crate::resampling::upsample_nearest;

    const TWO: Form = Form::Winograd { form: winograd::Form::Two, doubled: false };
    const FOUR: Form = Form::Winograd { form: winograd::Form::Four, doubled: false };
    const FORMS: [Form; 3] = [Form::Implicit, TWO, FOUR];

    #[test]
    fn implicit_form_agrees_with_the_plain_one() -> Result<()> {
        for micro in Micro::all() {
            // batch, in, out, height, width, kernel, stride, padding, dilation
            for [b, i, o, h, w, k, s, p, d] in [
                [1, 1, 1, 1, 1, 1, 1, 0, 1],
                [2, 3, 5, 7, 6, 3, 2, 1, 1],
                [1, 4, 9, 33, 5, 3, 1, 1, 1],
                [2, 5, 7, 9, 40, 3, 1, 2, 2],
                [1, 3, 33, 16, 16, 7, 1, 3, 1],
                [1, 3, 20, 28, 42, 14, 14, 0, 1],
                [3, 37, 18, 5, 13, 1, 1, 0, 1],
                [1, 64, 48, 8, 8, 1, 2, 0, 1],
                [1, 70, 20, 9, 23, 3, 2, 1, 1],
                [1, 130, 10, 12, 11, 3, 1, 8, 8],
                [1, 2, 2, 3, 3, 3, 1, 1, 1],
                [1, 6, 4, 2, 70, 2, 1, 1, 1],
            ] {
                let make = || {
                    let conv = Conv2d::new(noise(&[o, i, k, k], 1), Some(noise(&[o], 2))).exact();
                    conv.stride(s).padding(p).dilation(d).activation(Activation::Relu)
                };
                let x = noise(&[b, i, h, w], 3);
                let what = format!("{} {b} {i}->{o} {h}x{w} k{k} s{s} p{p} d{d}", micro.name);
                assert_close(&fast(micro, &[&x], &make(), None)?, &plain(&x, &make(), None)?, 2e-6, &what);
            }
        }
        Ok(())
    }

    #[test]
    fn winograd_form_agrees_with_the_plain_one() -> Result<()> {
        for micro in Micro::all() {
            let sizes = [
                (8, 8),
                (9, 8),
                (10, 17),
                (11, 7),
                (64, 1),
                (1, 65),
                (21, 34),
                (40, 41),
                (12, 150),
                (130, 9),
            ];
            for (n, (h, w)) in sizes.into_iter().enumerate() {
                for (b, i, o) in [(1, 16, 16), (2, 17, 50), (1, 165, 30)] {
                    let make = || {
                        let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
                        if n % 2 == 0 { conv.activation(Activation::Silu) } else { conv }
                    };
                    let x = noise(&[b, i, h, w], 3);
                    let want = plain(&x, &make(), None)?;
                    let geometry = Geometry::new(x.dims4()?, &make())?;
                    for (form, bound) in [(FOUR, 1e-5), (TWO, 1.5e-6)] {
                        let what = format!("{form:?} {} {b} {i}->{o} {h}x{w}", micro.name);
                        let got = by(form, micro, &[&x], &make(), geometry, None)?;
                        assert_close(&got, &want, bound, &what);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn weights_in_f16_give_the_bits_of_the_same_weights_in_f32() -> Result<()> {
        for micro in Micro::all() {
            for [i, o, h, w] in [[37, 18, 9, 13], [165, 30, 12, 40], [333, 100, 8, 8]] {
                let half = noise(&[o, i, 3, 3], 1).to_dtype(DType::F16)?;
                let conv = |weight| Conv2d::new(weight, None).padding(1);
                let x = noise(&[1, i, h, w], 3);
                let geometry = Geometry::new(x.dims4()?, &conv(half.clone()))?;
                for form in FORMS {
                    let got = by(form, micro, &[&x], &conv(half.clone()), geometry, None)?;
                    let want = by(form, micro, &[&x], &conv(half.to_dtype(DType::F32)?), geometry, None)?;
                    assert_close(&got, &want, 0.0, micro.name);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn sums_with_skips_and_with_channels() -> Result<()> {
        for micro in Micro::all() {
            for [b, i, o, h, w] in [[1, 5, 7, 9, 13], [3, 33, 18, 6, 40], [2, 16, 50, 8, 8]] {
                let make = || {
                    let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
                    conv.activation(Activation::Silu)
                };
                let x = noise(&[b, i, h, w], 3);
                let geometry = Geometry::new(x.dims4()?, &make())?;
                for addend in [noise(&[b, o, h, w], 4), noise(&[b, o, 1, 1], 5)] {
                    let want = plain(&x, &make(), Some(&addend))?;
                    for form in FORMS {
                        let got = by(form, micro, &[&x], &make(), geometry, Some(&addend))?;
                        assert_close(&got, &want, 1e-5, micro.name);
                    }
                }
                let wrong = noise(&[b, o, 1, w], 6);
                assert!(fast(micro, &[&x], &make(), Some(&wrong)).is_err(), "an addend of another shape");
            }
        }
        Ok(())
    }

    #[test]
    fn joined_pictures_give_the_bits_of_the_concatenated_ones() -> Result<()> {
        for micro in Micro::all() {
            for (b, parts, o, [h, w]) in [
                (1, vec![3, 4], 9, [5, 7]),
                (2, vec![17, 40], 50, [8, 20]),
                (2, vec![5, 1, 30], 33, [12, 11]),
            ] {
                let x: Vec<Tensor> = parts.iter().map(|c| noise(&[b, *c, h, w], *c as u32)).collect();
                let (x, i): (Vec<&Tensor>, usize) = (x.iter().collect(), parts.iter().sum());
                let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), None).padding(1);
                let geometry = Geometry::new((b, i, h, w), &conv)?;
                for form in FORMS {
                    let got = by(form, micro, &x, &conv, geometry, None)?;
                    let want = by(form, micro, &[&Tensor::cat(&x, 1)?], &conv, geometry, None)?;
                    assert_close(&got, &want, 0.0, micro.name);
                }
            }
        }
        let conv = Conv2d::new(noise(&[2, 4, 1, 1], 1), None);
        let pair = [noise(&[1, 2, 3, 4], 1), noise(&[1, 2, 3, 5], 1)];
        assert!(fast(Micro::best(), &[&pair[0], &pair[1]], &conv, None).is_err(), "of different sizes");
        assert!(fast(Micro::best(), &[], &conv, None).is_err(), "nothing to join");
        Ok(())
    }

    #[test]
    fn doubling_in_the_cache_gives_the_bits_of_doubling_first() -> Result<()> {
        for micro in Micro::all() {
            for [b, i, o, h, w] in
                [[1, 16, 16, 4, 4], [2, 17, 50, 5, 13], [1, 33, 30, 21, 6], [1, 3, 4, 1, 40]]
            {
                let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
                let x = noise(&[b, i, h, w], 3);
                let large = upsample_nearest(&x, 2 * h, 2 * w)?;
                let geometry = Geometry::new(large.dims4()?, &conv)?;
                for form in [winograd::Form::Two, winograd::Form::Four] {
                    let run =
                        |x, doubled| by(Form::Winograd { form, doubled }, micro, &[x], &conv, geometry, None);
                    assert_close(&run(&x, true)?, &run(&large, false)?, 0.0, micro.name);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn upsampling_to_any_size_before_a_convolution() -> Result<()> {
        let make = || Conv2d::new(noise(&[40, 36, 3, 3], 1), None).padding(1);
        let x = noise(&[2, 36, 6, 7], 2);
        for (h, w) in [(12, 14), (13, 14), (6, 7), (24, 28)] {
            let want = plain(&x.upsample_nearest2d(h, w)?, &make(), None)?;
            assert_close(&super::upsample_conv2d(&x, h, w, &make())?, &want, 2e-6, &format!("{h}x{w}"));
        }
        Ok(())
    }

    #[test]
    fn zeros_at_the_end_only() -> Result<()> {
        let make = || Conv2d::new(noise(&[18, 5, 3, 3], 1), None).stride(2).padding_end(1);
        for (h, w) in [(8, 8), (9, 40), (70, 3)] {
            let x = noise(&[2, 5, h, w], 3);
            for micro in Micro::all() {
                let want = plain(&x, &make(), None)?;
                assert_close(&fast(micro, &[&x], &make(), None)?, &want, 2e-6, micro.name);
            }
        }
        Ok(())
    }

    #[test]
    fn the_form_follows_from_the_shape_and_the_accuracy_asked_for() -> Result<()> {
        let form = |channels: usize, [h, w]: [usize; 2], conv: fn(Conv2d) -> Conv2d| {
            let conv = conv(Conv2d::new(noise(&[channels, channels, 3, 3], 1), None).padding(1));
            let geometry = Geometry::new((1, channels, h, w), &conv)?;
            Ok::<_, candle_core::Error>(winograd::Form::of(&geometry, conv.exact))
        };
        assert_eq!(form(128, [8, 8], |conv| conv)?, Some(winograd::Form::Four));
        assert_eq!(form(128, [8, 8], Conv2d::exact)?, Some(winograd::Form::Two));
        assert_eq!(form(32, [8, 8], |conv| conv)?, Some(winograd::Form::Two));
        assert_eq!(form(31, [8, 8], |conv| conv)?, None);
        assert_eq!(form(128, [7, 8], |conv| conv)?, None);
        assert_eq!(form(128, [16, 16], |conv| conv.stride(2))?, None);
        assert_eq!(form(128, [16, 16], |conv| conv.padding_end(1))?, None);
        Ok(())
    }

    #[test]
    fn empty_and_impossible_shapes() -> Result<()> {
        let conv = Conv2d::new(noise(&[20, 16, 3, 3], 1), None).padding(1);
        let run = |dims: &[usize], conv| fast(Micro::best(), &[&noise(dims, 1)], conv, None);
        assert_eq!(run(&[0, 16, 9, 9], &conv)?.dims(), [0, 20, 9, 9]);
        assert!(run(&[1, 15, 9, 9], &conv).is_err());
        let conv = Conv2d::new(noise(&[2, 2, 3, 3], 1), None);
        assert!(run(&[1, 2, 2, 2], &conv).is_err());
        Ok(())
    }
}
