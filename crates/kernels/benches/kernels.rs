//! Times this crate's functions at the shapes of SDXL's networks beside candle's own operations.
//!
//! `int8` shapes stand beside our own f32 instead.
//!
//! Of its own making and not criterion's: two sides take turns in one process, on a clock of the processor's time if asked.
//!
//! `cargo bench -p kernels [-- FILTER…] [--csv] [--only-ours] [--cpu] [--seconds S]`: ours and candle's take turns until `S` seconds
//! (default 1) have been spent on each; the median counts. Threads: `RAYON_NUM_THREADS`. `KERNELS_ISA` picks another instruction set.
//! `--cpu` counts the processor's time of all threads instead of the clock's, for a machine that others use too.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};
use kernels::{Activation, Conv2d, GroupNorm, LayerNorm, Linear};

#[path = "../tests/noise/mod.rs"]
mod shared;

fn noise(shape: &[usize]) -> Result<Tensor> {
    shared::noise(shape, 12345)
}

#[global_allocator]
static ARENA: kernels::Arena = kernels::Arena::new();

type Run = Box<dyn Fn() -> Result<Tensor>>;

/// One shape: its multiplications and additions, ours, candle's.
struct Case {
    flop: f64,
    ours: Run,
    candle: Run,
}

#[derive(Default)]
struct Options {
    filters: Vec<String>,
    csv: bool,
    only_ours: bool,
    cpu: bool,
    list: bool,
    exact: bool,
    seconds: f64,
}

fn options() -> Options {
    let mut options = Options { seconds: 1.0, ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--csv" => options.csv = true,
            "--only-ours" => options.only_ours = true,
            "--list" => options.list = true,
            "--exact" => options.exact = true,
            "--cpu" => options.cpu = true,
            "--seconds" => {
                options.seconds = arguments.next().and_then(|value| value.parse().ok()).unwrap_or(1.0);
            }
            "--bench" => {}
            filter => options.filters.push(filter.to_owned()),
        }
    }
    options
}

fn conv([input, output, height, width, kernel, stride, padding]: [usize; 7]) -> Result<Case> {
    let (x, weight) = (noise(&[1, input, height, width])?, noise(&[output, input, kernel, kernel])?);
    let layer = Conv2d::new(weight.clone(), None).stride(stride).padding(padding);
    let pixels = (height / stride) * (width / stride);
    let x2 = x.clone();
    Ok(Case {
        flop: 2.0 * (kernel * kernel * input * output * pixels) as f64,
        ours: Box::new(move || layer.forward(&x)),
        candle: Box::new(move || x2.conv2d(&weight, padding, stride, 1, 1)),
    })
}

fn linear([rows, input, output]: [usize; 3]) -> Result<Case> {
    let (x, weight) = (noise(&[rows, input])?, noise(&[output, input])?);
    let layer = Linear::new(weight.clone(), None);
    let x2 = x.clone();
    Ok(Case {
        flop: 2.0 * (rows * input * output) as f64,
        ours: Box::new(move || layer.forward(&x)),
        candle: Box::new(move || x2.matmul(&weight.t()?)),
    })
}

/// On 8-bit integers, beside our own in f32; with GEGLU if `gated` is 1.
fn int8([rows, input, output, gated]: [usize; 4]) -> Result<Case> {
    let (x, weight) = (noise(&[rows, input])?, noise(&[output, input])?);
    let make =
        |weight: Tensor| if gated == 1 { Linear::geglu(weight, None) } else { Linear::new(weight, None) };
    let (layer, exact) = (make(weight.copy()?).int8()?, make(weight));
    let x2 = x.clone();
    Ok(Case {
        flop: 2.0 * (rows * input * output) as f64,
        ours: Box::new(move || layer.forward(&x)),
        candle: Box::new(move || exact.forward(&x2)),
    })
}

fn attention([heads, n, m, d]: [usize; 4]) -> Result<Case> {
    let (q, k, v) = (noise(&[1, heads, n, d])?, noise(&[1, heads, m, d])?, noise(&[1, heads, m, d])?);
    let scale = (d as f64).sqrt().recip();
    let (q2, k2, v2) = (q.clone(), k.clone(), v.clone());
    Ok(Case {
        flop: 4.0 * (heads * n * m * d) as f64,
        ours: Box::new(move || kernels::attention(&q, &k, &v, scale, None)),
        candle: Box::new(move || {
            let scores = (q2.matmul(&k2.t()?)? * scale)?;
            candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v2)
        }),
    })
}

fn group_norm([channels, side, silu]: [usize; 3]) -> Result<Case> {
    let x = noise(&[1, channels, side, side])?;
    let (weight, bias) = (noise(&[channels])?, noise(&[channels])?);
    let mut norm = GroupNorm::new(weight.clone(), bias.clone(), 32, 1e-5)?;
    if silu == 1 {
        norm = norm.activation(Activation::Silu);
    }
    let x2 = x.clone();
    Ok(Case {
        flop: 0.0,
        ours: Box::new(move || norm.forward(&x)),
        candle: Box::new(move || {
            use candle_core::Module;
            let y =
                candle_nn::GroupNorm::new(weight.clone(), bias.clone(), channels, 32, 1e-5)?.forward(&x2)?;
            if silu == 1 { y.silu() } else { Ok(y) }
        }),
    })
}

type Function = fn(&Tensor) -> Result<Tensor>;

fn pointwise(x: Tensor, ours: Function, candle: Function) -> Case {
    let x2 = x.clone();
    Case { flop: 0.0, ours: Box::new(move || ours(&x)), candle: Box::new(move || candle(&x2)) }
}

fn layer_norm([rows, width]: [usize; 2]) -> Result<Case> {
    let x = noise(&[rows, width])?;
    let (weight, bias) = (noise(&[width])?, noise(&[width])?);
    let norm = LayerNorm::new(weight.clone(), bias.clone(), 1e-5);
    let x2 = x.clone();
    Ok(Case {
        flop: 0.0,
        ours: Box::new(move || norm.forward(&x)),
        candle: Box::new(move || candle_nn::ops::layer_norm(&x2, &weight, &bias, 1e-5)),
    })
}

fn double(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    kernels::upsample_nearest(x, 2 * h, 2 * w)
}

fn candle_double(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    x.upsample_nearest2d(2 * h, 2 * w)
}

fn candle_geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(candle_core::D::Minus1)? / 2;
    let gate = x.narrow(candle_core::D::Minus1, half, half)?.contiguous()?.gelu_erf()?;
    x.narrow(candle_core::D::Minus1, 0, half)? * gate
}

/// A case to be made when its turn comes: all together would not fit into memory.
struct Plan {
    group: &'static str,
    name: String,
    make: Box<dyn Fn() -> Result<Case>>,
}

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |group, name: String, make: Box<dyn Fn() -> Result<Case>>| {
        plans.push(Plan { group, name, make });
    };
    for shape in [
        [4096, 640, 5120],
        [4096, 2560, 640],
        [4096, 640, 640],
        [1024, 1280, 10240],
        [1024, 5120, 1280],
        [1024, 1280, 1280],
        [256, 1280, 10240],
        [256, 1280, 1280],
        [77, 2048, 1280],
        [1, 1280, 1280],
    ] {
        let [rows, input, output] = shape;
        add("linear", format!("linear {rows} {input} {output}"), Box::new(move || linear(shape)));
    }
    for shape in [
        [4096, 640, 5120, 1],
        [4096, 2560, 640, 0],
        [4096, 640, 640, 0],
        [1024, 1280, 10240, 1],
        [1024, 5120, 1280, 0],
        [1024, 1280, 1280, 0],
        [77, 2048, 1280, 0],
        [1, 1280, 1280, 0],
    ] {
        let [rows, input, output, gated] = shape;
        add("int8", format!("int8 {rows} {input} {output} {gated}"), Box::new(move || int8(shape)));
    }
    for shape in [
        [320, 320, 64, 64, 3, 1, 1],
        [640, 640, 32, 32, 3, 1, 1],
        [1280, 1280, 16, 16, 3, 1, 1],
        [320, 320, 128, 128, 3, 1, 1],
        [640, 640, 64, 64, 3, 1, 1],
        [1280, 1280, 32, 32, 3, 1, 1],
        [2560, 1280, 32, 32, 3, 1, 1],
        [960, 320, 128, 128, 3, 1, 1],
        [320, 320, 128, 128, 3, 2, 1],
        [960, 320, 128, 128, 1, 1, 0],
        [4, 320, 128, 128, 3, 1, 1],
        [512, 512, 64, 64, 3, 1, 1],
        [512, 512, 128, 128, 3, 1, 1],
        [512, 512, 256, 256, 3, 1, 1],
        [256, 256, 512, 512, 3, 1, 1],
        [128, 128, 512, 512, 3, 1, 1],
        [128, 128, 1024, 1024, 3, 1, 1],
        [128, 3, 1024, 1024, 3, 1, 1],
        [3, 1024, 518, 518, 14, 14, 0],
        [64, 64, 320, 320, 3, 1, 1],
        [32, 32, 160, 160, 3, 1, 1],
    ] {
        let [i, o, h, w, k, s, p] = shape;
        add("conv", format!("conv {i} {o} {h} {w} {k} {s} {p}"), Box::new(move || conv(shape)));
    }
    for shape in [
        [10, 4096, 4096, 64],
        [10, 1024, 1024, 64],
        [20, 1024, 1024, 64],
        [20, 256, 256, 64],
        [10, 4096, 77, 64],
        [20, 1024, 77, 64],
        [16, 1370, 1370, 64],
        [16, 257, 257, 80],
        [1, 4096, 4096, 512],
    ] {
        let [h, n, m, d] = shape;
        add("attention", format!("attention {h} {n} {m} {d}"), Box::new(move || attention(shape)));
    }
    for shape in [
        [320, 64, 0],
        [320, 128, 0],
        [640, 64, 0],
        [1280, 32, 0],
        [512, 256, 0],
        [128, 1024, 0],
        [320, 64, 1],
        [128, 1024, 1],
    ] {
        let [channels, side, silu] = shape;
        let name = format!("group_norm{} {channels} {side} {side}", if silu == 1 { "_silu" } else { "" });
        add("norm", name, Box::new(move || group_norm(shape)));
    }
    for shape in [[4096, 640], [1024, 1280]] {
        add("norm", format!("layer_norm {} {}", shape[0], shape[1]), Box::new(move || layer_norm(shape)));
    }
    for shape in [[1, 320, 128, 128], [1, 128, 1024, 1024]] {
        let name = format!("silu {} {} {}", shape[1], shape[2], shape[3]);
        add("pointwise", name, Box::new(move || Ok(pointwise(noise(&shape)?, kernels::silu, Tensor::silu))));
    }
    for shape in [[4096, 5120], [1024, 10240]] {
        let name = format!("geglu {} {}", shape[0], shape[1]);
        add("pointwise", name, Box::new(move || Ok(pointwise(noise(&shape)?, kernels::geglu, candle_geglu))));
    }
    for shape in [[1, 640, 64, 64], [1, 256, 512, 512]] {
        let name = format!("upsample {} {} {}", shape[1], shape[2], shape[3]);
        add("pointwise", name, Box::new(move || Ok(pointwise(noise(&shape)?, double, candle_double))));
    }
    plans
}

/// Seconds that all threads of this process have run, as Linux counts them.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// Seconds of one call: on the clock, or of all threads together.
fn once(run: &Run, cpu: bool) -> Result<f64> {
    if cpu {
        let start = cpu_seconds();
        black_box(run()?);
        return Ok(cpu_seconds() - start);
    }
    let start = Instant::now();
    black_box(run()?);
    Ok(start.elapsed().as_secs_f64())
}

/// The median on the clock; the mean of processor time, which is counted in steps of milliseconds.
fn typical(times: &mut [f64], cpu: bool) -> f64 {
    times.sort_by(f64::total_cmp);
    if cpu {
        return times.iter().sum::<f64>() / times.len() as f64;
    }
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let options = options();
    if options.csv {
        println!("name,ours_ms,ours_min_ms,candle_ms,gflops");
    } else {
        println!(
            "{:44} {:>10} {:>10} {:>10} {:>6} {:>7}",
            "", "ours ms", "best", "candle ms", "ratio", "GF/s"
        );
    }
    for plan in plans() {
        let wanted = |filter: &String| {
            *filter == plan.name
                || !options.exact && (*filter == plan.group || plan.name.contains(filter.as_str()))
        };
        if !options.filters.is_empty() && !options.filters.iter().any(wanted) {
            continue;
        }
        if options.list {
            println!("{}", plan.name);
            continue;
        }
        let case = (plan.make)()?;
        once(&case.ours, options.cpu)?;
        let (mut ours, mut candle) = (Vec::new(), Vec::new());
        let limit = Duration::from_secs_f64(options.seconds * if options.only_ours { 1.0 } else { 2.0 });
        let start = Instant::now();
        while start.elapsed() < limit || ours.len() < 3 {
            ours.push(once(&case.ours, options.cpu)?);
            if !options.only_ours {
                // candle's, where slow, is run less often, so that ours is sampled enough.
                if candle.iter().sum::<f64>() <= 2.0 * ours.iter().sum::<f64>() {
                    candle.push(once(&case.candle, options.cpu)?);
                }
            }
        }
        let (ours_ms, candle_ms) =
            (1e3 * typical(&mut ours, options.cpu), 1e3 * typical(&mut candle, options.cpu));
        let (best, rate) = (1e3 * ours[0], case.flop / ours_ms / 1e6);
        if options.csv {
            println!("{},{ours_ms:.4},{best:.4},{candle_ms:.4},{rate:.1}", plan.name);
        } else {
            println!(
                "{:44} {ours_ms:10.3} {best:10.3} {candle_ms:10.3} {:6.2} {rate:7.1}",
                plan.name,
                candle_ms / ours_ms
            );
        }
    }
    Ok(())
}
