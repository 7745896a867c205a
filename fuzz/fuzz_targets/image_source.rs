//! The text of a picture field: URL, data URI or bare base64.
#![no_main]

use api::ImageSource;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match fuzz::bounded(text.len(), 0, || ImageSource::from_text(text)) {
        Ok(ImageSource::Url(url)) => {
            assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url}");
            assert!(url.as_str().len() <= 3 * api::LONGEST_URL, "{url}"); // escapes are three bytes
        }
        Ok(ImageSource::Inline(bytes)) => assert!(bytes.len() <= text.len()),
        Err(_) => {}
    }
});
