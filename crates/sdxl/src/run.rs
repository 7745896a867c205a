//! One transfer: the workflow's nodes in an order that keeps few networks in memory at a time.

mod conditions;
mod course;
mod edits;
mod start;
mod words;

use std::cell::Cell;
use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use diffusion::{
    BrownianTree, Denoiser, DifferentialMask, FnDenoiser, FreshNoise, Guided, Inpainted, NoNoise, NoiseAhead,
    NoiseSource, Sampler, latent_mask, start,
};
use image::RgbImage;
use pixels::Raster;

use super::crop::{LATENT_CELL, Window};
use super::denoiser::UNetDenoiser;
use super::frame::Frame;
use super::regions::{Regions, SOLID};
use super::sdxl::Sdxl;
use super::{Plane, background, blur, exact, greyout, inpaint, save};
use crate::profile::Sampling;
use crate::{
    Background, Cancel, Clock, Engine, Error, Intermediate, Outcome, Picture, Progress, Settings, Transfer,
    View,
};
use course::Course;
pub(super) use course::{Pace, Stage};

/// SDXL's factor between the autoencoder's latents and those the UNet was trained on.
const LATENT_SCALE: f64 = 0.130_25;

impl Engine for Sdxl {
    fn name(&self) -> &'static str {
        if self.start.is_some() { "hybrid" } else { "sdxl" }
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        Run::new(self, &transfer.settings, progress, cancel)?.outcome(transfer)
    }

    fn interruptible(&self) -> bool {
        self.models.keeps_all()
    }

    fn alive(&self) -> Result<(), Error> {
        Ok(self.models.device().synchronize()?)
    }
}

/// One transfer on its way.
pub(super) struct Run<'a> {
    engine: &'a Sdxl,
    settings: &'a Settings,
    sigmas: Vec<f64>,
    guidance: f64,
    /// How often the denoiser is called.
    calls: usize,
    progress: &'a dyn Progress,
    course: Course<'a>,
    cancel: &'a Cancel,
    clock: Clock,
    intermediates: Vec<Intermediate>,
}

/// The subject before it becomes noise.
struct Subject {
    /// At the size of the output, before it is cropped to the latent grid.
    picture: RgbImage,
    /// Blurred mask.
    mask: Plane,
    /// Painted grey inside the mask.
    grey: RgbImage,
}

impl Subject {
    /// Height and width of the output in pixels.
    fn output_size(&self) -> (usize, usize) {
        let window = Window::latent_grid(self.picture.dimensions());
        (window.height as usize, window.width as usize)
    }

    /// `painted`, the picture of the latent, inside the mask, and the subject's own pixels around it.
    fn behind(&self, painted: &RgbImage) -> RgbImage {
        let window = Window::latent_grid(self.picture.dimensions());
        let mask = window.of(&self.mask);
        let (width, height) = (mask.width() as usize, mask.height() as usize);
        let mask = Raster { width, height, channels: 1, data: mask.into_raw() };
        exact::background(&window.of(&self.picture), painted, &mask)
    }

    /// Width and height of the latent.
    fn latent_size(&self) -> (u32, u32) {
        let window = Window::latent_grid(self.picture.dimensions());
        (window.width / LATENT_CELL, window.height / LATENT_CELL)
    }
}

/// Channels of a latent.
const LATENT_CHANNELS: usize = 4;

/// The noise that the picture starts from, and what the sampler adds on its way.
struct Noise {
    first: Tensor,
    source: Box<dyn NoiseSource>,
}

impl<'a> Run<'a> {
    /// Settles the noise levels and the guidance: the profile's, else those of the request.
    pub(super) fn new(
        engine: &'a Sdxl,
        settings: &'a Settings,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
    ) -> Result<Self, Error> {
        let sampling = &engine.sampling;
        let steps = sampling.steps.unwrap_or(settings.steps);
        let denoise = engine.start.as_ref().map_or(1.0, |(_, denoise)| *denoise);
        let sigmas = sampling.schedule.last_sigmas(&engine.table, steps as usize, denoise)?;
        let guidance = sampling.guidance_scale.unwrap_or(settings.guidance_scale);
        let calls = sampling.sampler.calls(&sigmas);
        Ok(Self {
            engine,
            settings,
            sigmas,
            guidance,
            calls,
            progress,
            course: Course::new(progress, &engine.pace, calls, &engine.left_out()),
            cancel,
            clock: Clock::start(),
            intermediates: Vec::new(),
        })
    }

    pub(super) fn outcome(mut self, transfer: &Transfer) -> Result<Outcome, Error> {
        self.check_edits()?;
        let frame = self.framed(transfer.subject())?;
        let regions = Regions::given(&transfer.pictures, &frame, self.settings)?;
        let noise = self.noise(&frame.picture)?;
        let subject = self.subject(&frame, regions.as_ref())?;
        let hints = self.hints(&subject)?;
        let known = match self.start(transfer, &subject)? {
            Some(start) => self.known(&start)?,
            None => self.known(&subject.grey)?,
        };
        let (positive, negative) = self.halves(&transfer.pictures, regions.as_ref())?;
        let denoiser = self.denoiser(&subject, &positive, negative.as_ref(), hints)?;
        let latent = self.sample(&subject, known, denoiser, noise)?;
        let mut picture = self.decoded(&latent)?;
        let composite = self.keeps_background();
        if composite {
            picture = subject.behind(&picture);
            self.clock.lap("background");
        }
        self.course.part(Stage::Decode, 1, 1);
        let (ignored, notes) = (self.ignored(), self.notes(transfer));
        let timings = self.clock.laps();
        self.engine.pace.learn(&timings, self.calls);
        Ok(Outcome {
            picture: frame.result(picture),
            composite,
            ignored,
            notes,
            intermediates: self.intermediates,
            timings,
        })
    }

    /// Begins a stage, unless the transfer was cancelled.
    fn enter(&self, stage: Stage) -> Result<(), Error> {
        self.cancel.check()?;
        self.course.part(stage, 0, 1);
        Ok(())
    }

    fn show(&self, what: &str, picture: &RgbImage) {
        self.progress.observe(what, &|| View::Picture(Picture::opaque(picture.clone())));
    }

    fn show_tensor(&self, what: &str, tensor: &Tensor) {
        self.progress.observe(what, &|| View::Tensor(tensor.clone()));
    }

    /// Shows a picture that also belongs to the outcome, if intermediates were asked for.
    fn keep(&mut self, name: &'static str, picture: &RgbImage) {
        self.show(name, picture);
        if self.settings.intermediates {
            self.intermediates.push(Intermediate { name, picture: Picture::opaque(picture.clone()) });
        }
    }

    fn device(&self) -> &Device {
        self.engine.models.device()
    }

    /// At the size of the output (node 60).
    fn framed(&self, given: &Picture) -> Result<Frame, Error> {
        self.enter(Stage::Mask)?;
        let limit = (self.settings.max_width, self.settings.max_height);
        let frame = Frame::of(given, limit, self.engine.corrected);
        self.show("resized", &frame.picture);
        Ok(frame)
    }

    /// Do the subject's own pixels come back outside the mask?
    fn keeps_background(&self) -> bool {
        match self.settings.background {
            Background::Exact => true,
            Background::Painted => false,
            Background::Auto => self.engine.corrected.exact_background,
        }
    }

    /// The noise of the whole way, the first of which is there; the other is drawn while everything before sampling computes.
    fn noise(&self, picture: &RgbImage) -> Result<Noise, Error> {
        let Sampling { sampler, noise: generator, .. } = &self.engine.sampling;
        let window = Window::latent_grid(picture.dimensions());
        let shape = (
            1,
            LATENT_CHANNELS,
            (window.height / LATENT_CELL) as usize,
            (window.width / LATENT_CELL) as usize,
        );
        let mut stream = generator.seeded(self.settings.seed);
        let first = stream.randn(shape, self.device())?;
        let (seed, sigmas) = (self.settings.seed, self.sigmas.clone());
        let ahead = |make: Box<dyn FnOnce() -> diffusion::Result<Box<dyn NoiseSource>> + Send>| {
            NoiseAhead::start(sampler, &self.sigmas, self.device(), make)
        };
        let source: Box<dyn NoiseSource> = match sampler {
            Sampler::DpmppSde { .. } | Sampler::Dpmpp2mSde { .. } => Box::new(ahead(Box::new(move || {
                Ok(Box::new(BrownianTree::for_sigmas(seed, shape, &sigmas, &Device::Cpu)?))
            }))?),
            other if other.is_stochastic() => Box::new(ahead(Box::new(move || {
                Ok(Box::new(FreshNoise::continuing(stream, shape, &Device::Cpu)))
            }))?),
            _ => Box::new(NoNoise),
        };
        Ok(Noise { first, source })
    }

    /// Masked and greyed (nodes 13, 12, 37 and 36).
    ///
    /// Where masks were given, or an alpha channel counts, the network is not asked, nor loaded.
    fn subject(&mut self, frame: &Frame, regions: Option<&Regions>) -> Result<Subject, Error> {
        let picture = frame.picture.clone();
        let mask = match (regions, frame.mask(SOLID)) {
            (Some(regions), _) => regions.union(),
            (None, Some(alpha)) => alpha,
            (None, None) => {
                let input = background::network_input(&picture)?.to_device(self.device())?;
                let saliency = self.engine.models.background()?.forward(&input)?;
                let alpha = background::mask(&values(&saliency)?, picture.dimensions());
                blur::blurred(&alpha).map_err(|source| Error::Picture { field: "subject_image", source })?
            }
        };
        self.keep("mask", &save::grey(&mask));
        let grey = match self.engine.corrected.clean_edges {
            true => greyout::blended(&picture, &mask),
            false => greyout::greyed(&picture, &mask, 1.0),
        };
        self.keep("subject_grey", &grey);
        self.clock.lap(Stage::Mask.name());
        Ok(Subject { picture, mask, grey })
    }

    /// A picture's latent, scaled for the UNet: (1, 4, h, w) in f32 (node 41).
    fn known(&mut self, picture: &RgbImage) -> Result<Tensor, Error> {
        self.enter(Stage::Encode)?;
        let models = &self.engine.models;
        let vae = models.vae()?;
        let input = inpaint::encoder_input(picture)?.to_device(self.device())?;
        let input = input.to_dtype(models.vae_dtype())?;
        let mean = match self.engine.tiles {
            Some((side, overlap)) => vae.encode_tiled(&input, side, overlap)?,
            None => vae.encode(&input)?.mean,
        };
        let known = (mean * LATENT_SCALE)?;
        self.show_tensor("known-latent", &known);
        self.clock.lap(Stage::Encode.name());
        Ok(known)
    }

    /// From noise to the finished latent, unscaled (node 10 with 44, 48 and 49).
    fn sample(
        &mut self,
        subject: &Subject,
        known: Tensor,
        denoiser: UNetDenoiser,
        noise: Noise,
    ) -> Result<Tensor, Error> {
        self.enter(Stage::Sample)?;
        let Sampling { sampler, rescale, .. } = &self.engine.sampling;
        let table = &self.engine.table;
        let device = self.device().clone();
        let Noise { first: noise, mut source } = noise;
        let soft = inpaint::noise_mask(&subject.mask);
        let (width, height) = subject.latent_size();
        let strengths =
            latent_mask(&soft, subject.output_size(), (height as usize, width as usize), &device)?;
        let x = start(&noise, Some(&known), self.sigmas[0], table.max())?;
        self.show_tensor("noise", &noise);
        self.show_tensor("latent-mask", &strengths);

        let guided =
            Guided { model: denoiser, scale: self.guidance, rescale: (*rescale > 0.0).then_some(*rescale) };
        let mask = DifferentialMask::new(strengths, table.clone(), &self.sigmas)?;
        let mut painting = Inpainted::differential(guided, mask, known, noise);
        let calls = Cell::new(0);
        let mut observed = FnDenoiser(|x: &Tensor, sigma: f64| {
            let estimate = painting.denoise(x, sigma)?;
            self.show_tensor(&format!("call-{:02}", calls.replace(calls.get() + 1)), &estimate);
            Ok(estimate)
        });
        let mut watch = |done: usize, _: usize| {
            self.course.part(Stage::Sample, done, self.calls);
            if self.cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let x = sampler.sample(&mut observed, x, &self.sigmas, source.as_mut(), &mut watch)?;
        let latent = (x / LATENT_SCALE)?;
        self.show_tensor("latent", &latent);
        self.clock.lap(Stage::Sample.name());
        Ok(latent)
    }

    /// The latent as pixels (nodes 10 and 9).
    fn decoded(&mut self, latent: &Tensor) -> Result<RgbImage, Error> {
        self.enter(Stage::Decode)?;
        let models = &self.engine.models;
        let vae = models.vae()?;
        let latent = latent.to_dtype(models.vae_dtype())?;
        let raw = match self.engine.tiles {
            Some((side, overlap)) => vae.decode_tiled(&latent, side, overlap)?,
            None => vae.decode(&latent)?,
        };
        self.show_tensor("decoded", &raw);
        let picture = save::decoded(&raw)?;
        self.clock.lap(Stage::Decode.name());
        Ok(picture)
    }
}

/// A tensor's values in f32, row-major.
fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// A map (1, h, w) as a plane.
fn plane(map: &Tensor) -> Result<Plane, Error> {
    let (_, height, width) = map.dims3()?;
    let values = values(map)?;
    Ok(super::plane(width as u32, height as u32, values.into_iter()))
}
