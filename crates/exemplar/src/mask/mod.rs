//! Where the subject is: its alpha channel when it has one, else a small salient-object network, refined to the pixel.
//!
//! The network ([`network`]) is a U²-Net (Qin et al. 2020) of narrow widths with weights of our own, inside the binary. It
//! sees a small square; a guided filter ([`guided`]) carries its edges onto the picture's. Values are 0 to 1, 1 is subject.

mod afar;
mod flood;
mod guided;
mod likeliest;
mod network;
mod openings;

use candle_core::Device;
use image::{GrayImage, RgbImage};

use self::likeliest::likeliest;
use self::network::{MaskNetwork, Sight};
use crate::Error;
use pixels::Raster;

/// Finds subjects.
#[derive(Debug)]
pub(crate) struct Masker {
    network: MaskNetwork,
}

/// The subject of a picture.
#[derive(Debug)]
pub(crate) struct SubjectMask {
    /// One channel, the picture's size.
    pub(crate) mask: Raster,
    /// What the person who asked should know about it.
    pub(crate) note: Option<String>,
    /// It is the picture's own alpha channel.
    pub(crate) cut_out: bool,
}

/// A smaller share of the picture than this is a speck, not a subject.
const LEAST_SHARE: f64 = 0.003;

/// What is said of a picture of nothing.
const NOTHING_SEEN: &str =
    "the subject's alpha channel is transparent everywhere: there is nothing to transfer to";

impl Masker {
    /// With the network that `name` means: `embedded`, else the path of a TOML file that describes one.
    ///
    /// # Errors
    /// [`Error::Profile`] and [`Error::File`] when description or weights cannot be used.
    pub(crate) fn open(name: &str, device: &Device) -> Result<Self, Error> {
        Ok(Self { network: MaskNetwork::open(name, device)? })
    }

    /// The subject of `picture`: its `alpha`, else what the network finds; else, with a note that says so, the likeliest
    /// thing near the centre, or all of it where nothing is likelier than anything else.
    pub(crate) fn subject(
        &self,
        picture: &RgbImage,
        alpha: Option<&GrayImage>,
    ) -> Result<SubjectMask, Error> {
        if let Some(alpha) = alpha {
            let mask = tight(&Raster::from_grey(alpha));
            let empty = mask.data.iter().all(|m| *m == 0.0);
            let note = empty.then(|| NOTHING_SEEN.to_owned());
            return Ok(SubjectMask { mask, note, cut_out: true });
        }
        let faint = match self.network.look(picture)? {
            Sight::Clear(coarse) => {
                match refined(picture, &coarse.map(1, |answer, o| o[0] = decided(answer[0]))) {
                    Some(mask) => return Ok(SubjectMask { mask, note: None, cut_out: false }),
                    None => coarse,
                }
            }
            Sight::Faint(map) => map,
        };
        let (mask, taken) = match likeliest(&faint).and_then(|coarse| refined(picture, &coarse)) {
            Some(mask) => (mask, "the likeliest thing near the centre"),
            None => (
                Raster::filled(picture.width() as usize, picture.height() as usize, 1, 1.0),
                "the whole picture",
            ),
        };
        let note = format!(
            "no salient subject was found: {taken} was used; a subject_mask, or a transparent background, says what the subject is"
        );
        Ok(SubjectMask { mask, note: Some(note), cut_out: false })
    }

    /// The object in a material picture, if there is any: its `alpha`, else what the network finds.
    pub(crate) fn material(
        &self,
        picture: &RgbImage,
        alpha: Option<&GrayImage>,
    ) -> Result<Option<Raster>, Error> {
        match alpha {
            Some(alpha) => Ok(Some(Raster::from_grey(alpha))),
            None => match self.network.look(picture)? {
                Sight::Clear(coarse) => Ok(refined(picture, &coarse)),
                Sight::Faint(_) => Ok(None),
            },
        }
    }
}

/// A coarse mask fitted to the picture's edges, at the picture's size; `None` for a speck.
fn refined(picture: &RgbImage, coarse: &Raster) -> Option<Raster> {
    let picture = Raster::from_rgb(picture);
    let mask = openings::opened(&picture, tight(&guided::refine(&picture, coarse)));
    let firm = mask.data.iter().filter(|m| **m > 0.5).count();
    (firm as f64 >= LEAST_SHARE * mask.pixels() as f64).then_some(mask)
}

/// Doubt made a decision: an answer above three quarters is yes, below one quarter no. A subject half painted is ghostly,
/// and edges are made soft again by the guided filter.
fn decided(answer: f32) -> f32 {
    (2.0 * answer - 0.5).clamp(0.0, 1.0)
}

/// Pixels that stay soft lie within this distance of firm ones (over one half), in pixels along either axis.
const SOFT_REACH: usize = 6;

/// Zero farther than [`SOFT_REACH`] from the firm part: a faint haze far off would repaint what nobody calls the subject.
fn tight(mask: &Raster) -> Raster {
    let firm = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] > 0.5)));
    let near = firm.widened(SOFT_REACH);
    mask.zip(&near, 1, |m, n, o| o[0] = if n[0] > 0.0 && m[0] > 0.02 { m[0] } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker() -> Masker {
        Masker::open("embedded", &Device::Cpu).expect("embedded weights")
    }

    #[test]
    fn alpha_is_the_mask() {
        let picture = RgbImage::from_pixel(80, 70, image::Rgb([90, 20, 200]));
        let alpha = GrayImage::from_fn(80, 70, |x, _| image::Luma([if x < 40 { 255 } else { 0 }]));
        let found = masker().subject(&picture, Some(&alpha)).expect("mask");
        assert!(found.note.is_none());
        for y in 0..70 {
            for x in 0..80 {
                assert_eq!(found.mask.pixel(x, y)[0], if x < 40 { 1.0 } else { 0.0 });
            }
        }
    }

    #[test]
    fn featureless_pictures_are_used_whole_and_said_so() {
        for colour in [[0u8; 3], [255; 3], [120, 130, 140]] {
            for (w, h) in [(64, 64), (200, 71)] {
                let picture = RgbImage::from_pixel(w, h, image::Rgb(colour));
                let found = masker().subject(&picture, None).expect("mask");
                assert!(found.mask.data.iter().all(|m| m.is_finite()));
                if let Some(note) = found.note {
                    assert!(note.contains("no salient subject"));
                }
            }
        }
        // Black carries no information at all: there the answer is certain.
        let black = RgbImage::from_pixel(64, 64, image::Rgb([0; 3]));
        let found = masker().subject(&black, None).expect("mask");
        assert!(found.note.expect("a note").contains("the whole picture"));
        assert!(found.mask.data.iter().all(|m| *m == 1.0));
    }

    #[test]
    fn haze_far_from_the_subject_is_dropped() {
        let mask = Raster::filled(60, 20, 1, 0.3);
        assert!(tight(&mask).data.iter().all(|m| *m == 0.0));
        let mut mask = mask;
        for y in 0..20 {
            mask.data[y * 60] = 1.0;
        }
        let kept = tight(&mask);
        assert_eq!(kept.pixel(SOFT_REACH, 10)[0], 0.3);
        assert_eq!(kept.pixel(SOFT_REACH + 1, 10)[0], 0.0);
    }
}
