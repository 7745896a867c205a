//! The bodies of answers: submitted, status, result, and the small ones. Field order is the order on the wire, so equal
//! answers are equal bytes.

use schemars::JsonSchema;
use serde::Serialize;

/// Answer of `POST /v2/{slug}`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Submitted {
    /// The job.
    #[schemars(example = &"2c7f59ea-13f1-402c-9353-915a2b5a2124")]
    pub request_id: String,
    /// Always `QUEUED`, even if a worker is free.
    #[schemars(extend("const" = "QUEUED"))]
    pub status: &'static str,
    /// Absolute.
    #[schemars(extend("format" = "uri"))]
    pub status_url: String,
    /// Absolute.
    #[schemars(extend("format" = "uri"))]
    pub response_url: String,
    /// Absolute; the v1 form of `response_url`.
    #[schemars(extend("format" = "uri"))]
    pub poll_url: String,
    /// Absolute; the stream of events, with a ticket in place of a key.
    #[schemars(extend("format" = "uri"))]
    pub events_url: String,
    /// Jobs before this one.
    pub queue_position: usize,
}

/// How long things took, in seconds, and what they cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Metrics {
    /// Seconds of computation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub inference_time: Option<f64>,
    /// From submission to the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub queue_time: Option<f64>,
    /// From submission to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    pub total_time: Option<f64>,
    /// In credits; on success only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub cost: Option<u64>,
    /// What the key has left; on success only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub remaining_credits: Option<u64>,
    /// Only after a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    pub retry_count: Option<u32>,
}

/// Answer of the status routes, and of the result routes while there is no result.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    /// `QUEUED`, `PROCESSING`, `COMPLETED` or `FAILED`.
    #[schemars(extend("enum" = ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]))]
    pub status: &'static str,
    /// The job.
    #[schemars(example = &"2c7f59ea-13f1-402c-9353-915a2b5a2124")]
    pub request_id: String,
    /// Absolute; absent when FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "uri"))]
    pub status_url: Option<String>,
    /// Absolute; absent when FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "uri"))]
    pub response_url: Option<String>,
    /// Why it failed; only and always when FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub error: Option<String>,
    /// Jobs before this one, while QUEUED.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub queue_position: Option<usize>,
    /// 0 to 1, while PROCESSING.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f32", range(min = 0, max = 1))]
    pub progress: Option<f32>,
    /// Seconds until it is over, estimated from the latest jobs, while it waits or runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub eta_seconds: Option<u64>,
    /// How far its end has been told, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Webhook")]
    pub webhook: Option<Webhook>,
    /// Empty until the job is over.
    pub metrics: Metrics,
}

/// What has become of the message to `webhook_url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Webhook {
    /// `pending`, `delivered`, or `failed` after the last try.
    #[schemars(extend("enum" = ["pending", "delivered", "failed"]))]
    pub state: &'static str,
    /// What was tried, the latest last.
    pub tries: Vec<Delivery>,
    /// When it is tried again, ISO 8601 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub next_try_at: Option<String>,
}

/// One try to deliver a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Delivery {
    /// When, ISO 8601 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// `HTTP 200`, or why there was no answer.
    pub outcome: String,
}

/// Answer of both POST routes with `dry_run`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DryRun {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub dry_run: bool,
    /// All parameters as they would count: defaults filled in, the size held to the server's limit. `seed` is null where one
    /// would be drawn.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub parameters: serde_json::Value,
    /// The pictures, which can be read.
    pub pictures: Vec<CheckedPicture>,
    /// What it would cost, in credits.
    pub cost: u64,
    /// Remarks, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A picture of a request that was fetched and decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckedPicture {
    /// The parameter that it came in.
    pub name: &'static str,
    /// Media type.
    pub content_type: &'static str,
    /// In bytes.
    pub file_size: usize,
    /// In pixels, upright.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// One job in a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Listed {
    /// Where it stands.
    #[serde(flatten)]
    pub status: Status,
    /// When it was accepted, ISO 8601 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub submitted_at: String,
}

/// Answer of `GET /v2/requests`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Requests {
    /// Newest first; without places in the queue, progress and estimates.
    pub requests: Vec<Listed>,
    /// What to send as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub next_cursor: Option<String>,
}

/// One picture of a result.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Image {
    /// Absolute, open to whoever knows it.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// Media type.
    pub content_type: &'static str,
    /// The last part of the URL.
    pub file_name: String,
    /// In bytes, as a string.
    pub file_size: String,
    /// `output`, `mask`, `subject_grey`, `depth`, `lineart`, `material` or `shading`.
    pub name: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Seconds of the parts of a transfer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Timings {
    /// The same as `metrics.inference_time`.
    pub inference: f64,
    /// Seconds of each stage.
    #[schemars(with = "std::collections::BTreeMap<String, f64>")]
    pub stages: serde_json::Map<String, serde_json::Value>,
}

/// Answer of the result routes when COMPLETED.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Completed {
    /// The job.
    #[schemars(example = &"2c7f59ea-13f1-402c-9353-915a2b5a2124")]
    pub request_id: String,
    /// `COMPLETED`.
    #[schemars(extend("const" = "COMPLETED"))]
    pub status: &'static str,
    /// The URL of the picture; always a string.
    #[schemars(extend("format" = "uri"))]
    pub output: String,
    /// The picture, then the intermediate ones if asked for.
    #[schemars(length(min = 1))]
    pub images: Vec<Image>,
    /// The seed used, in decimal.
    pub seed: String,
    /// The prompt used.
    pub prompt: String,
    /// Seconds.
    pub timings: Timings,
    /// Given parameters that this engine has no use for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Remarks, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Seconds and credits.
    pub metrics: Metrics,
}

/// The header `x-output-metadata`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputMetadata {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The word of `output_format`.
    pub format: &'static str,
    /// The seed used.
    pub seed: u64,
    /// URLs of all pictures, the final one first, if intermediate ones were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Given parameters that this engine has no use for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Remarks, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl OutputMetadata {
    /// Compact JSON of printable ASCII only, fit for a header.
    #[must_use]
    pub fn header(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut ascii = String::with_capacity(json.len());
        for c in json.chars() {
            if matches!(c, ' '..='~') {
                ascii.push(c);
            } else {
                let mut pair = [0; 2];
                for unit in c.encode_utf16(&mut pair) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        ascii
    }
}

/// Answer of `POST /v1/{slug}` with `base64: true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Base64Image {
    /// Standard alphabet, no prefix.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub image: String,
}

/// Answer of `GET /v1/get-user-credits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Credits {
    /// What the key has left.
    pub credits: u64,
}

/// Answer of `POST /upload-asset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Uploaded {
    /// In the order of the request, absolute.
    pub file_urls: Vec<String>,
    /// The same under the name that older clients read.
    pub urls: Vec<String>,
    /// One sentence.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_fits_a_header() {
        let metadata = OutputMetadata {
            width: 3,
            height: 4,
            format: "webp",
            seed: u64::MAX,
            images: vec![],
            ignored: vec!["prompt".into()],
            notes: vec!["größer – 𝄞\n".into()],
        };
        let header = metadata.header();
        assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)), "{header}");
        let back: serde_json::Value = serde_json::from_str(&header).unwrap();
        assert_eq!(back["notes"][0], "größer – 𝄞\n");
        assert_eq!(back["seed"], u64::MAX);
        assert!(back.get("images").is_none());
    }

    #[test]
    fn a_failed_status_has_no_urls_and_no_cost() {
        let failed = Status {
            status: "FAILED",
            request_id: "x".into(),
            status_url: None,
            response_url: None,
            error: Some("why".into()),
            queue_position: None,
            progress: None,
            eta_seconds: None,
            webhook: None,
            metrics: Metrics { inference_time: Some(0.5), ..Metrics::default() },
        };
        let json = serde_json::to_string(&failed).unwrap();
        assert_eq!(
            json,
            r#"{"status":"FAILED","request_id":"x","error":"why","metrics":{"inference_time":0.5}}"#
        );
    }
}
