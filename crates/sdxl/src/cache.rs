//! What transfers of one engine have in common, kept between them: text by prompt, the tokens of no picture.

use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use networks::clip::conditioning::TextCondition;

use crate::{Error, Strength};

/// Prompts that are remembered: about 0.6 MB each, per 75 tokens.
const PROMPTS: usize = 32;

/// Remembered results; all belong to one set of weights.
#[derive(Default)]
pub(super) struct Cache {
    /// Latest last.
    texts: Mutex<Vec<(String, TextCondition)>>,
    /// Image tokens of the black picture, by adapter.
    nothing: Mutex<Vec<(Strength, Tensor)>>,
}

impl Cache {
    /// The condition of a prompt that was [kept](Self::keep_text).
    pub(super) fn text(&self, prompt: &str) -> Option<TextCondition> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = texts.iter().position(|(known, _)| known == prompt)?;
        let found = texts.remove(at);
        let text = found.1.clone();
        texts.push(found);
        Some(text)
    }

    /// Keeps the condition of a prompt, in place of the one that was not asked for longest.
    pub(super) fn keep_text(&self, prompt: &str, text: &TextCondition) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.retain(|(known, _)| known != prompt);
        if texts.len() >= PROMPTS {
            texts.remove(0);
        }
        texts.push((prompt.to_owned(), text.clone()));
    }

    /// The tokens of no picture for this adapter, made at the first call.
    pub(super) fn nothing(
        &self,
        strength: Strength,
        make: impl FnOnce() -> networks::Result<Tensor>,
    ) -> Result<Tensor, Error> {
        let mut nothing = self.nothing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tokens)) = nothing.iter().find(|(known, _)| *known == strength) {
            return Ok(tokens.clone());
        }
        let tokens = make()?;
        nothing.push((strength, tokens.clone()));
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn text(n: usize) -> TextCondition {
        let tensor = Tensor::full(n as f32, (1, 1, 1), &Device::Cpu).expect("tensor");
        TextCondition { context: tensor.clone(), pooled: tensor }
    }

    #[test]
    fn the_prompt_that_was_not_asked_for_longest_goes_first() {
        let cache = Cache::default();
        for n in 0..PROMPTS {
            cache.keep_text(&n.to_string(), &text(n));
        }
        assert!(cache.text("0").is_some());
        cache.keep_text("another", &text(0));
        assert!(cache.text("0").is_some() && cache.text("another").is_some() && cache.text("1").is_none());
        let known = cache.text("7").expect("kept").context.flatten_all().and_then(|t| t.to_vec1::<f32>());
        assert_eq!(known.expect("one value"), [7.0]);
    }

    #[test]
    fn nothing_is_made_once_for_each_adapter() {
        let cache = Cache::default();
        let made = std::cell::Cell::new(0);
        for strength in [Strength::Medium, Strength::Strong, Strength::Medium] {
            cache
                .nothing(strength, || {
                    made.set(made.get() + 1);
                    Ok(text(0).pooled)
                })
                .expect("made");
        }
        assert_eq!(made.get(), 2);
    }
}
