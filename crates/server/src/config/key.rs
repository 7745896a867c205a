//! One API key of the configuration file.

use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Submit transfers and upload pictures.
    Transfer,
    /// Poll jobs and ask for credits.
    Read,
}

/// A `[[keys]]` section. The key itself is not in the file, only its SHA-256 (`printf %s KEY | sha256sum`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Whose key it is; jobs belong to this name.
    pub id: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: Digest,
    /// What it may do; both unless said otherwise.
    #[serde(default = "everything")]
    pub permissions: Vec<Permission>,
    /// The models it may use; all unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// How many transfers it may ever make. Failed ones do not count. No limit unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<u64>,
    /// Transfers a minute; 0 is no limit. The server's `requests_per_minute` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Its jobs are computed before all that wait of keys with a lower priority; 0 unless said otherwise.
    #[serde(default)]
    pub priority: i16,
    /// Known, but switched off.
    #[serde(default)]
    pub disabled: bool,
}

fn everything() -> Vec<Permission> {
    vec![Permission::Transfer, Permission::Read]
}

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("{text:?} is no SHA-256; make one with: printf %s KEY | sha256sum");
        let mut digest = [0; 32];
        hex::decode_to_slice(text.trim(), &mut digest).map_err(|_| bad())?;
        Ok(Self(digest))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex::encode(digest.0)
    }
}
