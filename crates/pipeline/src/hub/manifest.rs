//! The list of downloadable weights: one small TOML file each under `models/`, compiled in.
//!
//! A manifest says where a file lives on the hub, what it weighs, its SHA-256 where it is known, and under which licence
//! it may be used. Files whose hash is not known beforehand are checked against the hash that the hub announces.

use std::sync::LazyLock;

use serde::Deserialize;

/// One downloadable file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name that profiles and the command line use.
    pub name: String,
    /// What it is, in one line.
    pub purpose: String,
    /// `owner/repository` on the hub.
    pub repository: String,
    /// Branch, tag or commit.
    #[serde(default = "main_branch")]
    pub revision: String,
    /// Path inside the repository.
    pub file: String,
    /// Size in bytes, where it is known exactly.
    pub size: Option<u64>,
    /// Size in bytes, roughly, where it is not: for people only.
    pub about: Option<u64>,
    /// Lower-case hexadecimal SHA-256, where it is known beforehand.
    pub sha256: Option<String>,
    /// The licence's name.
    pub licence: String,
    /// Where to read it.
    pub licence_url: String,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// The TOML sources, in the order they are listed to people.
const SOURCES: [&str; 14] = [
    include_str!("../../../../models/juggernaut-x.toml"),
    include_str!("../../../../models/sdxl-base.toml"),
    include_str!("../../../../models/sdxl-lightning-4step.toml"),
    include_str!("../../../../models/sdxl-vae-fp16-fix.toml"),
    include_str!("../../../../models/u2net.toml"),
    include_str!("../../../../models/clip-vit-h.toml"),
    include_str!("../../../../models/ip-adapter-sdxl-vit-h.toml"),
    include_str!("../../../../models/ip-adapter-plus-sdxl-vit-h.toml"),
    include_str!("../../../../models/t2i-adapter-depth.toml"),
    include_str!("../../../../models/t2i-adapter-lineart.toml"),
    include_str!("../../../../models/depth-anything-large.toml"),
    include_str!("../../../../models/lineart.toml"),
    include_str!("../../../../models/clip-tokenizer-vocabulary.toml"),
    include_str!("../../../../models/clip-tokenizer-merges.toml"),
];

/// Every manifest, in listing order. A source that does not parse is a fault of the build, caught by the tests.
static MANIFESTS: LazyLock<Vec<Manifest>> =
    LazyLock::new(|| SOURCES.iter().filter_map(|source| toml::from_str(source).ok()).collect());

/// Every known downloadable file.
#[must_use]
pub fn manifests() -> &'static [Manifest] {
    &MANIFESTS
}

/// The manifest of that name.
#[must_use]
pub fn manifest(name: &str) -> Option<&'static Manifest> {
    MANIFESTS.iter().find(|manifest| manifest.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_parses_and_names_are_unique() {
        for source in SOURCES {
            let parsed: Result<Manifest, _> = toml::from_str(source);
            assert!(parsed.is_ok(), "{:?} in {source}", parsed.err());
        }
        let mut names: Vec<_> = manifests().iter().map(|manifest| &manifest.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SOURCES.len());
    }

    #[test]
    fn hashes_are_lower_case_hexadecimal() {
        for manifest in manifests() {
            if let Some(hash) = &manifest.sha256 {
                assert_eq!(hash.len(), 64, "{}", manifest.name);
                assert!(
                    hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
                    "{}",
                    manifest.name
                );
            }
        }
    }
}
