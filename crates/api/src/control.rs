//! What a request says of itself and not of the picture: how it is to be answered, and who is to be told.

use url::Url;

use crate::parameter::{Address, Described, Flag, Parameter, ParameterKind as _};
use crate::request::Reader;

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// v1 only: answer `{"image": "<base64>"}` instead of the bytes. An old flag that is no parameter of the model;
    /// nonsense in it counts as no.
    pub base64: bool,
    /// Where the end of the job is to be told.
    pub webhook_url: Option<Url>,
    /// Only say whether it could be done, and do nothing.
    pub dry_run: bool,
    /// Remarks for the answer, a sentence each: fields that are not known.
    pub notes: Vec<String>,
}

pub(crate) const BASE64: Parameter<Flag> = Parameter {
    name: "base64",
    description: "v1 only: answer JSON with the picture as base64 under `image`, instead of the bytes",
    kind: Flag { default: false },
};

pub(crate) const WEBHOOK_URL: Parameter<Address> = Parameter {
    name: "webhook_url",
    description: "An addition of this server: a URL that is sent the result, or the reason of the failure, when the job is over; \
        for operators who have set `webhook_secret`",
    kind: Address,
};

pub(crate) const DRY_RUN: Parameter<Flag> = Parameter {
    name: "dry_run",
    description: "An addition of this server: check the request, fetch and decode its pictures, answer with what it would be done \
        with, and do nothing",
    kind: Flag { default: false },
};

/// How alike two names have to be for one to be meant by the other, 0 to 1.
const ALIKE: f64 = 0.85;

/// A sentence about each name that is not among `names`.
pub(crate) fn strays(strays: &[String], names: &[&str]) -> Vec<String> {
    let sentence = |stray: &String| {
        let likeness = |name: &&&str| strsim::jaro_winkler(&stray.to_ascii_lowercase(), name);
        let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match nearest.filter(|name| likeness(name) >= ALIKE) {
            Some(name) => format!("{stray} is not a parameter; did you mean {name}?"),
            None => format!("{stray} is not a parameter and was ignored"),
        }
    };
    strays.iter().map(sentence).collect()
}

impl Control {
    pub(crate) fn read(reader: &mut Reader<'_>, notes: Vec<String>) -> Option<Self> {
        let base64 = BASE64.kind.read(reader.given.remove(BASE64.name)).unwrap_or(false);
        let (webhook_url, dry_run) = (reader.value(&WEBHOOK_URL), reader.value(&DRY_RUN));
        Some(Self { base64, webhook_url: webhook_url?, dry_run: dry_run?, notes })
    }

    pub(crate) fn described() -> [&'static dyn Described; 3] {
        [&BASE64, &WEBHOOK_URL, &DRY_RUN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_a_parameter_is_named() {
        let said = |stray: &str| {
            strays(&[stray.to_owned()], &["steps", "seed", "prompt", "negative_prompt"]).remove(0)
        };
        assert_eq!(said("stepz"), "stepz is not a parameter; did you mean steps?");
        assert_eq!(said("Prompt"), "Prompt is not a parameter; did you mean prompt?");
        assert_eq!(
            said("negativePrompt"),
            "negativePrompt is not a parameter; did you mean negative_prompt?"
        );
        assert_eq!(said("scheduler"), "scheduler is not a parameter and was ignored");
        assert_eq!(said(""), " is not a parameter and was ignored");
    }
}
