//! What the UNet is conditioned on: text, the material picture, depth and lines.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use diffusion::{SigmaRange, is_unguided};
use engine::{Intermediate, MOST_REGIONS};
use image::RgbImage;
use networks::clip::conditioning::{TextCondition, TextEncoders, vector_condition};
use networks::clip::vision::ImageStates;
use networks::unet::{ImagePart, ImagePrompt, RegionMask, UNet};

use super::course::Stage;
use super::{Run, Subject, plane};
use crate::denoiser::{Condition, Conditions, Hint, UNetDenoiser};
use crate::profile::HintStrength;
use crate::regions::Regions;
use crate::{Error, Picture, Pictures, depth, hint, lineart, material};

/// Text and image tokens for one half of guidance.
pub(super) struct Half {
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
        let parts = self.image.parts.iter().zip(&other.image.parts).map(|(ours, theirs)| both(ours, theirs));
        Ok(Self { text, image: ImagePrompt { parts: parts.collect::<candle_core::Result<_>>()? } })
    }
}

/// One picture as both halves of guidance see it, as a batch of two.
fn both(ours: &ImagePart, theirs: &ImagePart) -> candle_core::Result<ImagePart> {
    let layers = ours.layers.iter().map(|(index, (k, v))| {
        let Some((other_k, other_v)) = theirs.layers.get(index) else {
            candle_core::bail!("both halves of guidance see a picture in the same layers")
        };
        Ok((*index, (Tensor::cat(&[k, other_k], 0)?, Tensor::cat(&[v, other_v], 0)?)))
    });
    Ok(ImagePart { layers: layers.collect::<candle_core::Result<_>>()?, ..ours.clone() })
}

/// The greatest common divisor; of positive numbers.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

impl Run<'_> {
    /// What depth and lines add to the UNet's activations (nodes 54 and 50, 55 and 52).
    pub(super) fn hints(&mut self, subject: &Subject) -> Result<Vec<Hint>, Error> {
        let models = &self.engine.models;
        let conditioning = &self.engine.conditioning;
        let mut hints = Vec::new();
        if conditioning.depth.strength != 0.0 {
            self.enter(Stage::Depth)?;
            let input = depth::network_input(&subject.picture)?.to_device(self.device())?;
            let map = plane(&models.depth()?.forward(&input)?)?;
            let drawn = depth::hint(&map, subject.picture.dimensions());
            self.keep("depth", &drawn);
            let pixels = self.hint_pixels(&drawn, subject)?;
            hints.push(self.hint(models.t2i_depth()?.forward(&pixels)?, conditioning.depth)?);
            self.clock.lap(Stage::Depth.name());
        }
        if conditioning.lineart.strength != 0.0 {
            self.enter(Stage::Lineart)?;
            let input = lineart::network_input(&subject.picture)?.to_device(self.device())?;
            let drawing = plane(&models.lineart()?.forward(&input)?.squeeze(1)?)?;
            let drawn = lineart::hint(&drawing, subject.picture.dimensions());
            self.keep("lineart", &drawn);
            let pixels = self.hint_pixels(&drawn, subject)?;
            hints.push(self.hint(models.t2i_lineart()?.forward(&pixels)?, conditioning.lineart)?);
            self.clock.lap(Stage::Lineart.name());
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

    /// Text and image tokens, with and (where guidance asks for it) without the condition (nodes 6, 7, 45 and 47).
    pub(super) fn halves(
        &mut self,
        pictures: &Pictures<Picture>,
        regions: Option<&Regions>,
    ) -> Result<(Half, Option<Half>), Error> {
        let guided = !is_unguided(self.guidance);
        let models = &self.engine.models;
        let conditioning = &self.engine.conditioning;
        self.enter(Stage::Text)?;
        let unwanted = format!("{}{}", conditioning.negative_prefix, self.settings.negative_prompt);
        let mut encoders = None;
        let positive = self.encoded(&self.settings.prompt, &mut encoders)?;
        let negative = guided.then(|| self.encoded(&unwanted, &mut encoders)).transpose()?;
        drop(encoders);
        self.show_tensor("text-context", &positive.context);
        self.clock.lap(Stage::Text.name());

        self.enter(Stage::Material)?;
        let vision = models.vision()?;
        let states = |picture: &RgbImage| -> networks::Result<_> {
            vision.forward(&material::network_input(picture)?.to_device(models.device())?)
        };
        let adapter = models.ip_adapter(self.settings.strength)?;
        let mut tokens = Vec::new();
        for (at, region) in pictures.regions().iter().enumerate() {
            let seen = self.seen(at, &region.material.rgb, pictures.blend_image.as_ref(), &states)?;
            let seen = self.edited(seen)?;
            let of_region = adapter.tokens(&seen)?;
            self.show_tensor(IMAGE_TOKENS[at], &of_region);
            tokens.push(of_region);
        }
        let places = match regions {
            None => vec![None; tokens.len()],
            Some(regions) => regions.of_materials(models.device())?,
        };
        let weight = conditioning.image_weight * self.settings.weight;
        let part = |tokens: &Tensor, place: &Option<RegionMask>| -> Result<ImagePart, Error> {
            in_dtype(adapter.prompt(tokens, weight, place.clone())?, models.unet_dtype())
        };
        let parts = tokens.iter().zip(&places).map(|(tokens, place)| part(tokens, place));
        let image = ImagePrompt { parts: parts.collect::<Result<_, _>>()? };
        let half = Half { image, text: positive };
        let other = match negative {
            None => None,
            Some(text) => {
                let black = || states(&RgbImage::new(material::SIDE, material::SIDE));
                let strength = self.settings.strength;
                let empty = self.engine.cache.nothing(strength, || adapter.empty_tokens(black))?;
                let parts = places.iter().map(|place| part(&empty, place)).collect::<Result<_, _>>()?;
                Some(Half { image: ImagePrompt { parts }, text })
            }
        };
        self.clock.lap(Stage::Material.name());
        Ok((half, other))
    }

    /// What the encoder makes of the material of region `at`, with the second one blended in.
    fn seen(
        &mut self,
        at: usize,
        material: &RgbImage,
        second: Option<&Picture>,
        states: &dyn Fn(&RgbImage) -> networks::Result<ImageStates>,
    ) -> Result<ImageStates, Error> {
        let (fit, scale) = (self.settings.fit, self.settings.scale);
        let blend = if second.is_some() { self.settings.blend } else { 0.0 };
        let mut impressions = Vec::new();
        let materials = [(Some(material), 1.0 - blend), (second.map(|second| &second.rgb), blend)];
        for (number, (material, share)) in materials.into_iter().enumerate() {
            let Some(material) = material.filter(|_| share > 0.0) else { continue };
            let views = material::views(material, fit, scale);
            if let (0, Some(first)) = (number, views.first()) {
                self.keep(Intermediate::MATERIALS[at], first);
            }
            let each = share / views.len() as f64;
            for view in &views {
                impressions.push((states(view)?, each));
            }
        }
        Ok(ImageStates::mean(&impressions)?)
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
    pub(super) fn denoiser(
        &mut self,
        subject: &Subject,
        positive: &Half,
        negative: Option<&Half>,
        hints: Vec<Hint>,
    ) -> Result<UNetDenoiser, Error> {
        self.enter(Stage::Unet)?;
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
        self.clock.lap(Stage::Unet.name());
        Ok(denoiser)
    }

    fn condition(&self, unet: &UNet, half: &Half, subject: &Subject) -> Result<Condition, Error> {
        let dtype = self.engine.models.unet_dtype();
        let (height, width) = subject.output_size();
        let context = unet.context(&half.text.context.to_dtype(dtype)?, Some(&half.image))?;
        let vector = vector_condition(&half.text.pooled, height, width)?.to_dtype(dtype)?;
        Ok(Condition { context, vector })
    }
}

/// Image tokens' keys and values in the UNet's numeric format.
fn in_dtype(part: ImagePart, dtype: DType) -> Result<ImagePart, Error> {
    let layers = part.layers.into_iter();
    let layers = layers.map(|(index, (k, v))| Ok((index, (k.to_dtype(dtype)?, v.to_dtype(dtype)?))));
    Ok(ImagePart {
        layers: layers.collect::<candle_core::Result<_>>()?,
        weight: part.weight,
        region: part.region.map(|region| region.to_dtype(dtype)).transpose()?,
    })
}

/// How the tokens of the materials are called, region by region.
const IMAGE_TOKENS: [&str; MOST_REGIONS] =
    ["image-tokens", "image-tokens-2", "image-tokens-3", "image-tokens-4"];
