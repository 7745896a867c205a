//! Where an SDXL profile's weights are: as the profile names them (`WeightFiles<String>`), and as they are found on this
//! machine (`WeightFiles<PathBuf>`).

use serde::Deserialize;

/// Where the weights are. In a profile each is a name of the model hub's list (`material-transfer models list`) or a path,
/// relative to the profile's folder; whoever makes the engine makes paths of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the names say it
pub struct WeightFiles<File = String> {
    pub checkpoint: File,
    /// Another autoencoder than the checkpoint's.
    pub vae: Option<File>,
    pub background: File,
    pub clip_vision: File,
    pub ip_adapter_medium: File,
    pub ip_adapter_strong: File,
    pub t2i_depth: File,
    pub t2i_lineart: File,
    pub depth: File,
    pub lineart: File,
    /// Networks that change a material's character; those that are not there cannot be asked for.
    #[serde(default = "EditFiles::none")]
    pub edits: EditFiles<File>,
    /// Merged into the checkpoint at load, in this order.
    #[serde(default = "Vec::new")]
    pub loras: Vec<LoraFile<File>>,
}

/// Networks that change one property of a material each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the names say it
pub struct EditFiles<File = String> {
    pub roughness: Option<File>,
    pub metallic: Option<File>,
    pub transparency: Option<File>,
    pub glow: Option<File>,
}

impl<File> EditFiles<File> {
    fn none() -> Self {
        Self { roughness: None, metallic: None, transparency: None, glow: None }
    }

    /// Each by its name.
    pub(crate) fn all(&self) -> [(&'static str, Option<&File>); 4] {
        let Self { roughness, metallic, transparency, glow } = self;
        [
            ("roughness", roughness.as_ref()),
            ("metallic", metallic.as_ref()),
            ("transparency", transparency.as_ref()),
            ("glow", glow.as_ref()),
        ]
    }
}

/// A LoRA and how strongly it is merged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraFile<File = String> {
    /// Name or path.
    pub file: File,
    /// Factor on its change; negative takes away.
    #[serde(default = "super::one")]
    pub strength: f64,
}

impl<File> WeightFiles<File> {
    /// Puts what `f` makes of a key and its file in every file's place.
    pub fn map<'a, To>(&'a self, mut f: impl FnMut(&'static str, &'a File) -> To) -> WeightFiles<To> {
        WeightFiles {
            checkpoint: f("checkpoint", &self.checkpoint),
            background: f("background", &self.background),
            clip_vision: f("clip_vision", &self.clip_vision),
            ip_adapter_medium: f("ip_adapter_medium", &self.ip_adapter_medium),
            ip_adapter_strong: f("ip_adapter_strong", &self.ip_adapter_strong),
            t2i_depth: f("t2i_depth", &self.t2i_depth),
            t2i_lineart: f("t2i_lineart", &self.t2i_lineart),
            depth: f("depth", &self.depth),
            lineart: f("lineart", &self.lineart),
            vae: self.vae.as_ref().map(|file| f("vae", file)),
            edits: EditFiles {
                roughness: self.edits.roughness.as_ref().map(|file| f("edits.roughness", file)),
                metallic: self.edits.metallic.as_ref().map(|file| f("edits.metallic", file)),
                transparency: self.edits.transparency.as_ref().map(|file| f("edits.transparency", file)),
                glow: self.edits.glow.as_ref().map(|file| f("edits.glow", file)),
            },
            loras: self
                .loras
                .iter()
                .map(|lora| LoraFile { file: f("loras", &lora.file), strength: lora.strength })
                .collect(),
        }
    }
}
