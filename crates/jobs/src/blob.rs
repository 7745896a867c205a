//! Files under unguessable names: [`BlobKey`] and the trait [`BlobStore`].
//!
//! A key is 32 random bytes in base64url (43 characters, RFC 4648 section 5, no padding), a dot and a short extension,
//! so it can stand in a public URL and serve as a file name without any escaping.

use std::{fmt, fs::File, str::FromStr};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Random bytes in a key; 256 bits cannot be guessed.
const RANDOM_BYTES: usize = 32;
/// The length of [`RANDOM_BYTES`] in base64url without padding.
const STEM_LENGTH: usize = 43;
/// Longest extension a key may carry (`webp`, `jpeg`, `safetensors` is the longest in sight).
const EXTENSION_LENGTH: usize = 12;

/// The name of a stored file: 43 characters of base64url, a dot, an extension of 1 to 12 characters `a-z0-9`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobKey(String);

impl BlobKey {
    /// A new key from the operating system's seeded generator. The extension is lowered and stripped of all but
    /// `a-z0-9`; an empty one becomes `bin`.
    pub fn random(extension: &str) -> Self {
        let stem: [u8; RANDOM_BYTES] = rand::rng().random();
        let clean: String = extension
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(|&c| plain(c))
            .take(EXTENSION_LENGTH)
            .collect();
        let extension = if clean.is_empty() { "bin" } else { &clean };
        Self(format!("{}.{extension}", URL_SAFE_NO_PAD.encode(stem)))
    }

    /// Takes a key from outside, say from a URL.
    ///
    /// # Errors
    /// [`Error::BadKey`] for anything that [`BlobKey::random`] could not have made: no separators, no second dot,
    /// nothing that could leave the folder.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::BadKey { text: text.chars().take(80).collect() };
        let (stem, extension) = text.split_once('.').ok_or_else(bad)?;
        let good = stem.len() == STEM_LENGTH
            && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && (1..=EXTENSION_LENGTH).contains(&extension.len())
            && extension.chars().all(plain);
        if good { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the dot.
    pub fn extension(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, extension)| extension)
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BlobKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for BlobKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<BlobKey> for String {
    fn from(key: BlobKey) -> Self {
        key.0
    }
}

/// Whole files, written once and read often.
///
/// A file that no job names is kept for a while (an upload waiting for its job, see the home's options), then swept
/// away by [`JobStore::sweep`](crate::JobStore::sweep).
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores `bytes` whole or not at all; durable when it returns. A file already there under the key is replaced.
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<()>;

    /// Stores a file that is there already under a second name, without copying it where the disk can do that; `false`
    /// if there is no such file. Both live and end by themselves.
    async fn link(&self, from: &BlobKey, to: &BlobKey) -> Result<bool>;

    /// Opens the file for reading: it can be read to its end even if it is deleted meanwhile. With its length in bytes.
    async fn open(&self, key: &BlobKey) -> Result<Option<(File, u64)>>;

    /// The file, or `None` if there is none. Whether the job it belongs to still lives is not asked here: a public
    /// route asks [`JobStore::by_output`](crate::JobStore::by_output) first.
    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>>;

    /// Removes the file; nothing happens if there is none. Not for files that a live job names.
    async fn delete(&self, key: &BlobKey) -> Result<()>;

    /// All keys there are, in no particular order.
    async fn keys(&self) -> Result<Vec<BlobKey>>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn random_keys_are_keys_and_differ() {
        let keys: Vec<BlobKey> = (0..1000).map(|_| BlobKey::random("webp")).collect();
        for key in &keys {
            assert_eq!(BlobKey::parse(key.as_str()).unwrap(), *key);
            assert_eq!(key.extension(), "webp");
        }
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
        assert_eq!(BlobKey::random(".PN/g").extension(), "png");
        assert_eq!(BlobKey::random("../").extension(), "bin");
    }

    #[test]
    fn nothing_else_is_a_key() {
        let stem = "A".repeat(43);
        for text in [
            "".to_owned(),
            ".".to_owned(),
            "..".to_owned(),
            stem.clone(),
            format!("{stem}."),
            format!(".{stem}"),
            format!("{stem}.png.part"),
            format!("{stem}.PNG"),
            format!("{stem}.p g"),
            format!("{}.png", "A".repeat(42)),
            format!("{}.png", "A".repeat(44)),
            format!("../{}.png", "A".repeat(40)),
            format!("{}/{}.png", "A".repeat(21), "A".repeat(21)),
            format!("{}\u{e4}.png", "A".repeat(41)),
            format!("{stem}.abcdefghijklm"),
        ] {
            assert!(matches!(BlobKey::parse(&text), Err(Error::BadKey { .. })), "{text}");
            assert!(serde_json::from_value::<BlobKey>(serde_json::json!(text)).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_in_its_folder(text in "[A-Za-z0-9_-]{43}[.][a-z0-9]{1,12}|[A-Za-z0-9_./-]{43}[.][a-z0-9./]{1,12}|\\PC{0,60}") {
            if let Ok(key) = BlobKey::parse(&text) {
                let path = std::path::Path::new("blobs").join(key.as_str());
                prop_assert_eq!(path.components().count(), 2);
                prop_assert_eq!(path.file_name().unwrap().to_str().unwrap(), text);
            }
        }
    }
}
