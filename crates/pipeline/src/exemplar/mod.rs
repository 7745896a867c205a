//! The embedded engine: paints the subject with patches of the material picture itself.
//!
//! No weights but the subject mask's. The material's patches are a data set whose optimal denoiser is known in closed form
//! (`denoiser`); sampled coarse to fine inside the mask and guided by the subject's shading (`synthesis`), it paints the
//! material; `relight` gives it the subject's light, `composite` puts it back. Literature: GPNN (Granot et al. 2022),
//! texture optimisation (Kwatra et al. 2005), PatchMatch (Barnes et al. 2009), Kamb and Ganguli 2024.

mod composite;
mod denoiser;
mod field;
mod lines;
mod material;
mod quilt;
pub(crate) mod raster;
mod relight;
mod subject;
mod synthesis;
#[cfg(test)]
mod tests;

use candle_core::Device;

use self::material::Material;
use self::raster::{Kernel, Raster};
use self::relight::Light;
use self::subject::Subject;
use self::synthesis::{Event, Plan, Synthesis};
use crate::clock::Clock;
use crate::mask::{Masker, SubjectMask};
use crate::profile::{ExemplarProfile, ExemplarTunables};
use crate::{
    Cancel, Engine, Error, Intermediate, Outcome, Picture, Progress, Strength, Transfer, View, fit_within,
};

/// The `exemplar` engine.
///
/// `prompt` and `negative_prompt` have no effect on it; [`Outcome::ignored`] lists them when they are not empty.
#[derive(Debug)]
pub struct Exemplar {
    tunables: ExemplarTunables,
    masker: Masker,
}

/// Steps of a request that leave the profile's calls as they are: the API's default.
const USUAL_STEPS: f64 = 6.0;

/// Guidance scale of a request that leaves the profile's balance as it is: the API's default.
const USUAL_GUIDANCE: f64 = 2.0;

/// Longest side to which pictures are brought before anything else happens to them, in pixels.
const MATERIAL_SIDE: u32 = 2048;

impl Exemplar {
    /// The engine that `profile` describes; its network runs on `device`.
    ///
    /// # Errors
    /// [`Error::Profile`] when a number is out of range or the mask network's weights do not fit.
    pub fn new(profile: &ExemplarProfile, device: &Device) -> Result<Self, Error> {
        profile.exemplar.check()?;
        Ok(Self { tunables: profile.exemplar.clone(), masker: Masker::open(&profile.mask, device)? })
    }

    fn plan(&self, transfer: &Transfer, subject: &Subject, material: &Material) -> Plan {
        let tunables = &self.tunables;
        let settings = &transfer.settings;
        let textured = material.texturedness;
        // 1 at the usual guidance scale, more below it, less above: 10 leaves the material nearly alone.
        let shading = (USUAL_GUIDANCE / settings.guidance_scale).powf(0.7) as f32;
        // The light and dark of a flat sample are pattern: they follow the subject only as far as more than usual is asked.
        let shading = if material.has_form { shading } else { (shading - 1.0).max(0.0) };
        Plan {
            levels: Plan::levels_for(subject, material, tunables),
            effort: (f64::from(settings.steps) / USUAL_STEPS).clamp(0.1, 10.0),
            guidance: tunables.guidance * (1.5 - textured) * shading,
            seed: settings.seed,
        }
    }

    fn light(&self, transfer: &Transfer, material: &Material) -> Light {
        let settings = &transfer.settings;
        let asked = match settings.strength {
            Strength::Medium => self.tunables.form,
            Strength::Strong => self.tunables.form_strong,
        };
        let shading = (USUAL_GUIDANCE / settings.guidance_scale).powf(0.2) as f32;
        let fine = if settings.strength == Strength::Strong { 0.7 } else { 1.0 };
        Light {
            form: (asked * shading).min(0.97),
            least: (self.tunables.least_relight * shading * (0.5 + material.texturedness)).min(1.0),
            fine: fine * shading,
        }
    }

    fn run(&self, transfer: &Transfer, progress: &dyn Progress, cancel: &Cancel) -> Result<Outcome, Error> {
        let mut clock = Clock::start();
        cancel.check()?;
        let (picture, given) = fitted(transfer);
        let SubjectMask { mask, note } = self.masker.subject(&picture, given.as_ref())?;
        clock.lap("mask");
        progress.observe("mask", &|| seen(&mask));
        let raster = Raster::from_rgb(&picture);
        cancel.check()?;
        let shown = bounded(&transfer.material);
        let object = self.masker.material(&shown.0, shown.1.as_ref())?;
        let Some(subject) = Subject::prepare(&raster, &mask, &self.tunables) else {
            return Ok(untouched(picture));
        };
        let extent = (subject.mask.width as f64).hypot(subject.mask.height as f64);
        let material =
            Material::prepare(&Raster::from_rgb(&shown.0), object.as_ref(), extent, &self.tunables);
        clock.lap("material");
        progress.observe("shading", &|| seen(&subject.shading));
        progress.observe("material", &|| seen(&material.picture));
        let plan = self.plan(transfer, &subject, &material);
        let total = plan.calls(&self.tunables) + 1;
        let mut done = 0;
        progress.advance("sample", done, total);
        let mut heard = |event: Event<'_>| match event {
            Event::Call => {
                done += 1;
                progress.advance("sample", done, total);
            }
            Event::Level(level, painted) => progress.observe(&format!("level-{level}"), &|| seen(painted)),
        };
        let synthesis = Synthesis {
            subject: &subject,
            material: &material,
            plan: &plan,
            tunables: &self.tunables,
            cancel,
        };
        let painted = synthesis.paint(&mut heard)?;
        clock.lap("sample");
        let lit =
            relight::relight(&painted, &subject, &material, &self.light(transfer, &material), &self.tunables);
        clock.lap("relight");
        progress.observe("relit", &|| seen(&lit));
        let result = composite::composite(&picture, &lit, &subject);
        clock.lap("composite");
        progress.advance("composite", total, total);
        let intermediates = if transfer.settings.intermediates {
            intermediates(&raster, &mask, &subject, &shown.0, material.area)
        } else {
            Vec::new()
        };
        Ok(Outcome {
            picture: Picture::opaque(result),
            intermediates,
            timings: clock.laps(),
            ignored: ignored(transfer),
            notes: note.into_iter().collect(),
        })
    }
}

impl Engine for Exemplar {
    fn name(&self) -> &'static str {
        "exemplar"
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

/// The subject at the size of the output, and its alpha channel.
fn fitted(transfer: &Transfer) -> (image::RgbImage, Option<image::GrayImage>) {
    let settings = &transfer.settings;
    shrink_to(&transfer.subject, settings.max_width, settings.max_height)
}

/// The material at a size that is no burden.
fn bounded(material: &Picture) -> (image::RgbImage, Option<image::GrayImage>) {
    shrink_to(material, MATERIAL_SIDE, MATERIAL_SIDE)
}

fn shrink_to(picture: &Picture, width: u32, height: u32) -> (image::RgbImage, Option<image::GrayImage>) {
    let (w, h) = fit_within(picture.rgb.width(), picture.rgb.height(), width, height);
    if (w, h) == picture.rgb.dimensions() {
        return (picture.rgb.clone(), picture.alpha.clone());
    }
    let resized = |r: Raster| r.resize(w as usize, h as usize, Kernel::Lanczos);
    let rgb = resized(Raster::from_rgb(&picture.rgb)).to_rgb();
    let alpha = picture.alpha.as_ref().map(|alpha| resized(Raster::from_grey(alpha)).to_grey());
    (rgb, alpha)
}

fn ignored(transfer: &Transfer) -> Vec<&'static str> {
    let settings = &transfer.settings;
    [("prompt", &settings.prompt), ("negative_prompt", &settings.negative_prompt)]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, _)| name)
        .collect()
}

fn intermediates(
    picture: &Raster,
    mask: &Raster,
    subject: &Subject,
    material: &image::RgbImage,
    area: raster::Area,
) -> Vec<Intermediate> {
    let shown = |name, raster: &Raster| Intermediate { name, picture: Picture::opaque(raster.to_rgb()) };
    let cropped = Raster::from_rgb(material).crop(area);
    let mut shading = picture.luma();
    for y in 0..shading.height {
        for x in 0..shading.width {
            let (u, v) = (x as isize - subject.left, y as isize - subject.top);
            let inside = (0..subject.shading.width as isize).contains(&u)
                && (0..subject.shading.height as isize).contains(&v);
            shading.data[y * mask.width + x] = if inside && mask.pixel(x, y)[0] > 0.0 {
                subject.shading.pixel(u as usize, v as usize)[0]
            } else {
                0.0
            };
        }
    }
    vec![
        shown("mask", mask),
        shown("subject_grey", &picture.luma()),
        shown("lineart", &lines::lines(picture)),
        shown("shading", &shading),
        shown("material", &cropped),
    ]
}

/// An alpha channel that is transparent everywhere leaves nothing to do.
fn untouched(picture: image::RgbImage) -> Outcome {
    Outcome {
        picture: Picture::opaque(picture),
        intermediates: Vec::new(),
        timings: Vec::new(),
        ignored: Vec::new(),
        notes: vec![
            "the subject's alpha channel is transparent everywhere: there is nothing to transfer to"
                .to_owned(),
        ],
    }
}
