//! One transfer: the workflow's nodes in an order that keeps few networks in memory at a time.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use diffusion::{
    BrownianTree, Denoiser, DifferentialMask, FnDenoiser, FreshNoise, Guided, Inpainted, NoNoise, NoiseAhead,
    NoiseSource, Sampler, SigmaRange, is_unguided, latent_mask, start,
};
use image::RgbImage;
use networks::clip::conditioning::{TextCondition, TextEncoders, vector_condition};
use networks::unet::{ImagePrompt, UNet};

use super::crop::{LATENT_CELL, Window};
use super::denoiser::{Condition, Conditions, Hint, UNetDenoiser};
use super::sdxl::Sdxl;
use super::{Plane, background, blur, depth, greyout, hint, inpaint, lineart, material, resize, save};
use crate::profile::{HintStrength, Sampling};
use crate::{
    Cancel, Clock, Engine, Error, Intermediate, Outcome, Picture, Progress, Settings, Transfer, View,
};

/// SDXL's factor between the autoencoder's latents and those the UNet was trained on.
const LATENT_SCALE: f64 = 0.130_25;

impl Engine for Sdxl {
    fn name(&self) -> &'static str {
        "sdxl"
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        Run::new(self, &transfer.settings, progress, cancel)?.outcome(transfer)
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
    /// Denoiser calls, and one for the end.
    total: usize,
    progress: &'a dyn Progress,
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

/// Text and image tokens for one half of guidance.
struct Half {
    text: TextCondition,
    image: ImagePrompt,
}

impl Half {
    /// Both halves as a batch of two. Where one text is longer, the tokens of both are repeated to a common number, which leaves
    /// every weighted mean over them as it is.
    fn together(&self, other: &Self) -> Result<Self, Error> {
        let (ours, theirs) = (self.text.context.dim(1)?, other.text.context.dim(1)?);
        let common = ours / gcd(ours, theirs) * theirs;
        let repeated = |context: &Tensor, tokens: usize| context.repeat((1, common / tokens, 1));
        let context = [repeated(&self.text.context, ours)?, repeated(&other.text.context, theirs)?];
        let text = TextCondition {
            context: Tensor::cat(&context, 0)?,
            pooled: Tensor::cat(&[&self.text.pooled, &other.text.pooled], 0)?,
        };
        let layers = self.image.layers.iter().map(|(index, (k, v))| {
            let Some((other_k, other_v)) = other.image.layers.get(index) else {
                candle_core::bail!("both halves of guidance see a picture in the same layers")
            };
            Ok((*index, (Tensor::cat(&[k, other_k], 0)?, Tensor::cat(&[v, other_v], 0)?)))
        });
        let layers = layers.collect::<candle_core::Result<_>>()?;
        Ok(Self { text, image: ImagePrompt { layers, weight: self.image.weight } })
    }
}

/// The greatest common divisor; of positive numbers.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
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
        let sigmas = sampling.schedule.sigmas(&engine.table, steps as usize)?;
        let guidance = sampling.guidance_scale.unwrap_or(settings.guidance_scale);
        let total = sampling.sampler.calls(&sigmas) + 1;
        Ok(Self {
            engine,
            settings,
            sigmas,
            guidance,
            total,
            progress,
            cancel,
            clock: Clock::start(),
            intermediates: Vec::new(),
        })
    }

    pub(super) fn outcome(mut self, transfer: &Transfer) -> Result<Outcome, Error> {
        let picture = self.resized(&transfer.subject.rgb)?;
        let noise = self.noise(&picture)?;
        let subject = self.subject(picture)?;
        let hints = self.hints(&subject)?;
        let known = self.known(&subject)?;
        let (positive, negative) = self.halves(&transfer.material.rgb)?;
        let denoiser = self.denoiser(&subject, &positive, negative.as_ref(), hints)?;
        let latent = self.sample(&subject, known, denoiser, noise)?;
        let picture = self.decoded(&latent)?;
        self.progress.advance("decode", self.total, self.total);
        Ok(Outcome {
            picture: Picture::opaque(picture),
            ignored: self.ignored(),
            notes: self.notes(transfer),
            intermediates: self.intermediates,
            timings: self.clock.laps(),
        })
    }

    /// Begins a stage, unless the transfer was cancelled.
    fn enter(&self, stage: &'static str) -> Result<(), Error> {
        self.cancel.check()?;
        self.progress.advance(stage, 0, self.total);
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
    fn resized(&self, given: &RgbImage) -> Result<RgbImage, Error> {
        self.enter("mask")?;
        let limit = (self.settings.max_width, self.settings.max_height);
        let picture = match resize::capped_size(given.dimensions(), limit) {
            Some(size) => resize::nearest(given, size),
            None => given.clone(),
        };
        self.show("resized", &picture);
        Ok(picture)
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
    fn subject(&mut self, picture: RgbImage) -> Result<Subject, Error> {
        let input = background::network_input(&picture)?.to_device(self.device())?;
        let saliency = self.engine.models.background()?.forward(&input)?;
        let alpha = background::mask(&values(&saliency)?, picture.dimensions());
        let mask =
            blur::blurred(&alpha).map_err(|source| Error::Picture { field: "subject_image", source })?;
        self.keep("mask", &save::grey(&mask));
        let grey = greyout::greyed(&picture, &mask, 1.0);
        self.keep("subject_grey", &grey);
        self.clock.lap("mask");
        Ok(Subject { picture, mask, grey })
    }

    /// What depth and lines add to the UNet's activations (nodes 54 and 50, 55 and 52).
    fn hints(&mut self, subject: &Subject) -> Result<Vec<Hint>, Error> {
        let models = &self.engine.models;
        let conditioning = &self.engine.conditioning;
        let mut hints = Vec::new();
        if conditioning.depth.strength != 0.0 {
            self.enter("depth")?;
            let input = depth::network_input(&subject.picture)?.to_device(self.device())?;
            let map = plane(&models.depth()?.forward(&input)?)?;
            let drawn = depth::hint(&map, subject.picture.dimensions());
            self.keep("depth", &drawn);
            let pixels = self.hint_pixels(&drawn, subject)?;
            hints.push(self.hint(models.t2i_depth()?.forward(&pixels)?, conditioning.depth)?);
            self.clock.lap("depth");
        }
        if conditioning.lineart.strength != 0.0 {
            self.enter("lineart")?;
            let input = lineart::network_input(&subject.picture)?.to_device(self.device())?;
            let drawing = plane(&models.lineart()?.forward(&input)?.squeeze(1)?)?;
            let drawn = lineart::hint(&drawing, subject.picture.dimensions());
            self.keep("lineart", &drawn);
            let pixels = self.hint_pixels(&drawn, subject)?;
            hints.push(self.hint(models.t2i_lineart()?.forward(&pixels)?, conditioning.lineart)?);
            self.clock.lap("lineart");
        }
        Ok(hints)
    }

    fn hint_pixels(&self, drawn: &RgbImage, subject: &Subject) -> Result<Tensor, Error> {
        let fitted = hint::fitted(drawn, subject.latent_size());
        Ok(hint::network_input(&fitted)?.to_device(self.device())?)
    }

    fn hint(&self, features: Vec<Tensor>, how: HintStrength) -> Result<Hint, Error> {
        let scaled = features.iter().map(|feature| feature * how.strength);
        let features = scaled.collect::<candle_core::Result<_>>()?;
        Ok(Hint { features, range: SigmaRange::from_percent(&self.engine.table, how.start, how.end) })
    }

    /// The greyed subject's latent, scaled for the UNet: (1, 4, h, w) in f32 (node 41).
    fn known(&mut self, subject: &Subject) -> Result<Tensor, Error> {
        self.enter("encode")?;
        let models = &self.engine.models;
        let vae = models.vae()?;
        let input = inpaint::encoder_input(&subject.grey)?.to_device(self.device())?;
        let input = input.to_dtype(models.vae_dtype())?;
        let mean = match self.engine.tiles {
            Some((side, overlap)) => vae.encode_tiled(&input, side, overlap)?,
            None => vae.encode(&input)?.mean,
        };
        let known = (mean * LATENT_SCALE)?;
        self.show_tensor("known-latent", &known);
        self.clock.lap("encode");
        Ok(known)
    }

    /// Text and image tokens, with and (where guidance asks for it) without the condition (nodes 6, 7, 45 and 47).
    fn halves(&mut self, given: &RgbImage) -> Result<(Half, Option<Half>), Error> {
        let guided = !is_unguided(self.guidance);
        let models = &self.engine.models;
        let conditioning = &self.engine.conditioning;
        self.enter("text")?;
        let unwanted = format!("{}{}", conditioning.negative_prefix, self.settings.negative_prompt);
        let mut encoders = None;
        let positive = self.encoded(&self.settings.prompt, &mut encoders)?;
        let negative = guided.then(|| self.encoded(&unwanted, &mut encoders)).transpose()?;
        drop(encoders);
        self.show_tensor("text-context", &positive.context);
        self.clock.lap("text");

        self.enter("material")?;
        let cropped = Window::material(given.dimensions()).of(given);
        self.keep("material", &cropped);
        let vision = models.vision()?;
        let states = |picture: &RgbImage| -> networks::Result<_> {
            vision.forward(&material::network_input(picture)?.to_device(models.device())?)
        };
        let seen = states(&cropped)?;
        let adapter = models.ip_adapter(self.settings.strength)?;
        let tokens = adapter.tokens(&seen)?;
        self.show_tensor("image-tokens", &tokens);
        let prompt = |tokens: &Tensor| -> Result<ImagePrompt, Error> {
            let prompt = adapter.prompt(tokens, conditioning.image_weight)?;
            in_dtype(prompt, models.unet_dtype())
        };
        let half = Half { image: prompt(&tokens)?, text: positive };
        let other = match negative {
            None => None,
            Some(text) => {
                let black = || states(&RgbImage::new(material::SIDE, material::SIDE));
                let strength = self.settings.strength;
                let empty = self.engine.cache.nothing(strength, || adapter.empty_tokens(black))?;
                Some(Half { image: prompt(&empty)?, text })
            }
        };
        self.clock.lap("material");
        Ok((half, other))
    }

    /// The condition of a prompt: as kept, else by the encoders, which are loaded for the first that is not.
    fn encoded(
        &self,
        prompt: &str,
        encoders: &mut Option<Arc<TextEncoders>>,
    ) -> Result<TextCondition, Error> {
        if let Some(text) = self.engine.cache.text(prompt) {
            return Ok(text);
        }
        let encoders = match encoders {
            Some(encoders) => encoders,
            None => encoders.insert(self.engine.models.text()?),
        };
        let text = encoders.encode(prompt)?;
        self.engine.cache.keep_text(prompt, &text);
        Ok(text)
    }

    /// The UNet under these conditions.
    fn denoiser(
        &mut self,
        subject: &Subject,
        positive: &Half,
        negative: Option<&Half>,
        hints: Vec<Hint>,
    ) -> Result<UNetDenoiser, Error> {
        self.enter("unet")?;
        let models = &self.engine.models;
        let unet = models.unet()?;
        let condition = |half: &Half| self.condition(&unet, half, subject);
        let conditions = match negative {
            None => Conditions::Positive(condition(positive)?),
            Some(negative) if self.engine.models.has_room_for_two(subject.output_size()) => {
                Conditions::Together(condition(&positive.together(negative)?)?)
            }
            Some(negative) => Conditions::Each(condition(positive)?, condition(negative)?),
        };
        let denoiser = UNetDenoiser {
            conditions,
            summed: None,
            prediction: models.prediction(),
            table: self.engine.table.clone(),
            hints,
            unet,
        };
        self.clock.lap("unet");
        Ok(denoiser)
    }

    fn condition(&self, unet: &UNet, half: &Half, subject: &Subject) -> Result<Condition, Error> {
        let dtype = self.engine.models.unet_dtype();
        let (height, width) = subject.output_size();
        let context = unet.context(&half.text.context.to_dtype(dtype)?, Some(&half.image))?;
        let vector = vector_condition(&half.text.pooled, height, width)?.to_dtype(dtype)?;
        Ok(Condition { context, vector })
    }

    /// From noise to the finished latent, unscaled (node 10 with 44, 48 and 49).
    fn sample(
        &mut self,
        subject: &Subject,
        known: Tensor,
        denoiser: UNetDenoiser,
        noise: Noise,
    ) -> Result<Tensor, Error> {
        self.enter("sample")?;
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
            self.progress.advance("sample", done, self.total);
            if self.cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let x = sampler.sample(&mut observed, x, &self.sigmas, source.as_mut(), &mut watch)?;
        let latent = (x / LATENT_SCALE)?;
        self.show_tensor("latent", &latent);
        self.clock.lap("sample");
        Ok(latent)
    }

    /// The latent as pixels (nodes 10 and 9).
    fn decoded(&mut self, latent: &Tensor) -> Result<RgbImage, Error> {
        self.cancel.check()?;
        self.progress.advance("decode", self.total - 1, self.total);
        let models = &self.engine.models;
        let vae = models.vae()?;
        let latent = latent.to_dtype(models.vae_dtype())?;
        let raw = match self.engine.tiles {
            Some((side, overlap)) => vae.decode_tiled(&latent, side, overlap)?,
            None => vae.decode(&latent)?,
        };
        self.show_tensor("decoded", &raw);
        let picture = save::decoded(&raw)?;
        self.clock.lap("decode");
        Ok(picture)
    }

    fn ignored(&self) -> Vec<&'static str> {
        let sampling = &self.engine.sampling;
        let mut ignored = Vec::new();
        if sampling.steps.is_some() {
            ignored.push("steps");
        }
        if sampling.guidance_scale.is_some() {
            ignored.push("guidance_scale");
        }
        if is_unguided(self.guidance) && !self.settings.negative_prompt.is_empty() {
            ignored.push("negative_prompt");
        }
        ignored
    }

    fn notes(&self, transfer: &Transfer) -> Vec<String> {
        let mut notes = Vec::new();
        if transfer.subject.alpha.is_some() {
            notes.push("the subject's alpha channel was not used: its mask is the network's".to_owned());
        }
        // At the first noise level the mask admits no pixel, and one step has no other.
        if self.sigmas.len() == 2 {
            notes.push("one step paints nothing: ask for 2 steps or more".to_owned());
        }
        notes
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

/// Image tokens' keys and values in the UNet's numeric format.
fn in_dtype(prompt: ImagePrompt, dtype: DType) -> Result<ImagePrompt, Error> {
    let layers = prompt.layers.into_iter();
    let layers = layers.map(|(index, (k, v))| Ok((index, (k.to_dtype(dtype)?, v.to_dtype(dtype)?))));
    Ok(ImagePrompt { layers: layers.collect::<candle_core::Result<_>>()?, weight: prompt.weight })
}
