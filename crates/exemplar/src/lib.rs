//! The embedded engine: paints the subject with patches of the material picture itself.
//!
//! No weights but the subject mask's. The material's patches are a data set whose optimal denoiser is known in closed form
//! (`denoiser`); sampled coarse to fine inside the mask and guided by the subject's shading (`synthesis`), it paints the
//! material; `relight` gives it the subject's light, `composite` puts it back. Literature: GPNN (Granot et al. 2022),
//! texture optimisation (Kwatra et al. 2005), PatchMatch (Barnes et al. 2009), Kamb and Ganguli 2024.
//!
//! As a library by itself, without profiles in files, devices to choose from and a model cache:
//!
//! ```
//! use exemplar::{Cancel, Engine, Exemplar, ExemplarProfile, PROFILE, Picture, Settings, Silent, Transfer};
//!
//! # use image::{Rgb, RgbImage};
//! # let subject = RgbImage::from_fn(80, 64, |x, _| Rgb(if x > 20 && x < 60 { [200, 90, 40] } else { [30, 50, 60] }));
//! # let material = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 7 % 90) as u8 + 90, (y * 5 % 70) as u8 + 60, 40]));
//! let profile = ExemplarProfile::parse(PROFILE)?;
//! let engine = Exemplar::new(&profile, &candle_core::Device::Cpu)?;
//! let (subject, material) = (Picture::opaque(subject), Picture::opaque(material));
//! let transfer = Transfer::pair(subject, material, Settings::default());
//! let outcome = engine.transfer(&transfer, &Silent, &Cancel::default())?;
//! assert_eq!(outcome.picture.rgb.dimensions(), (80, 64));
//! # Ok::<(), exemplar::Error>(())
//! ```

mod canvas;
mod composite;
mod course;
mod denoiser;
mod field;
mod form;
mod intermediates;
mod lattice;
mod lines;
mod mask;
mod material;
mod object;
mod posterior;
mod profile;
mod quilt;
mod region;
mod relief;
mod scale;
mod sheen;
mod sphere;
mod surface;
mod synthesis;
#[cfg(test)]
mod tests;
mod window;

use candle_core::Device;
use engine::Clock;
use pixels::{Raster, raster};

use self::course::Course;
use self::form::FormNetwork;
use self::mask::{Masker, SubjectMask};
use self::region::{Painter, Traces};

pub use self::profile::{ExemplarProfile, ExemplarTunables, PROFILE};
pub use engine::{
    Background, Cancel, Engine, Enough, Error, Intermediate, MaterialFit, Outcome, Pictures, Progress,
    Region, Settings, Silent, Strength, Transfer, View,
};
pub use pixels::{DecodeLimits, OutputFormat, Picture, PictureError};

/// The `exemplar` engine.
///
/// `prompt`, `negative_prompt`, `material_fit`, `metallic`, `transparency` and `glow` have no effect on it; [`Outcome::ignored`] lists those that were given.
#[derive(Debug)]
pub struct Exemplar {
    tunables: ExemplarTunables,
    masker: Masker,
    form: FormNetwork,
}

/// Longest side to which pictures are brought before anything else happens to them, in pixels.
const MATERIAL_SIDE: u32 = 2048;

impl Exemplar {
    /// The engine that `profile` describes; its network runs on `device`.
    ///
    /// # Errors
    /// [`Error::Profile`] when a number is out of range or the mask network's weights do not fit.
    pub fn new(profile: &ExemplarProfile, device: &Device) -> Result<Self, Error> {
        profile.exemplar.check()?;
        Ok(Self {
            tunables: profile.exemplar.clone(),
            masker: Masker::open(&profile.mask, device)?,
            form: FormNetwork::embedded(device)?,
        })
    }

    fn run(&self, transfer: &Transfer, progress: &dyn Progress, cancel: &Cancel) -> Result<Outcome, Error> {
        let settings = &transfer.settings;
        let fitted = transfer.subject().clone().shrunk_to_fit(settings.max_width, settings.max_height);
        let regions = transfer.pictures.regions();
        let mut painter = Painter {
            engine: self,
            settings,
            progress,
            cancel,
            clock: Clock::start(),
            course: Course::start(progress, regions.len()),
            subject: Raster::from_rgb(&fitted.rgb),
            notes: beyond(settings)
                .map(|name| format!("{name}: the embedded engine cannot change that"))
                .collect(),
            traces: settings.intermediates.then(Traces::default),
        };
        let mut result = fitted.rgb.clone();
        for (at, region) in regions.iter().enumerate() {
            cancel.check()?;
            let mask = self.mask(&fitted, region, settings)?;
            painter.notes.extend(mask.note);
            result =
                painter.paint(&result, &mask.mask, mask.cut_out, region.material, transfer, at as u64)?;
        }
        if settings.weight < 1.0 {
            mix(&mut result, &fitted.rgb, settings.weight);
        }
        painter.finished(Picture { rgb: result, alpha: fitted.alpha }, ignored(transfer))
    }

    /// What of the subject a region is: its given mask, as far as anything is seen there; else what is found.
    fn mask(
        &self,
        subject: &Picture,
        region: &Region<'_, Picture>,
        settings: &Settings,
    ) -> Result<SubjectMask, Error> {
        let Some((name, given)) = region.mask else {
            return self.masker.subject(&subject.rgb, subject.alpha.as_ref());
        };
        let mask = engine::given_mask(name, given, subject.rgb.dimensions(), settings)?;
        let mask = match &subject.alpha {
            None => mask,
            Some(alpha) => {
                mask.zip(&Raster::from_grey(alpha), 1, |m, a, o| o[0] = if a[0] > 0.0 { m[0] } else { 0.0 })
            }
        };
        let empty = mask.data.iter().all(|m| *m < 1.0 / 255.0);
        let note = empty.then(|| format!("{name} shows nothing of the subject: nothing was changed there"));
        Ok(SubjectMask { mask, note, cut_out: false })
    }
}

/// `weight` of `new`, and the rest of `old`.
fn mix(new: &mut image::RgbImage, old: &image::RgbImage, weight: f64) {
    for (new, old) in new.iter_mut().zip(old.iter()) {
        let (n, o) = (f64::from(*new), f64::from(*old));
        *new = (o + weight * (n - o)).round() as u8;
    }
}

impl Engine for Exemplar {
    fn name(&self) -> &'static str {
        "exemplar"
    }

    fn enough(&self, settings: &Settings) -> Enough {
        Enough {
            subject: Some((settings.max_width, settings.max_height)),
            material: Some((MATERIAL_SIDE, MATERIAL_SIDE)),
        }
    }

    fn interruptible(&self) -> bool {
        true
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        self.run(transfer, progress, cancel)
    }
}

/// A raster as a trace shows it.
fn seen(raster: &Raster) -> View {
    View::Picture(Picture::opaque(raster.to_rgb()))
}

/// Changes of a material that are beyond this engine: it knows a surface and its light, not what is behind or within it.
fn beyond(settings: &Settings) -> impl Iterator<Item = &'static str> {
    settings.edits.asked().map(|(name, _)| name).filter(|name| *name != "roughness")
}

fn ignored(transfer: &Transfer) -> Vec<&'static str> {
    let settings = &transfer.settings;
    let given = [
        ("prompt", !settings.prompt.is_empty()),
        ("negative_prompt", !settings.negative_prompt.is_empty()),
        ("material_fit", settings.fit != MaterialFit::default()),
        ("background", settings.background == Background::Painted),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name));
    given.chain(beyond(settings)).collect()
}
