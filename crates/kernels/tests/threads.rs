//! Results are the same bits whatever the number of threads.

mod noise;

use candle_core::{DType, Result, Tensor};
use kernels::{Activation, Conv2d, GroupNorm, LayerNorm, Linear};

fn noise(shape: &[usize]) -> Result<Tensor> {
    noise::noise(shape, 7)
}

/// Every kind of kernel once, as bits.
fn everything() -> Result<Vec<u32>> {
    let picture = noise(&[2, 130, 26, 31])?;
    // The algorithms that are chosen for these: Winograd's twice (the second with weights in f16), then the implicit product.
    let winograd = Conv2d::new(noise(&[140, 130, 3, 3])?, Some(noise(&[140])?)).padding(1);
    let half = Conv2d::new(noise(&[140, 130, 3, 3])?.to_dtype(DType::F16)?, None).padding(1);
    let implicit = winograd.clone().stride(2);
    let norm = GroupNorm::new(noise(&[130])?, noise(&[130])?, 10, 1e-5)?.activation(Activation::Silu);
    let row = LayerNorm::new(noise(&[48])?, noise(&[48])?, 1e-5);
    let tokens = noise(&[2, 100, 48])?;
    let heads = noise(&[1, 3, 400, 40])?;
    let results = [
        winograd.forward(&picture)?,
        half.forward(&picture)?,
        implicit.forward(&picture)?,
        norm.forward(&picture)?,
        row.forward(&tokens)?,
        Linear::new(noise(&[700, 48])?, Some(noise(&[700])?)).forward(&tokens)?,
        Linear::new(noise(&[300, 900])?, None).forward(&noise(&[1, 900])?)?,
        Linear::geglu(noise(&[704, 48])?, Some(noise(&[704])?)).int8()?.forward(&tokens)?,
        kernels::attention(&heads, &heads, &heads, 0.2, None)?,
        kernels::geglu(&tokens)?,
    ];
    let mut bits = Vec::new();
    for result in results {
        bits.extend(result.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits));
    }
    Ok(bits)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let with = |threads| {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
        pool.install(everything)
    };
    let one = with(1)?;
    for threads in [2, 3, 16] {
        assert!(with(threads)? == one, "{threads} threads give other bits than one");
    }
    Ok(())
}
