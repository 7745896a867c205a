//! Dimensions of an SDXL profile's networks: the published ones, with what a profile's tables state in their place.

use networks::clip::text::ClipTextConfig;
use networks::clip::vision::ClipVisionConfig;
use networks::depth::DepthConfig;
use networks::ip_adapter::IpAdapterConfig;
use networks::line_art::LineArtConfig;
use networks::material_edit::MaterialEditConfig;
use networks::t2i_adapter::T2iConfig;
use networks::u2net::U2NetConfig;
use networks::unet::UNetConfig;
use networks::vae::VaeConfig;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

/// Dimensions of every network. A table in a profile states what differs; all else is as published.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // each says what it is in its own documentation
pub struct Dimensions {
    #[serde(deserialize_with = "unet")]
    pub unet: UNetConfig,
    #[serde(deserialize_with = "vae")]
    pub vae: VaeConfig,
    #[serde(deserialize_with = "clip_l")]
    pub clip_l: ClipTextConfig,
    #[serde(deserialize_with = "clip_g")]
    pub clip_g: ClipTextConfig,
    #[serde(deserialize_with = "clip_vision")]
    pub clip_vision: ClipVisionConfig,
    #[serde(deserialize_with = "ip_adapter_medium")]
    pub ip_adapter_medium: IpAdapterConfig,
    #[serde(deserialize_with = "ip_adapter_strong")]
    pub ip_adapter_strong: IpAdapterConfig,
    #[serde(deserialize_with = "t2i")]
    pub t2i: T2iConfig,
    #[serde(deserialize_with = "depth")]
    pub depth: DepthConfig,
    #[serde(deserialize_with = "lineart")]
    pub lineart: LineArtConfig,
    #[serde(deserialize_with = "background")]
    pub background: U2NetConfig,
    #[serde(deserialize_with = "material_edit")]
    pub material_edit: MaterialEditConfig,
}

impl Default for Dimensions {
    fn default() -> Self {
        Self {
            unet: UNetConfig::sdxl(),
            vae: VaeConfig::sdxl(),
            clip_l: ClipTextConfig::clip_l(),
            clip_g: ClipTextConfig::clip_g(),
            clip_vision: ClipVisionConfig::vit_h(),
            ip_adapter_medium: IpAdapterConfig::standard(),
            ip_adapter_strong: IpAdapterConfig::plus(),
            t2i: T2iConfig::xl(),
            depth: DepthConfig::large(),
            lineart: LineArtConfig::default(),
            background: U2NetConfig::u2net(),
            material_edit: MaterialEditConfig::default(),
        }
    }
}

/// `published` with the keys that a profile's table gives in its place; tables inside are merged likewise.
fn overlaid<T: Serialize + DeserializeOwned>(
    name: &str,
    published: &T,
    given: toml::Table,
) -> Result<T, String> {
    fn merge(base: &mut toml::Table, given: toml::Table) {
        for (key, value) in given {
            match (base.get_mut(&key), value) {
                (Some(toml::Value::Table(base)), toml::Value::Table(given)) => merge(base, given),
                (_, value) => drop(base.insert(key, value)),
            }
        }
    }
    let bad = |error: String| format!("dimensions.{name}: {}", error.trim_end());
    let mut table = toml::Table::try_from(published).map_err(|error| bad(error.to_string()))?;
    merge(&mut table, given);
    table.try_into().map_err(|error: toml::de::Error| bad(error.to_string()))
}

/// One reader for each network's table.
macro_rules! dimensions {
    ($($name:ident: $type:ty = $published:expr;)*) => {
        $(fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            let given = toml::Table::deserialize(deserializer)?;
            overlaid(stringify!($name), &$published, given).map_err(D::Error::custom)
        })*
    };
}

dimensions! {
    unet: UNetConfig = UNetConfig::sdxl();
    vae: VaeConfig = VaeConfig::sdxl();
    clip_l: ClipTextConfig = ClipTextConfig::clip_l();
    clip_g: ClipTextConfig = ClipTextConfig::clip_g();
    clip_vision: ClipVisionConfig = ClipVisionConfig::vit_h();
    t2i: T2iConfig = T2iConfig::xl();
    depth: DepthConfig = DepthConfig::large();
    lineart: LineArtConfig = LineArtConfig::default();
    background: U2NetConfig = U2NetConfig::u2net();
    material_edit: MaterialEditConfig = MaterialEditConfig::default();
}

fn ip_adapter_medium<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAdapterConfig, D::Error> {
    ip_adapter("ip_adapter_medium", IpAdapterConfig::standard(), deserializer)
}

fn ip_adapter_strong<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAdapterConfig, D::Error> {
    ip_adapter("ip_adapter_strong", IpAdapterConfig::plus(), deserializer)
}

/// An adapter's kind may be stated too; it decides which published dimensions the table is laid over.
fn ip_adapter<'de, D: Deserializer<'de>>(
    name: &str,
    usual: IpAdapterConfig,
    deserializer: D,
) -> Result<IpAdapterConfig, D::Error> {
    let given = toml::Table::deserialize(deserializer)?;
    let published = match given.get("kind").and_then(toml::Value::as_str) {
        Some("standard") => IpAdapterConfig::standard(),
        Some("plus") => IpAdapterConfig::plus(),
        _ => usual,
    };
    overlaid(name, &published, given).map_err(D::Error::custom)
}
