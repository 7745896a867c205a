//! Single operations on a CUDA device at the shapes of SDXL at 1024², a batch of two, with and without our optimisations: milliseconds as
//! lines of JSON. `cargo bench -p kernels --features cudnn --bench gpu -- [FILTER]`; `tests/gpu/torch_ops.py` times PyTorch's beside it.

#[path = "../tests/noise/mod.rs"]
mod noise;

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use kernels::{Activation, Conv2d, GroupNorm, LayerNorm, Linear, Optimisation};

/// Calls of one round, and rounds, of which the median counts.
const CALLS: usize = 20;
const ROUNDS: usize = 5;

struct Bench {
    device: Device,
    filter: String,
}

impl Bench {
    /// Noise in [-1, 1) on the device. A repeated stretch is as good as noise, and made sooner.
    fn noise(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let stretch =
            noise::noise(&[count.min(1 << 16)], count as u32)?.to_device(&self.device)?.to_dtype(dtype)?;
        let times = count.div_ceil(stretch.elem_count());
        stretch.repeat(times)?.narrow(0, 0, count)?.reshape(shape)
    }

    /// Prints the time of `run` without each of these sets of optimisations. `make` builds its layers anew for each.
    fn op<F: Fn() -> Result<Tensor>>(
        &self,
        name: &str,
        without: &[&[Optimisation]],
        flop: f64,
        make: impl Fn() -> Result<F>,
    ) -> Result<()> {
        if !name.contains(&self.filter) {
            return Ok(());
        }
        for off in without {
            kernels::disable(off);
            let timed = || -> Result<f64> {
                let run = make()?;
                let round = |calls: usize| -> Result<f64> {
                    self.device.synchronize()?;
                    let begin = Instant::now();
                    for _ in 0..calls {
                        run()?;
                    }
                    self.device.synchronize()?;
                    Ok(begin.elapsed().as_secs_f64() * 1e3 / calls as f64)
                };
                round(3)?;
                let mut rounds = (0..ROUNDS).map(|_| round(CALLS)).collect::<Result<Vec<_>>>()?;
                rounds.sort_by(f64::total_cmp);
                Ok(rounds[ROUNDS / 2])
            };
            let left_out: Vec<&str> = Optimisation::NAMES
                .iter()
                .filter(|(_, each)| off.contains(each))
                .map(|(name, _)| *name)
                .collect();
            let left_out = left_out.join("+");
            match timed() {
                Ok(ms) => println!(
                    "{{\"op\":{name:?},\"without\":{left_out:?},\"ms\":{ms:.4},\"tflops\":{:.1}}}",
                    flop / ms / 1e9
                ),
                Err(error) => {
                    println!("{{\"op\":{name:?},\"without\":{left_out:?},\"error\":{:?}}}", error.to_string())
                }
            }
        }
        kernels::disable(&[]);
        Ok(())
    }

    fn conv(&self, dtype: DType, [b, c, h, w, o, k, stride]: [usize; 7]) -> Result<()> {
        let name = format!("conv {} {b} {c} {h} {w} {o} {k} {stride}", dtype.as_str());
        let flop = 2.0 * (b * c * h * w * o * k * k) as f64 / (stride * stride) as f64;
        let off: [&[Optimisation]; 3] =
            [&[], &[Optimisation::ChannelsLast], &[Optimisation::ChannelsLast, Optimisation::TensorCores]];
        self.op(&name, &off, flop, || {
            let x = kernels::laid_out_for(dtype, &self.noise(&[b, c, h, w], dtype)?)?;
            let (weight, bias) = (self.noise(&[o, c, k, k], dtype)?, self.noise(&[o], dtype)?);
            let conv = Conv2d::new(weight, Some(bias)).padding(k / 2).stride(stride);
            Ok(move || conv.forward(&x))
        })
    }

    fn linear(&self, kind: &str, [rows, input, output]: [usize; 3]) -> Result<()> {
        let dtype = DType::F16;
        let name = format!("linear {kind} {rows} {input} {output}");
        self.op(&name, &[&[], &[Optimisation::Pointwise]], 2.0 * (rows * input * output) as f64, || {
            let x = self.noise(&[2, rows / 2, input], dtype)?;
            let (weight, bias) = (self.noise(&[output, input], dtype)?, self.noise(&[output], dtype)?);
            let skip = self.noise(&[2, rows / 2, output], dtype)?;
            let map = match kind {
                "geglu" => Linear::geglu(weight, Some(bias)),
                "plain" => Linear::new(weight, None),
                _ => Linear::new(weight, Some(bias)),
            };
            let add = kind == "add";
            Ok(move || if add { map.forward_with_residual(&x, &skip) } else { map.forward(&x) })
        })
    }

    fn attention(&self, dtype: DType, [b, heads, queries, keys]: [usize; 4]) -> Result<()> {
        let name = format!("attention {} {b} {heads} {queries} {keys}", dtype.as_str());
        let flop = 4.0 * (b * heads * queries * keys * 64) as f64;
        let off: [&[Optimisation]; 3] = [&[], &[Optimisation::WideAttention], &[Optimisation::Attention]];
        self.op(&name, &off, flop, || {
            let tokens = |n: usize| kernels::split_heads(&self.noise(&[b, n, heads * 64], dtype)?, heads);
            let (q, k, v) = (tokens(queries)?, tokens(keys)?, tokens(keys)?);
            Ok(move || kernels::merge_heads(&kernels::attention(&q, &k, &v, 0.125, None)?))
        })
    }

    fn group_norm(&self, dtype: DType, [b, c, h, w]: [usize; 4]) -> Result<()> {
        let name = format!("group_norm_silu {} {b} {c} {h} {w}", dtype.as_str());
        self.op(&name, &[&[], &[Optimisation::ChannelsLast]], 0.0, || {
            let x = kernels::laid_out_for(dtype, &self.noise(&[b, c, h, w], dtype)?)?;
            let norm = GroupNorm::new(self.noise(&[c], dtype)?, self.noise(&[c], dtype)?, 32, 1e-5)?;
            let norm = norm.activation(Activation::Silu);
            Ok(move || norm.forward(&x))
        })
    }

    fn layer_norm(&self, [rows, width]: [usize; 2]) -> Result<()> {
        let dtype = DType::F16;
        self.op(&format!("layer_norm {rows} {width}"), &[&[], &[Optimisation::Norms]], 0.0, || {
            let x = self.noise(&[2, rows / 2, width], dtype)?;
            let norm = LayerNorm::new(self.noise(&[width], dtype)?, self.noise(&[width], dtype)?, 1e-5);
            Ok(move || norm.forward(&x))
        })
    }
}

fn main() -> Result<()> {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let device = kernels::open_cuda(0)?;
    println!("{:?}", kernels::card(&device)?);
    println!("{:?}", kernels::missing_kernels(&device));
    let bench = Bench { device, filter };
    let f16 = DType::F16;
    let tiny = bench.noise(&[8, 8], f16)?;
    // What one call costs the CPU, kernels being shorter: candle's own operation, and one of ours.
    bench.op("launch candle", &[&[]], 0.0, || Ok(|| tiny.add(&tiny)))?;
    bench.op("launch ours", &[&[]], 0.0, || Ok(|| kernels::geglu(&tiny)))?;
    for shape in [
        [2, 320, 128, 128, 320, 3, 1],
        [2, 640, 64, 64, 640, 3, 1],
        [2, 1280, 32, 32, 1280, 3, 1],
        [2, 960, 128, 128, 320, 3, 1],
        [2, 1920, 64, 64, 640, 3, 1],
        [2, 2560, 32, 32, 1280, 3, 1],
        [2, 320, 128, 128, 320, 3, 2],
        [2, 960, 128, 128, 320, 1, 1],
        [2, 4, 128, 128, 320, 3, 1],
        [2, 320, 128, 128, 4, 3, 1],
        [2, 320, 64, 64, 320, 3, 1],
        [2, 1280, 16, 16, 1280, 3, 1],
    ] {
        bench.conv(f16, shape)?;
    }
    for shape in [
        [1, 512, 128, 128, 512, 3, 1],
        [1, 512, 256, 256, 512, 3, 1],
        [1, 256, 512, 512, 256, 3, 1],
        [1, 128, 1024, 1024, 128, 3, 1],
        [1, 128, 1024, 1024, 3, 3, 1],
    ] {
        bench.conv(DType::BF16, shape)?;
    }
    for shape in [
        [2, 10, 4096, 4096],
        [2, 20, 1024, 1024],
        [2, 10, 4096, 77],
        [2, 20, 1024, 77],
        [2, 10, 1024, 1024],
        [2, 20, 256, 256],
        [2, 20, 1024, 16],
    ] {
        bench.attention(f16, shape)?;
    }
    bench.attention(DType::BF16, [2, 10, 4096, 4096])?;
    for (kind, shape) in [
        ("plain", [8192, 640, 640]),
        ("add", [8192, 640, 640]),
        ("geglu", [8192, 640, 5120]),
        ("add", [8192, 2560, 640]),
        ("plain", [2048, 1280, 1280]),
        ("add", [2048, 1280, 1280]),
        ("geglu", [2048, 1280, 10240]),
        ("add", [2048, 5120, 1280]),
        ("add", [512, 1280, 1280]),
        ("geglu", [512, 1280, 10240]),
    ] {
        bench.linear(kind, shape)?;
    }
    for shape in [[2, 320, 128, 128], [2, 960, 128, 128], [2, 640, 64, 64], [2, 1280, 32, 32]] {
        bench.group_norm(f16, shape)?;
    }
    bench.group_norm(DType::BF16, [1, 128, 1024, 1024])?;
    bench.group_norm(DType::BF16, [1, 512, 256, 256])?;
    bench.layer_norm([8192, 640])?;
    bench.layer_norm([2048, 1280])?;
    bench.op("nearest 2 640 64 64", &[&[], &[Optimisation::ChannelsLast]], 0.0, || {
        let x = kernels::laid_out_for(f16, &bench.noise(&[2, 640, 64, 64], f16)?)?;
        Ok(move || kernels::upsample_nearest(&x, 128, 128))
    })?;
    bench.op("add_wide 2 640 64 64", &[&[], &[Optimisation::ChannelsLast]], 0.0, || {
        let x = kernels::laid_out_for(f16, &bench.noise(&[2, 640, 64, 64], f16)?)?;
        let feature = kernels::laid_out_for(f16, &bench.noise(&[1, 640, 64, 64], DType::F32)?)?;
        Ok(move || kernels::add_wide(&x, &feature))
    })
}
