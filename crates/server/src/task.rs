//! What a job says in the store: the task that goes in and the result that comes out, both JSON documents.

use std::collections::BTreeMap;

use api::{Parameters, Pictures};
use jobs::{BlobKey, Job};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::failure::Failure;

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Transfer a material.
    Transfer(Box<TransferTask>),
    /// Fail with this text: an invalid request, accepted because `validate_late` is on.
    Refuse(String),
}

/// A transfer with everything settled but the pictures, which are stored or still to be fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TransferTask {
    #[serde(flatten)]
    pub(crate) pictures: Pictures<ImageRef>,
    pub(crate) parameters: Parameters,
    /// Drawn on acceptance if the client gave none, so that a second run after a crash makes the same picture.
    pub(crate) seed: u64,
    /// Remarks on the request, for the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// Where an input picture is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImageRef {
    Blob(BlobKey),
    Url(Url),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TransferResult {
    /// The picture, then the intermediate ones.
    pub(crate) pictures: Vec<StoredPicture>,
    pub(crate) seed: u64,
    pub(crate) prompt: String,
    pub(crate) output_format: api::OutputFormat,
    /// Seconds from the claim to the stored result.
    pub(crate) inference_time: f64,
    pub(crate) stages: BTreeMap<String, f64>,
    pub(crate) ignored: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) cost: u64,
    /// What the key had left at the end; kept, so that the same question always gets the same answer.
    pub(crate) remaining_credits: u64,
}

impl TransferResult {
    /// The stored result of a job that is COMPLETED.
    ///
    /// # Errors
    /// An internal error, with the reason in the log, if there is none or it cannot be read.
    pub(crate) fn of(job: &Job) -> Result<Self, Failure> {
        let stored = job.result.as_ref().ok_or_else(Failure::internal)?;
        Self::deserialize(stored).map_err(|error| {
            tracing::error!(id = %job.id, %error, "a stored result cannot be read");
            Failure::internal()
        })
    }
}

/// What is kept of an upload: the size of each of its files (width, height), in pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) sizes: Vec<(u32, u32)>,
}

/// The size of a picture (width, height) that a job keeps, as far as it says.
pub(crate) fn size_of(job: &Job, key: &BlobKey) -> Option<(u32, u32)> {
    let result = job.result.as_ref()?;
    if let Ok(upload) = Upload::deserialize(result) {
        let at = job.outputs.iter().position(|output| output == key)?;
        return upload.sizes.get(at).copied();
    }
    let result = TransferResult::deserialize(result).ok()?;
    let picture = result.pictures.iter().find(|picture| picture.key == *key)?;
    Some((picture.width, picture.height))
}

/// One stored picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredPicture {
    pub(crate) key: BlobKey,
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: usize,
}

#[cfg(test)]
mod tests {
    use pipeline::{Settings, Strength};

    use super::*;

    /// Stored documents of one version are read by the next; a changed field name would lose jobs over an update.
    #[test]
    fn the_stored_form_is_fixed() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.png";
        let stored = serde_json::json!({ "transfer": {
            "material_image": { "blob": key }, "subject_image": { "url": "http://h/x" }, "seed": u64::MAX,
            "parameters": { "prompt": "p", "negative_prompt": "", "guidance_scale": 2.5, "steps": 6,
                "material_strength": "strong", "max_width": 64, "max_height": 65, "output_format": "jpg",
                "output_quality": 80, "return_intermediate_images": true, "seed": null },
        } });
        let task: Task = serde_json::from_value(stored.clone()).unwrap();
        let again = serde_json::to_value(&task).unwrap();
        for (name, value) in stored["transfer"].as_object().unwrap() {
            if name != "parameters" {
                assert_eq!(&again["transfer"][name], value, "{name}");
            }
        }
        for (name, value) in stored["transfer"]["parameters"].as_object().unwrap() {
            assert_eq!(
                &again["transfer"]["parameters"][name], value,
                "{name}: later versions only add to it"
            );
        }
        let Task::Transfer(task) = task else { panic!("another task") };
        let settings = Settings::of(&task.parameters, task.seed);
        assert_eq!(
            (settings.strength, settings.seed, settings.intermediates),
            (Strength::Strong, u64::MAX, true)
        );
        assert_eq!(
            serde_json::to_value(Task::Refuse("why".into())).unwrap(),
            serde_json::json!({ "refuse": "why" })
        );
    }
}
