//! The tiny autoencoder against the reference, tiled decoding against whole, and full-size dimensions.

use crate::golden::{self, Golden};
use candle_core::{DType, Tensor};
use networks::vae::{Vae, VaeConfig};
use networks::{Result, Weights};

fn vae() -> Result<Vae> {
    vae_in(DType::F32)
}

fn vae_in(dtype: DType) -> Result<Vae> {
    let config = VaeConfig { channels: 32, ..VaeConfig::sdxl() };
    Vae::load(&config, &golden::tiny_checkpoint()?.vae(dtype, &golden::device())?)
}

#[test]
fn encode() -> Result<()> {
    let golden = Golden::open("vae")?;
    // 157 × 139 is cropped to 152 × 136 about its centre.
    let picture = golden.picture("image_u8")?.narrow(2, 2, 152)?.narrow(3, 1, 136)?;
    let posterior = vae()?.encode(&((picture * 2.0)? - 1.0)?)?;
    golden.compare("z_mean", &posterior.mean, 2e-3)?;
    let moments = golden.get("moments");
    let logvar = moments.narrow(1, 4, 4)?.clamp(-30f32, 20f32)?;
    assert!(golden::largest_difference(&posterior.logvar, &logvar)? <= 2e-3);
    // The reference's sampled latent from the recorded noise.
    let noise = golden.get("sample.noise");
    let sample = (&posterior.mean + ((posterior.logvar * 0.5)?.exp()? * noise)?)?;
    let want = golden.get("sample.z");
    let scale = f64::from(want.abs()?.max_all()?.to_scalar::<f32>()?);
    golden.compare("sample.z", &sample, 1e-4 * scale)
}

#[test]
fn decode() -> Result<()> {
    let golden = Golden::open("vae")?;
    let raw = vae()?.decode(&golden.get("decode.latent"))?;
    golden.compare("decode.raw", &raw, 3e-5)?;
    let picture = ((raw + 1.0)? / 2.0)?.clamp(0f32, 1f32)?.permute((0, 2, 3, 1))?;
    golden.compare("decode.image", &picture, 2e-5)
}

/// In the formats that a profile may ask for. On the CPU, candle's products in f16 keep sums in f16 between blocks whose
/// size follows the caches, so that what is lost differs from processor to processor.
#[test]
fn half_precision_stays_close() -> Result<()> {
    let golden = Golden::open("vae")?;
    let picture = golden.picture("image_u8")?.narrow(2, 2, 152)?.narrow(3, 1, 136)?;
    let picture = ((picture * 2.0)? - 1.0)?;
    let scale = f64::from(golden.get("z_mean").abs()?.max_all()?.to_scalar::<f32>()?);
    for (dtype, tolerance) in [(DType::F16, 2e-2), (DType::BF16, 1e-1)] {
        let vae = vae_in(dtype)?;
        let mean = vae.encode(&picture.to_dtype(dtype)?)?.mean;
        golden.compare("z_mean", &mean, tolerance * scale)?;
        let raw = vae.decode(&golden.get("decode.latent").to_dtype(dtype)?)?;
        golden.compare("decode.raw", &raw, tolerance)?;
    }
    Ok(())
}

/// Normalisation and attention see one tile only, so tiles differ from the whole, but only a little and without seams.
#[test]
fn tiles_agree_with_the_whole() -> Result<()> {
    let vae = vae()?;
    let latent = Golden::open("vae")?.get("z_mean");
    let whole = vae.decode(&latent)?;
    assert_eq!(golden::largest_difference(&whole, &vae.decode_tiled(&latent, 32, 8)?)?, 0.0);
    close(&whole, &vae.decode_tiled(&latent, 16, 8)?, 0.05)?;
    let picture = whole.clamp(-1f32, 1f32)?;
    let mean = vae.encode(&picture)?.mean;
    assert_eq!(golden::largest_difference(&mean, &vae.encode_tiled(&picture, 32, 8)?)?, 0.0);
    close(&mean, &vae.encode_tiled(&picture, 16, 8)?, 0.1)
}

/// Fails where the two differ by more than this share of the energy.
fn close(whole: &Tensor, tiled: &Tensor, share: f32) -> Result<()> {
    assert_eq!(tiled.dims(), whole.dims());
    let error = (whole - tiled)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
    let signal = whole.sqr()?.mean_all()?.to_scalar::<f32>()?;
    assert!(error < share * signal, "tiles differ by {error} of {signal}");
    Ok(())
}

#[test]
fn bad_sizes_are_refused() -> Result<()> {
    let vae = vae()?;
    assert!(vae.encode(&Tensor::zeros((1, 3, 20, 16), DType::F32, &golden::device())?).is_err());
    assert!(vae.encode_tiled(&Tensor::zeros((1, 3, 72, 72), DType::F32, &golden::device())?, 8, 8).is_err());
    assert!(vae.decode_tiled(&Tensor::zeros((1, 4, 9, 9), DType::F32, &golden::device())?, 8, 8).is_err());
    Ok(())
}

#[test]
fn full_size_has_sdxl_s_parameters() -> Result<()> {
    let blank = Weights::blank(DType::F32, &golden::device());
    Vae::load(&VaeConfig::sdxl(), &blank)?;
    assert_eq!(blank.asked().len(), 248);
    assert_eq!(golden::parameters(&blank.asked()), 83_653_863);
    Ok(())
}
