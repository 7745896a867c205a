//! How much work a transfer is, as far as its parameters and the sizes of its pictures tell: what clients share, and what tells
//! small jobs from large ones.
//!
//! The unit is a pixel of the output times a step. Every job has some work that depends on neither (the networks that look at
//! it see a fixed size), and some that grows with the pixels alone; both were measured with the embedded engine, and are near
//! enough for SDXL. Decoding is far cheaper, and counts where the inputs are huge.

use api::Parameters;

use crate::worker::within;

/// What a job takes whatever its size, in pixels of output.
const BASE_PIXELS: u64 = 1 << 18;
/// What a pixel takes whatever the steps, in steps.
const BASE_STEPS: u64 = 10;
/// Pixels of input that are decoded in the time in which one of output is made.
const INPUTS: u64 = 256;

/// What is known of a request's pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The subject's width and height.
    subject: Option<(u32, u32)>,
    /// The pixels of all of them.
    pixels: u64,
}

impl Seen {
    /// Takes in a picture's name and size.
    pub(crate) fn note(&mut self, name: &str, size: (u32, u32)) {
        if name == "subject_image" {
            self.subject = Some(size);
        }
        self.pixels += u64::from(size.0) * u64::from(size.1);
    }

    /// Whether the size of the output follows from it.
    pub(crate) fn subject(&self) -> bool {
        self.subject.is_some()
    }

    /// How much work it is to transfer with these parameters, where an output has at most `most` pixels. A subject that is not
    /// known is taken to be as large as it may be.
    pub(crate) fn effort(&self, parameters: &Parameters, most: u64) -> u64 {
        let subject = self.subject.unwrap_or((u32::MAX, u32::MAX));
        let (width, height) = within(subject, (parameters.max_width, parameters.max_height), most);
        let (w, h) = (f64::from(subject.0), f64::from(subject.1));
        let ratio = (f64::from(width) / w).min(f64::from(height) / h).min(1.0);
        effort((w * ratio * h * ratio) as u64 + self.pixels / INPUTS, parameters.steps)
    }
}

fn effort(pixels: u64, steps: u32) -> u64 {
    (pixels + BASE_PIXELS).saturating_mul(BASE_STEPS + u64::from(steps))
}

/// The effort of a job of so many pixels at the default number of steps.
pub(crate) fn usual(pixels: u64) -> u64 {
    effort(pixels, pipeline::Settings::default().steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(width: u32, height: u32) -> Seen {
        let mut seen = Seen::default();
        seen.note("subject_image", (width, height));
        seen
    }

    fn parameters(side: u32, steps: u32) -> Parameters {
        let form = ["subject_image", "material_image"]
            .map(|name| (name.to_owned(), api::FormValue::Text("http://host/picture.png".to_owned())));
        let request = api::Schema::default().from_form(form.into()).unwrap();
        Parameters { max_width: side, max_height: side, steps, ..request.parameters }
    }

    #[test]
    fn the_output_counts_and_the_steps_do() {
        let most = 1920 * 1920;
        let small = seen(64, 64).effort(&parameters(1920, 6), most);
        assert_eq!(small, (64 * 64 + BASE_PIXELS + 16) * 16);
        assert!(seen(4000, 4000).effort(&parameters(64, 6), most) < 2 * small, "it is shrunk");
        assert!(seen(1024, 1024).effort(&parameters(1920, 6), most) > 4 * small);
        assert!(seen(64, 64).effort(&parameters(1920, 150), most) > 9 * small);
        let unknown = Seen::default().effort(&parameters(i32::MAX as u32, 6), most);
        assert!(unknown.abs_diff(usual(most)) < usual(most) / 1000, "as large as it may be");
        assert!(seen(10_000, 10_000).effort(&parameters(64, 6), most) > usual(512 * 512), "it is decoded");
    }
}
