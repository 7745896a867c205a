//! The header `Idempotency-Key`: a client's own name for a submission, so that sending it again (after a broken connection,
//! say) leads to the first job and makes no second one.
//!
//! Whether the same is asked for is judged by what was understood and not by the bytes: a form has another boundary each time.

use api::{ImageSource, TransferRequest};
use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// The header.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key.
const LONGEST: usize = 255;

/// The key that came with a request.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let key = value.as_bytes().trim_ascii();
    let fit = (1..=LONGEST).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(key) {
        Ok(key) if fit => Ok(Some(key.to_owned())),
        _ => Err(Failure::bad_idempotency_key(LONGEST)),
    }
}

/// What was asked for, hashed: two requests have the same digest if they ask for the same picture.
pub(crate) fn digest(request: &TransferRequest) -> String {
    let mut hash = Sha256::new();
    for (field, image) in request.pictures.iter() {
        hash.update(field);
        hash.update([0]);
        let (kind, bytes) = match image {
            ImageSource::Inline(file) => (0_u8, file.as_slice()),
            ImageSource::Url(url) => (1, url.as_str().as_bytes()),
        };
        hash.update([kind]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.update(request.control.webhook_url.as_ref().map_or("", |url| url.as_str()));
    hash.update([0]);
    // Numbers and words; they can always be written.
    hash.update(serde_json::to_vec(&request.parameters).unwrap_or_default());
    hex::encode(hash.finalize())
}

/// The same for a request that cannot be understood, by what is wrong with it.
pub(crate) fn digest_of_refusal(reason: &str) -> String {
    hex::encode(Sha256::digest(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii() {
        let read = |value: &[u8]| {
            let value = http::HeaderValue::from_bytes(value).unwrap();
            key(&HeaderMap::from_iter([(HEADER, value)]))
        };
        assert_eq!(read(b" 2c7f-59ea ").unwrap().as_deref(), Some("2c7f-59ea"));
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        for bad in [&b""[..], b"a b", "\u{fc}".as_bytes(), &[b'x'; 256]] {
            assert_eq!(read(bad).unwrap_err().status, 400);
        }
    }

    #[test]
    fn the_digest_is_of_what_is_asked_for() {
        let read = |body: &str| digest(&api::Schema::default().from_json(body.as_bytes()).unwrap());
        let images = r#""material_image": "https://h/m.png", "subject_image": "https://h/s.png""#;
        let plain = read(&format!("{{{images}}}"));
        assert_eq!(plain, read(&format!("{{ \"steps\": \"6\", {images}, \"other\": 1 }}")));
        assert_ne!(plain, read(&format!("{{{images}, \"steps\": 7}}")));
        assert_ne!(plain, read(&format!("{{{}}}", images.replace("m.png", "n.png"))));
        assert_ne!(
            plain,
            read(&format!(
                "{{{}}}",
                images.replace("material", "x").replace("subject", "material").replace('x', "subject")
            ))
        );
    }
}
