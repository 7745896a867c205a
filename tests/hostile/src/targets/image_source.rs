//! The text of a picture field: URL, data URI or bare base64.

use api::ImageSource;

use crate::limits::bounded;

/// One input.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match bounded(text.len(), 0, || ImageSource::from_text(text)) {
        Ok(ImageSource::Url(url)) => {
            assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url}");
            assert!(url.as_str().len() <= 3 * api::LONGEST_URL, "{url}"); // escapes are three bytes
        }
        Ok(ImageSource::Inline(bytes)) => assert!(bytes.len() <= text.len()),
        Err(_) => {}
    }
}
