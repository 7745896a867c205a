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
//! let transfer = Transfer { subject, material, settings: Settings::default() };
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
mod lattice;
mod lines;
mod mask;
mod material;
mod object;
mod posterior;
mod profile;
mod quilt;
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

use self::canvas::Canvas;
use self::course::Course;
use self::form::{Form, FormNetwork};
use self::mask::{Masker, SubjectMask};
use self::material::{GREY, Material};
use self::relief::{Light, Relief};
use self::surface::Sheet;
use self::synthesis::{Event, Plan, Synthesis};
use self::window::Window;

pub use self::profile::{ExemplarProfile, ExemplarTunables, PROFILE};
pub use engine::{
    Cancel, Engine, Enough, Error, Intermediate, Outcome, Progress, Settings, Silent, Strength, Transfer,
    View,
};
pub use pixels::{DecodeLimits, OutputFormat, Picture, PictureError};

/// The `exemplar` engine.
///
/// `prompt` and `negative_prompt` have no effect on it; [`Outcome::ignored`] lists them when they are not empty.
#[derive(Debug)]
pub struct Exemplar {
    tunables: ExemplarTunables,
    masker: Masker,
    form: FormNetwork,
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
        Ok(Self {
            tunables: profile.exemplar.clone(),
            masker: Masker::open(&profile.mask, device)?,
            form: FormNetwork::embedded(device)?,
        })
    }

    fn plan(&self, transfer: &Transfer, canvas: &Raster, material: &Material) -> Plan {
        let settings = &transfer.settings;
        Plan {
            levels: Plan::levels_for(canvas, material, &self.tunables),
            effort: (f64::from(settings.steps) / USUAL_STEPS).clamp(0.1, 10.0),
            seed: settings.seed,
        }
    }

    /// How much of the subject's light a transfer asks for: more below the usual guidance scale, less above it.
    fn light(&self, transfer: &Transfer, material: &Material) -> Light {
        let (settings, tunables) = (&transfer.settings, &self.tunables);
        let form = (USUAL_GUIDANCE / settings.guidance_scale).sqrt() as f32;
        let (kept, allowed) = match settings.strength {
            Strength::Medium => (1.0, 1.0),
            Strength::Strong => (tunables.strong_relief, tunables.strong_budget),
        };
        let (broad, fine) = match material.sphere {
            None => (tunables.relief_broad, tunables.relief_fine),
            Some(_) => (tunables.sphere_broad, tunables.sphere_fine),
        };
        Light {
            broad: broad * form * kept,
            fine: fine * form * kept,
            budget: tunables.relief_budget * allowed / (form * form),
            least_pattern: tunables.pattern_least,
        }
    }

    fn run(&self, transfer: &Transfer, progress: &dyn Progress, cancel: &Cancel) -> Result<Outcome, Error> {
        let mut clock = Clock::start();
        let mut course = Course::start(progress);
        cancel.check()?;
        let (picture, given) = fitted(transfer);
        let SubjectMask { mask, note } = self.masker.subject(&picture, given.as_ref())?;
        clock.lap("mask");
        course.next();
        progress.observe("mask", &|| seen(&mask));
        let raster = Raster::from_rgb(&picture);
        cancel.check()?;
        let shown = bounded(&transfer.material);
        let object = self.masker.material(&shown.0, shown.1.as_ref())?;
        let Some(window) = Window::around(&raster, &mask) else {
            return Ok(untouched(Picture { rgb: picture, alpha: given }));
        };
        let material = Material::prepare(
            &Raster::from_rgb(&shown.0),
            object.as_ref(),
            shown.1.is_some(),
            f64::from(window.diagonal()),
            &self.form,
            &self.tunables,
        )?;
        clock.lap("material");
        course.next();
        progress.observe("material", &|| seen(&material.pattern));
        if let Some(sphere) = &material.sphere {
            progress.observe("sphere", &|| seen(&sphere.shown()));
        }
        cancel.check()?;
        let seen_form = self.form.look(&window.picture, &window.mask)?;
        let form = Form::of(&window.picture, &window.mask, seen_form.as_ref(), 1.0);
        progress.observe("normals", &|| seen(&form.shown()));
        clock.lap("form");
        course.next();
        cancel.check()?;
        let canvas = Canvas::of(&Sheet::unrolled(&form.lattice, &form.slopes), &window);
        progress.observe("canvas", &|| seen(&canvas.mask));
        clock.lap("surface");
        course.next();
        cancel.check()?;
        let plan = self.plan(transfer, &canvas.mask, &material);
        let calls = if material.is_smooth() { 1 } else { plan.calls(&self.tunables) };
        let mut done = 0;
        let mut on_event = |event: Event<'_>| match event {
            Event::Call => {
                done += 1;
                course.part(done, calls);
            }
            Event::Level(level, painted) => progress.observe(&format!("level-{level}"), &|| seen(painted)),
        };
        let synthesis = Synthesis {
            canvas: &canvas.mask,
            material: &material,
            plan: &plan,
            tunables: &self.tunables,
            cancel,
        };
        let painted = if material.is_smooth() {
            Raster::filled(window.mask.width, window.mask.height, 3, GREY)
        } else {
            canvas.rolled(&synthesis.paint(&mut on_event)?)
        };
        clock.lap("sample");
        course.next();
        progress.observe("rolled", &|| seen(&painted));
        let look = dressed(&painted, &form, &material);
        progress.observe("look", &|| seen(&look));
        let light = seen_form.as_ref().map(|form| &form.shading);
        let relief = Relief::of(&window, light, self.tunables.relief_kept);
        progress.observe("relief", &|| seen(&relief.shown()));
        let lit = relief.lay(&look, &window, &self.light(transfer, &material));
        clock.lap("relief");
        progress.observe("lit", &|| seen(&lit));
        let result = composite::composite(&picture, &lit, &window, given.is_some());
        clock.lap("composite");
        course.next();
        let intermediates = if transfer.settings.intermediates {
            intermediates(&raster, &mask, &window, &relief, &shown.0, material.area)
        } else {
            Vec::new()
        };
        Ok(Outcome {
            picture: Picture { rgb: result, alpha: given },
            intermediates,
            timings: clock.laps(),
            ignored: ignored(transfer),
            notes: note.into_iter().collect(),
        })
    }
}

/// How much darker a flat sample's surface gets where it turns away, at most.
const TURNED_AWAY: f32 = 0.25;

/// How far a polished sample's highlight goes towards white.
const GLOSS: f32 = 0.5;

/// The pattern on the form: seen in the material's own light where that is known, else darker where it turns away; and polished.
fn dressed(painted: &Raster, form: &Form, material: &Material) -> Raster {
    let look = match &material.sphere {
        Some(sphere) => sphere.seen_by(&form.normals).zip(painted, 3, |l, p, o| {
            o.iter_mut().zip(l.iter().zip(p)).for_each(|(o, (l, p))| *o = l * p / GREY);
        }),
        None => painted.zip(&form.normals, 3, |p, n, o| {
            o.iter_mut().zip(p).for_each(|(o, p)| *o = p * (1.0 - TURNED_AWAY * (1.0 - n[2])));
        }),
    };
    if material.polish == 0.0 {
        return look;
    }
    look.zip(&form.normals, 3, |l, n, o| {
        let shine = GLOSS * material.polish * sheen::highlight(n[0], n[1]);
        o.iter_mut().zip(l).for_each(|(o, l)| *o = l + shine * (1.0 - l));
    })
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
    let fitted = transfer.subject.clone().shrunk_to_fit(settings.max_width, settings.max_height);
    (fitted.rgb, fitted.alpha)
}

/// The material at a size that is no burden.
fn bounded(material: &Picture) -> (image::RgbImage, Option<image::GrayImage>) {
    let bounded = material.clone().shrunk_to_fit(MATERIAL_SIDE, MATERIAL_SIDE);
    (bounded.rgb, bounded.alpha)
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
    window: &Window,
    relief: &Relief,
    material: &image::RgbImage,
    area: raster::Area,
) -> Vec<Intermediate> {
    let shown = |name, raster: &Raster| Intermediate { name, picture: Picture::opaque(raster.to_rgb()) };
    let cropped = Raster::from_rgb(material).crop(area);
    let light = relief.shown();
    let mut shading = picture.luma();
    for y in 0..shading.height {
        for x in 0..shading.width {
            let (u, v) = (x as isize - window.left, y as isize - window.top);
            let inside = (0..light.width as isize).contains(&u) && (0..light.height as isize).contains(&v);
            shading.data[y * mask.width + x] = if inside && mask.pixel(x, y)[0] > 0.0 {
                light.pixel(u as usize, v as usize)[0]
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
fn untouched(picture: Picture) -> Outcome {
    Outcome {
        picture,
        intermediates: Vec::new(),
        timings: Vec::new(),
        ignored: Vec::new(),
        notes: vec![
            "the subject's alpha channel is transparent everywhere: there is nothing to transfer to"
                .to_owned(),
        ],
    }
}
