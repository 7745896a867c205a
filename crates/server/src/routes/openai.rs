//! `POST /v1/images/edits`: the same work in the words of OpenAI's API, for programs that are written for that. A form with two
//! pictures, the subject and then the material; the answer is JSON with the picture in it, or its URL.

use std::sync::Arc;

use api::{FormValue, RequestError};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jobs::Job;
use pipeline::Picture;
use serde_json::json;

use super::admission::{Accepted, account_headers};
use super::form::Fields;
use super::reading::Dialect;
use super::v1::{Made, picture};
use super::{files, stream};
use crate::failure::Failure;
use crate::state::{App, SLUG};
use crate::task::TransferResult;

/// The names that the pictures come under; a list of files is sent as `image[]`.
const IMAGES: [&str; 2] = ["image", "image[]"];
/// The other fields that are read. What else that API has (`model`, `quality`, `user` …) means nothing here.
const OTHERS: [&str; 8] =
    ["prompt", "size", "output_format", "output_compression", "response_format", "n", "stream", MASK];
/// Its transparent pixels are what is edited.
const MASK: &str = "mask";

/// What is wrong with a decoded picture of an edit: a mask has to say something by its transparency.
pub(super) fn unfit(field: &str, picture: &Picture) -> Option<RequestError> {
    let silent = field == "subject_mask" && picture.alpha.is_none();
    silent.then(|| RequestError::field(MASK, "has no transparent pixels; those are what gets the material"))
}

/// The fields of an edit.
pub(super) struct Edit;

impl Fields for Edit {
    fn knows(&self, name: &str) -> bool {
        IMAGES.contains(&name) || OTHERS.contains(&name)
    }

    fn repeats(&self, name: &str) -> bool {
        IMAGES.contains(&name)
    }
}

/// Says the same in this server's own words.
pub(super) fn translate(fields: Vec<(String, FormValue)>) -> Result<Vec<(String, FormValue)>, RequestError> {
    let (mut pictures, mut own) = (Vec::new(), Vec::new());
    let mut put = |name: &str, value: &str| own.push((name.to_owned(), FormValue::Text(value.to_owned())));
    let (mut format, mut inline, mut mask) = ("png".to_owned(), true, None);
    for (name, value) in fields {
        if IMAGES.contains(&name.as_str()) {
            pictures.push(value);
            continue;
        }
        if name == MASK && value != FormValue::Text(String::new()) {
            put("mask_invert", "true");
            mask = Some(value);
            continue;
        }
        let text = match value {
            FormValue::Text(text) => text,
            FormValue::File(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        match (name.as_str(), text.trim()) {
            (_, "")
            | ("size", "auto")
            | ("n", "1")
            | ("stream", "false")
            | ("response_format", "b64_json") => {}
            ("prompt", _) => put("prompt", &text),
            ("size", size) => {
                let bad =
                    || RequestError::field("size", "must be auto, or width and height such as 1024x1024");
                let (width, height) = size.split_once('x').ok_or_else(bad)?;
                put("max_width", width);
                put("max_height", height);
            }
            ("output_format", word) => format = if word == "jpeg" { "jpg" } else { word }.to_owned(),
            ("output_compression", quality) => put("output_quality", quality),
            ("response_format", "url") => inline = false,
            ("response_format", _) => {
                return Err(RequestError::field("response_format", "must be b64_json or url"));
            }
            ("n", _) => return Err(RequestError::field("n", "must be 1: a request makes one picture")),
            ("stream", _) => return Err(RequestError::field("stream", "must be false")),
            _ => {}
        }
    }
    put("output_format", &format);
    put("base64", if inline { "true" } else { "false" });
    let [subject, material] = <[FormValue; 2]>::try_from(pictures).map_err(|_| {
        RequestError::field("image", "must be two pictures: the subject, and then the material it is to get")
    })?;
    own.extend([("subject_image".to_owned(), subject), ("material_image".to_owned(), material)]);
    own.extend(mask.map(|mask| ("subject_mask".to_owned(), mask)));
    Ok(own)
}

/// The handler.
pub(super) async fn edit(State(app): State<Arc<App>>, mut request: Request) -> Response {
    take_bearer(request.headers_mut());
    let made = match picture(&app, SLUG, request, Dialect::OpenAi).await {
        Ok(made) => made,
        Err(failure) => return failure.for_openai(),
    };
    let answered = match made {
        Made::Picture(accepted, job) => answer(&app, &accepted, &job).await,
        Made::Tried(answer) => Ok(*answer),
    };
    answered.unwrap_or_else(Failure::for_openai)
}

/// Here a key comes as `Authorization: Bearer`, whether or not that is taken elsewhere.
fn take_bearer(headers: &mut HeaderMap) {
    let key = HeaderName::from_static("x-api-key");
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.split_once(' '));
    let token =
        bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    if let Some(Ok(token)) = token.map(HeaderValue::from_str)
        && !headers.contains_key(&key)
    {
        headers.insert(key, token);
    }
}

async fn answer(app: &App, accepted: &Accepted, job: &Job) -> Result<Response, Failure> {
    let result = TransferResult::of(job)?;
    let picture = result.pictures.first().ok_or_else(Failure::internal)?;
    let format =
        if result.output_format.extension() == "jpg" { "jpeg" } else { result.output_format.extension() };
    let created = job.finished_at.unwrap_or(0) / 1000;
    let size = format!("{}x{}", picture.width, picture.height);
    let mut response = if accepted.base64 {
        let (file, length) =
            app.blobs.open(&picture.key).await?.ok_or_else(|| Failure::no_request(&job.id.to_string()))?;
        let head = format!(
            "{{\"created\":{created},\"output_format\":\"{format}\",\"size\":\"{size}\",\"data\":[{{\"b64_json\":\""
        );
        let (length, body) = stream::base64(file, length, head, "\"}]}");
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        ([json, (header::CONTENT_LENGTH, length.into())], body).into_response()
    } else {
        let url = files::url(&accepted.base, &picture.key);
        let data = json!([{ "url": url }]);
        Json(json!({ "created": created, "output_format": format, "size": size, "data": data }))
            .into_response()
    };
    account_headers(app, &accepted.caller, job.id, response.headers_mut()).await;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> (String, FormValue) {
        (name.to_owned(), FormValue::Text(value.to_owned()))
    }

    fn image(name: &str, byte: u8) -> (String, FormValue) {
        (name.to_owned(), FormValue::File(vec![byte]))
    }

    #[test]
    fn the_words_of_the_one_are_those_of_the_other() {
        let fields = vec![
            image("image[]", 1),
            text("prompt", "gold"),
            text("size", "640x480"),
            image("image[]", 2),
            text("output_format", "jpeg"),
            text("output_compression", "70"),
            text("response_format", "url"),
            text("n", "1"),
        ];
        let own = [
            text("prompt", "gold"),
            text("max_width", "640"),
            text("max_height", "480"),
            text("output_quality", "70"),
            text("output_format", "jpg"),
            text("base64", "false"),
            image("subject_image", 1),
            image("material_image", 2),
        ];
        assert_eq!(translate(fields).unwrap(), own);
        let pair = || vec![image("image", 1), image("image", 2)];
        assert!(translate(pair()).unwrap().contains(&text("output_format", "png")));
        for (field, value) in [("n", "2"), ("stream", "true"), ("size", "large"), ("response_format", "x")] {
            let error = translate([pair(), vec![text(field, value)]].concat()).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        let masked = translate([pair(), vec![image("mask", 3)]].concat()).unwrap();
        assert!(masked.contains(&image("subject_mask", 3)) && masked.contains(&text("mask_invert", "true")));
        let unmasked = translate([pair(), vec![text("mask", "")]].concat()).unwrap();
        assert_eq!(unmasked, translate(pair()).unwrap(), "browsers send every field of a form");
        assert!(translate(vec![image("image", 1)]).unwrap_err().to_string().starts_with("image: "));
    }
}
