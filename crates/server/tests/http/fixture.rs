//! A server on a temporary folder, an engine that does little but does it for real, and requests to it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, Request, StatusCode};
use image::{Rgb, RgbImage};
use pipeline::{
    Cancel, Engine, Error, Intermediate, Outcome, OutputFormat, Picture, PictureError, Progress, Transfer,
};
use serde_json::{Value, json};
use server::{App, Config, EngineFactory, Workers};
use tower::ServiceExt as _;

/// Inverts the subject, tints it with the material's first pixel and the seed, and keeps to the size limits. The prompt
/// may be an order: `sleep 300` (milliseconds, in steps that can be cancelled), `fail`, `panic`, `refuse`.
pub(crate) struct Inverter;

impl Engine for Inverter {
    fn name(&self) -> &'static str {
        "inverter"
    }

    fn interruptible(&self) -> bool {
        true
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        let settings = &transfer.settings;
        match settings.prompt.split_once(' ').unwrap_or((&settings.prompt, "")) {
            ("sleep", milliseconds) => {
                let steps = milliseconds.parse::<usize>().unwrap() / 10;
                for step in 0..steps {
                    cancel.check()?;
                    std::thread::sleep(Duration::from_millis(10));
                    progress.advance("sleep", step + 1, steps);
                }
            }
            ("fail", _) => {
                let path = "/secret/path".into();
                return Err(Error::File { path, source: std::io::Error::other("a secret") });
            }
            ("panic", _) => panic!("an order"),
            ("refuse", _) => {
                return Err(Error::Picture { field: "material_image", source: PictureError::Unreadable });
            }
            _ => {}
        }
        let (width, height) = transfer.subject().rgb.dimensions();
        let ratio = (f64::from(settings.max_width) / f64::from(width))
            .min(f64::from(settings.max_height) / f64::from(height))
            .min(1.0);
        let side = |length: u32| ((f64::from(length) * ratio).round() as u32).max(1);
        let regions = transfer.pictures.regions();
        let tint = regions.first().map_or([0; 3], |region| region.material.rgb.get_pixel(0, 0).0);
        let seed = settings.seed.to_le_bytes();
        let out = RgbImage::from_fn(side(width), side(height), |x, y| {
            let at = |length: u32, i: u32| ((f64::from(i) / ratio) as u32).min(length - 1);
            let pixel = transfer.subject().rgb.get_pixel(at(width, x), at(height, y)).0;
            let noise = seed[((x + y) % 8) as usize];
            Rgb([0, 1, 2].map(|c| (255 - pixel[c]).wrapping_add(tint[c] / 8).wrapping_add(noise)))
        });
        let mask = Picture::opaque(RgbImage::from_pixel(out.width(), out.height(), Rgb([255; 3])));
        let intermediates =
            if settings.intermediates { vec![Intermediate { name: "mask", picture: mask }] } else { vec![] };
        Ok(Outcome {
            picture: Picture::opaque(out),
            composite: false,
            intermediates,
            timings: vec![("invert", Duration::from_millis(1))],
            ignored: vec!["negative_prompt"],
            notes: vec!["größer wäre schöner".to_owned()],
        })
    }
}

/// Makes [`Inverter`]s.
pub(crate) fn inverter() -> EngineFactory {
    Arc::new(|_| Ok(Arc::new(Inverter) as Arc<dyn Engine>))
}

/// A server in process.
pub(crate) struct Bench {
    pub(crate) app: Arc<App>,
    router: Router,
    pub(crate) folder: tempfile::TempDir,
    _workers: Option<Workers>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// The error text, of an answer that is one: JSON with a string under `error`, and a request id.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.header("content-type"), "application/json");
        let error = self.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(!error.is_empty(), "{self:?}");
        error
    }

    pub(crate) fn picture(&self) -> RgbImage {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        image::load_from_memory(&self.bytes).unwrap().to_rgb8()
    }
}

impl Bench {
    /// A server with workers, on a new folder, with these settings on top of the defaults.
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(folder, settings, true)
    }

    /// The same with nobody to do the work.
    pub(crate) fn idle(settings: &str) -> Self {
        Self::on(tempfile::tempdir().unwrap(), settings, false)
    }

    pub(crate) fn on(folder: tempfile::TempDir, settings: &str, works: bool) -> Self {
        let app = App::open(config(&folder, settings)).unwrap();
        let workers = works.then(|| Workers::start(&app, &inverter()).unwrap());
        Self { router: server::app(app.clone()), app, folder, _workers: workers }
    }

    /// Stops it; what is in its folder is there for the next one.
    pub(crate) fn close(self) -> tempfile::TempDir {
        let Self { app, router, folder, _workers } = self;
        drop((router, _workers));
        let last = Arc::try_unwrap(app);
        assert!(last.is_ok(), "nobody else holds the stores");
        folder
    }

    /// Drops it whatever is still under way; what is in its folder is there for the next one once all that has ended.
    pub(crate) fn abandon(self) -> tempfile::TempDir {
        self.folder
    }

    /// Requests to a state that is already there.
    pub(crate) fn around(app: Arc<App>) -> Self {
        Self { router: server::app(app.clone()), app, folder: tempfile::tempdir().unwrap(), _workers: None }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        assert!(parts.headers.contains_key("x-request-id"), "every answer has one: {parts:?}");
        assert!(!parts.status.is_redirection() || parts.status == StatusCode::NOT_MODIFIED, "{parts:?}");
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A call with the key `K`.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Body) -> Answer {
        let json = ("content-type", "application/json");
        self.send(request(method, path, &[("x-api-key", "K"), json], body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body.to_string().into()).await
    }

    pub(crate) async fn v1(&self, changes: Value) -> Answer {
        self.post("/v1/material-transfer", &ok(changes)).await
    }

    pub(crate) async fn v2(&self, changes: Value) -> Answer {
        self.post("/v2/material-transfer", &ok(changes)).await
    }

    /// GET with the key, of a path or an absolute URL of this server.
    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.call("GET", url.strip_prefix("http://bench:8000").unwrap_or(url), Body::empty()).await
    }

    /// Submits to v2 and polls until it is over.
    pub(crate) async fn run(&self, changes: Value) -> (Value, Answer) {
        let submitted = self.v2(changes).await.json();
        let url = submitted["status_url"].as_str().unwrap().to_owned();
        for _ in 0..2000 {
            let status = self.get(&url).await;
            if ["COMPLETED", "FAILED"].contains(&status.json()["status"].as_str().unwrap()) {
                return (submitted, status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never over: {submitted}");
    }
}

pub(crate) fn config(folder: &tempfile::TempDir, settings: &str) -> Config {
    let mut config: Config = toml::from_str(settings).unwrap();
    config.data_dir = folder.path().to_owned();
    config
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "bench:8000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A PNG with a gradient; `shade` tells pictures apart.
pub(crate) fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| Rgb([(x % 256) as u8, (y % 256) as u8, shade]));
    Picture::opaque(picture).encode(OutputFormat::Png, 80).unwrap()
}

pub(crate) fn data_uri(file: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(file))
}

/// The good request of the conformance cases, with changes; a change to `"absent"` takes the field away.
pub(crate) fn ok(changes: Value) -> Value {
    let mut body = json!({
        "material_image": data_uri(&png(96, 128, 200)), "subject_image": data_uri(&png(160, 96, 40)),
        "steps": 1, "seed": 7, "max_width": 128, "max_height": 128, "output_format": "png",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value == "absent" {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body
}

/// Two keys, and pictures from the loopback allowed.
pub(crate) const KEYS: &str = "api_key = [\"K\", \"K2\"]\nfetch_allow = [\"127.0.0.0/8\"]\n";

/// A host of pictures on the loopback: `/material.png`, `/subject.png`, `/page.html`, and `/packed.png` and `/bomb.png` in
/// gzip; all else is 404.
pub(crate) async fn picture_host() -> String {
    use axum::routing::get;
    let packed = |file: &[u8]| {
        use std::io::Write as _;
        let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packing.write_all(file).unwrap();
        let packed = packing.finish().unwrap();
        move || async move { ([("content-encoding", "gzip")], packed) }
    };
    let pictures = Router::new()
        .route("/packed.png", get(packed(&png(160, 96, 40))))
        .route("/bomb.png", get(packed(&[&png(160, 96, 40)[..], &vec![0; 80 << 20]].concat())))
        .route("/material.png", get(async || png(96, 128, 200)))
        .route("/subject.png", get(async || png(160, 96, 40)))
        .route("/page.html", get(async || "<!doctype html><title>this is a page and no picture</title>"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, pictures).await });
    format!("http://{address}")
}
