//! What a request says of itself and not of the picture: how it is to be answered, and who is to be told.

use url::Url;

use crate::parameter::{Address, Described, Flag, Parameter as _};
use crate::request::Reader;

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// v1 only: answer `{"image": "<base64>"}` instead of the bytes. An old flag that is no parameter of the model;
    /// nonsense in it counts as no.
    pub base64: bool,
    /// Where the end of the job is to be told.
    pub webhook_url: Option<Url>,
}

pub(crate) const BASE64: Flag = Flag {
    name: "base64",
    description: "v1 only: answer JSON with the picture as base64 under `image`, instead of the bytes",
    default: false,
};

pub(crate) const WEBHOOK_URL: Address = Address {
    name: "webhook_url",
    description: "An addition of this server: a URL that is sent the result, or the reason of the failure, when the job is over; \
        for operators who have set `webhook_secret`",
};

impl Control {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let base64 = BASE64.read(reader.given.remove(BASE64.name)).unwrap_or(false);
        Some(Self { base64, webhook_url: reader.value(&WEBHOOK_URL)? })
    }

    pub(crate) fn described() -> [&'static dyn Described; 2] {
        [&BASE64, &WEBHOOK_URL]
    }
}
