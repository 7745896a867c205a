//! Paints one region of the subject with one material, or a blend of two.

use engine::Clock;
use image::RgbImage;

use super::canvas::Canvas;
use super::composite;
use super::course::Course;
use super::form::Form;
use super::intermediates;
use super::material::{GREY, Material, Room, Shown};
use super::raster::Raster;
use super::relief::{Light, Relief};
use super::sheen;
use super::surface::Sheet;
use super::synthesis::{Event, Plan, Synthesis};
use super::window::Window;
use super::{Exemplar, MATERIAL_SIDE, seen};
use crate::{Cancel, Error, Intermediate, Outcome, Picture, Progress, Settings, Strength, Transfer};

/// Steps of a request that leave the profile's calls as they are: the API's default.
const USUAL_STEPS: f64 = 6.0;

/// Guidance scale of a request that leaves the profile's balance as it is: the API's default.
const USUAL_GUIDANCE: f64 = 2.0;

/// By how much `material_weight` exceeds its usual 1 when it does what `strong` does.
const STRONG_WEIGHT: f64 = 0.5;

/// What the intermediate pictures are made of, region by region.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// All masks together, and the light inside them.
    pub(crate) mask: Option<Raster>,
    pub(crate) shading: Option<Raster>,
    /// The parts of the material pictures that were used.
    pub(crate) materials: Vec<Raster>,
}

/// A transfer on its way.
pub(crate) struct Painter<'a> {
    pub(crate) engine: &'a Exemplar,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
    pub(crate) clock: Clock,
    pub(crate) course: Course<'a>,
    /// The subject as it was given, at the size of the result.
    pub(crate) subject: Raster,
    pub(crate) notes: Vec<String>,
    pub(crate) traces: Option<Traces>,
}

/// What does not depend on the material: where it goes, and the form it goes onto.
struct Ground {
    window: Window,
    form: Form,
    canvas: Canvas,
    relief: Relief,
}

impl Painter<'_> {
    /// `picture` with `material` on what `mask` marks. `cut_out`: the mask is the picture's own alpha channel. Each region of
    /// a transfer has a number.
    pub(crate) fn paint(
        &mut self,
        picture: &RgbImage,
        mask: &Raster,
        cut_out: bool,
        material: &Picture,
        transfer: &Transfer,
        number: u64,
    ) -> Result<RgbImage, Error> {
        self.lap("mask");
        self.progress.observe("mask", &|| seen(mask));
        let Some(window) = Window::around(&self.subject, mask) else {
            self.course.skip();
            return Ok(picture.clone());
        };
        let second = transfer.pictures.blend_image.as_ref();
        let materials = self.materials(material, second, &window)?;
        self.lap("material");
        self.cancel.check()?;
        let ground = self.ground(window)?;
        let calls: usize = materials.iter().map(|(material, _)| self.calls(&ground, material)).sum();
        let mut done = 0;
        let mut looks = Vec::new();
        for (material, share) in &materials {
            let pattern = self.pattern(&ground, material, number, &mut done, calls)?;
            looks.push((pattern, material, *share));
        }
        self.lap("sample");
        let look = self.look(&ground, &looks);
        let lights: Vec<(Light, f32)> = materials.iter().map(|(m, share)| (self.light(m), *share)).collect();
        let lit = ground.relief.lay(&look, &ground.window, &Light::mixed(&lights));
        self.clock.lap("relief");
        self.progress.observe("lit", &|| seen(&lit));
        let result = composite::composite(picture, &lit, &ground.window, cut_out);
        self.lap("composite");
        if let Some(traces) = &mut self.traces {
            traces.add(mask, &ground.window, &ground.relief);
        }
        Ok(result)
    }

    /// A stage is over.
    fn lap(&mut self, stage: &'static str) {
        self.clock.lap(stage);
        self.course.next();
    }

    /// The materials and their shares: one, or two that are blended.
    fn materials(
        &mut self,
        first: &Picture,
        second: Option<&Picture>,
        window: &Window,
    ) -> Result<Vec<(Material, f32)>, Error> {
        let blend = if second.is_some() { self.settings.blend as f32 } else { 0.0 };
        let wanted = [(Some(first), 1.0 - blend), (second, blend)];
        let mut materials = Vec::new();
        for (picture, share) in wanted {
            let Some(picture) = picture.filter(|_| share > 0.0) else { continue };
            self.cancel.check()?;
            materials.push((self.material(picture, window)?, share));
        }
        Ok(materials)
    }

    fn material(&mut self, picture: &Picture, window: &Window) -> Result<Material, Error> {
        let Picture { rgb, alpha } = picture.clone().shrunk_to_fit(MATERIAL_SIDE, MATERIAL_SIDE);
        let object = self.engine.masker.material(&rgb, alpha.as_ref())?;
        let picture = Raster::from_rgb(&rgb);
        let shown = Shown { picture: &picture, object: object.as_ref(), cut_out: alpha.is_some() };
        let room = Room { extent: f64::from(window.diagonal()), scale: self.settings.scale };
        let mut material = Material::prepare(&shown, room, &self.engine.form, &self.engine.tunables)?;
        material.polish = (material.polish - self.settings.edits.roughness as f32).clamp(0.0, 1.0);
        self.progress.observe("material", &|| seen(&material.pattern));
        if let Some(sphere) = &material.sphere {
            self.progress.observe("sphere", &|| seen(&sphere.shown()));
        }
        if self.settings.scale != 1.0 && material.is_smooth() {
            self.notes.push("material_scale: this material has no pattern that could have a size".to_owned());
        }
        if material.limited {
            let note = "material_scale: the material picture has too few pixels for a pattern that small; it is as small as it can be";
            self.notes.push(note.to_owned());
        }
        if let Some(traces) = &mut self.traces {
            traces.materials.push(picture.crop(material.area));
        }
        Ok(material)
    }

    fn ground(&mut self, window: Window) -> Result<Ground, Error> {
        let seen_form = self.engine.form.look(&window.picture, &window.mask)?;
        let form = Form::of(&window.picture, &window.mask, seen_form.as_ref(), 1.0);
        self.progress.observe("normals", &|| seen(&form.shown()));
        self.lap("form");
        self.cancel.check()?;
        let canvas = Canvas::of(&Sheet::unrolled(&form.lattice, &form.slopes), &window);
        self.progress.observe("canvas", &|| seen(&canvas.mask));
        let light = seen_form.as_ref().map(|form| &form.shading);
        let carved = form.lit(&window.picture, &window.firm);
        let relief = Relief::of(&window, light, self.engine.tunables.relief_kept, &carved);
        self.progress.observe("relief", &|| seen(&relief.shown()));
        self.lap("surface");
        self.cancel.check()?;
        Ok(Ground { window, form, canvas, relief })
    }

    fn plan(&self, ground: &Ground, material: &Material, number: u64) -> Plan {
        Plan {
            levels: Plan::levels_for(&ground.canvas.mask, material, &self.engine.tunables),
            effort: (f64::from(self.settings.steps) / USUAL_STEPS).clamp(0.1, 10.0),
            seed: self.settings.seed.wrapping_add(number.wrapping_mul(ANOTHER_SEED)),
        }
    }

    /// Denoiser calls that a pattern takes.
    fn calls(&self, ground: &Ground, material: &Material) -> usize {
        if material.is_smooth() { 0 } else { self.plan(ground, material, 0).calls(&self.engine.tunables) }
    }

    /// The material's pattern on the subject's form: RGB over the window.
    fn pattern(
        &self,
        ground: &Ground,
        material: &Material,
        number: u64,
        done: &mut usize,
        calls: usize,
    ) -> Result<Raster, Error> {
        if material.is_smooth() {
            return Ok(Raster::filled(ground.window.mask.width, ground.window.mask.height, 3, GREY));
        }
        let mut on_event = |event: Event<'_>| match event {
            Event::Call => {
                *done += 1;
                self.course.part(*done, calls);
            }
            Event::Level(level, painted) => {
                self.progress.observe(&format!("level-{level}"), &|| seen(painted));
            }
        };
        let synthesis = Synthesis {
            canvas: &ground.canvas.mask,
            material,
            plan: &self.plan(ground, material, number),
            tunables: &self.engine.tunables,
            cancel: self.cancel,
        };
        let rolled = ground.canvas.rolled(&synthesis.paint(&mut on_event)?);
        self.progress.observe("rolled", &|| seen(&rolled));
        Ok(rolled)
    }

    /// The patterns in their materials' light, blended by their shares.
    ///
    /// A mean of two unlike patterns is flatter than either; each is strengthened beforehand so that the deviation of the mean is
    /// what it was (Heitz and Neyret 2018, "High-Performance By-Example Noise using a Histogram-Preserving Blending Operator").
    fn look(&self, ground: &Ground, patterns: &[(Raster, &Material, f32)]) -> Raster {
        let stronger = patterns.iter().map(|(_, _, share)| share * share).sum::<f32>().sqrt().recip();
        let (w, h) = (ground.window.mask.width, ground.window.mask.height);
        let mut look = Raster::filled(w, h, 3, 0.0);
        for (pattern, material, share) in patterns {
            let pattern = if patterns.len() > 1 {
                livened(pattern, &ground.window.mask, stronger)
            } else {
                pattern.clone()
            };
            let dressed = dressed(&pattern, &ground.form, material);
            look.data.iter_mut().zip(&dressed.data).for_each(|(l, d)| *l += share * d);
        }
        self.progress.observe("look", &|| seen(&look));
        look
    }

    /// How much of the subject's light a transfer asks for: more below the usual guidance scale, less above it; less again of
    /// a material that is to count for more.
    fn light(&self, material: &Material) -> Light {
        let (settings, tunables) = (self.settings, &self.engine.tunables);
        let form = (USUAL_GUIDANCE / settings.guidance_scale).sqrt() as f32;
        let strong = f64::from(u8::from(settings.strength == Strength::Strong));
        let strong = (strong + (settings.weight - 1.0).max(0.0) / STRONG_WEIGHT) as f32;
        let (kept, allowed) = (tunables.strong_relief.powf(strong), tunables.strong_budget.powf(strong));
        let (broad, fine, carved) = match material.sphere {
            None => (tunables.relief_broad, tunables.relief_fine, tunables.relief_carved),
            Some(_) => (tunables.sphere_broad, tunables.sphere_fine, tunables.sphere_carved),
        };
        Light {
            broad: broad * form * kept,
            fine: fine * form * kept,
            carved: carved * form * kept,
            budget: tunables.relief_budget * allowed / (form * form),
            least_pattern: tunables.pattern_least,
        }
    }

    /// The outcome with its `picture`.
    pub(crate) fn finished(self, picture: Picture, ignored: Vec<&'static str>) -> Result<Outcome, Error> {
        let intermediates: Vec<Intermediate> =
            self.traces.as_ref().map(|traces| intermediates::of(traces, &self.subject)).unwrap_or_default();
        Ok(Outcome {
            picture,
            composite: true,
            intermediates,
            timings: self.clock.laps(),
            ignored,
            notes: self.notes,
        })
    }
}

/// Makes the second region's seed another one than the first one's.
const ANOTHER_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

impl Traces {
    fn add(&mut self, mask: &Raster, window: &Window, relief: &Relief) {
        let light = relief.shown();
        let (w, h) = (mask.width, mask.height);
        let all = self.mask.get_or_insert_with(|| Raster::filled(w, h, 1, 0.0));
        all.data.iter_mut().zip(&mask.data).for_each(|(a, m)| *a = a.max(*m));
        let shading = self.shading.get_or_insert_with(|| Raster::filled(w, h, 1, 0.0));
        for y in 0..h {
            for x in 0..w {
                let (u, v) = (x as isize - window.left, y as isize - window.top);
                let inside =
                    (0..light.width as isize).contains(&u) && (0..light.height as isize).contains(&v);
                if inside && mask.pixel(x, y)[0] > 0.0 {
                    shading.data[y * w + x] = light.pixel(u as usize, v as usize)[0];
                }
            }
        }
    }
}

/// `by` times as far from its mean under `mask`.
fn livened(pattern: &Raster, mask: &Raster, by: f32) -> Raster {
    let mean = pattern.mean_within(mask);
    pattern.map(3, |p, o| {
        o.iter_mut().zip(p.iter().zip(&mean)).for_each(|(o, (p, m))| *o = (m + by * (p - m)).clamp(0.0, 1.0));
    })
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
