//! What people see: the playground at `/` and the API reference at `/docs`, with their files.
//!
//! Both pages are in the binary (`assets/playground`), take nothing from elsewhere, and read all they show from the OpenAPI
//! document. Programs that ask for the same paths get JSON.

use std::sync::Arc;
use std::sync::LazyLock;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::extract::Base;
use crate::failure::Failure;
use crate::state::{App, SLUG};

/// Scripts, styles and pictures from here alone, nothing inline; `blob:` and `data:` are the pictures people choose.
const ONLY_ITSELF: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
     base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
);

/// A file of the pages: its path under `/playground`, its media type, its bytes.
struct File {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal: $media_type:expr),+ $(,)?) => {
        &[$(File {
            path: $path,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../assets/playground/", $path)),
        }),+]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const JPEG: &str = "image/jpeg";

static FILES: &[File] = files! {
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "docs.js": SCRIPT,
    "dom.js": SCRIPT,
    "history.js": SCRIPT,
    "job.js": SCRIPT,
    "mask.js": SCRIPT,
    "pictures.js": SCRIPT,
    "regions.js": SCRIPT,
    "settings.js": SCRIPT,
    "snippets.js": SCRIPT,
    "examples/armchair.jpg": JPEG,
    "examples/bust.jpg": JPEG,
    "examples/pumpkin.jpg": JPEG,
    "examples/pumpkin-marble.jpg": JPEG,
    "examples/teapot.jpg": JPEG,
    "examples/copper.jpg": JPEG,
    "examples/malachite.jpg": JPEG,
    "examples/marble.jpg": JPEG,
    "examples/walnut.jpg": JPEG,
};

/// The same tag for all files: they change together, with the binary.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    FILES.iter().for_each(|file| digest.update(file.bytes));
    let digits: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
});

/// `/`: the playground for people, the way in for programs.
pub(super) async fn home(State(app): State<Arc<App>>, Base(base): Base, asked: HeaderMap) -> Response {
    let program = || {
        Json(json!({
            "name": "material-transfer",
            "version": env!("CARGO_PKG_VERSION"),
            "model": SLUG,
            "keyed": !app.keys.is_open(),
            "docs": format!("{base}/docs"),
            "openapi": format!("{base}/openapi.json"),
        }))
        .into_response()
    };
    page(&asked, include_str!("../../assets/playground/index.html"), &base, program)
}

/// `/docs`: the API reference for people, the OpenAPI document for programs.
pub(super) async fn docs(State(app): State<Arc<App>>, Base(base): Base, asked: HeaderMap) -> Response {
    let program = || Json(&app.openapi).into_response();
    page(&asked, include_str!("../../assets/playground/docs.html"), &base, program)
}

/// A file of the pages.
pub(super) async fn file(Path(path): Path<String>, asked: HeaderMap) -> Result<Response, Failure> {
    let file = FILES.iter().find(|file| file.path == path).ok_or_else(Failure::not_found)?;
    // Asked again each time, so that a page and its scripts are of one version after an update.
    let caching = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, TAG.as_str())];
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == TAG.as_bytes());
    if known {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, file.media_type)], file.bytes).into_response())
}

/// The page for whoever takes HTML, else what a program gets.
fn page(asked: &HeaderMap, html: &str, base: &str, program: impl FnOnce() -> Response) -> Response {
    let mut response = if takes_html(asked) {
        Html(html.replace("{base}", &path_of(base))).into_response()
    } else {
        program()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, ONLY_ITSELF);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Browsers name HTML; programs name JSON, anything, or nothing.
fn takes_html(asked: &HeaderMap) -> bool {
    let named = asked.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|each| {
        let mut parts = each.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        html && !parts.any(|parameter| parameter == "q=0")
    })
}

/// The path of a base URL, without a slash at the end and fit for an attribute of HTML: a page under another host name than
/// the configured one must still find its files beside itself.
fn path_of(base: &str) -> String {
    let path =
        base.split_once("://").map_or(base, |(_, rest)| rest).split_once('/').map_or("", |(_, path)| path);
    let safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~' | '%');
    let path: String = path.chars().filter(safe).collect();
    if path.is_empty() { path } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_are_told_apart() {
        let takes = |accept: &'static str| {
            takes_html(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(takes("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        for program in ["*/*", "application/json, text/plain, */*", "", "text/html;q=0, */*"] {
            assert!(!takes(program), "{program}");
        }
        assert!(!takes_html(&HeaderMap::new()));
    }

    #[test]
    fn paths_of_bases() {
        for (base, path) in [
            ("http://h:1", ""),
            ("https://h/api", "/api"),
            ("https://h/a/b", "/a/b"),
            ("http://h/\"><script>", "/script"),
        ] {
            assert_eq!(path_of(base), path, "{base}");
        }
    }

    /// Every file that a page or a script names is in the binary, and every one in the folder is served.
    #[test]
    fn all_files_are_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/playground");
        let mut found: Vec<String> = Vec::new();
        for entry in
            [folder.clone(), folder.join("examples")].iter().flat_map(|each| each.read_dir().unwrap())
        {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            if path.is_file() && !name.ends_with(".html") {
                found.push(name);
            }
        }
        let mut served: Vec<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        found.sort();
        served.sort();
        assert_eq!(found, served);
    }

    #[test]
    fn nothing_inline_and_nothing_from_elsewhere() {
        for page in [
            include_str!("../../assets/playground/index.html"),
            include_str!("../../assets/playground/docs.html"),
        ] {
            for bad in ["<style", "style=\"", " onclick", "src=\"http", "href=\"http", "<script>"] {
                assert!(!page.contains(bad), "{bad}");
            }
        }
    }
}
