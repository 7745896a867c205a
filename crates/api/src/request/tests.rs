//! Whole requests: the edge cases of the contract, form and JSON agreeing, several bad fields at once.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

/// A good request with `changes` on top; `null` there means null, absence is not possible.
fn body(changes: &Value) -> Value {
    let picture = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(PNG));
    let mut body = json!({ "material_image": picture, "subject_image": "https://example.org/bird.png" });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn read(changes: &Value) -> Result<TransferRequest, String> {
    Schema::default().from_json(body(changes).to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn defaults() {
    let request = read(&json!({})).unwrap();
    assert_eq!(request.pictures.material_image, Some(ImageSource::Inline(PNG.to_vec())));
    let expected = Parameters {
        prompt: "marble sculpture".into(),
        negative_prompt: String::new(),
        guidance_scale: 2.0,
        steps: 6,
        material_strength: MaterialStrength::Medium,
        max_width: 1920,
        max_height: 1920,
        output_format: OutputFormat::WebP,
        output_quality: 80,
        return_intermediate_images: false,
        seed: None,
        material_weight: 1.0,
        material_blend: 0.5,
        material_scale: 1.0,
        material_fit: MaterialFit::Crop,
        roughness: 0.0,
        metallic: 0.0,
        transparency: 0.0,
        glow: 0.0,
        mask_feather: 1.5,
        mask_invert: false,
        background: Background::Auto,
        provenance: true,
    };
    assert_eq!(request.parameters, expected);
    assert!(!request.control.base64);
    let nulls = json!({ "prompt": null, "negative_prompt": null, "guidance_scale": null, "steps": null, "seed": null,
        "material_strength": null, "max_width": null, "max_height": null, "output_format": null,
        "output_quality": null, "return_intermediate_images": null, "base64": null });
    assert_eq!(read(&nulls).unwrap().parameters, expected, "null is the default");
}

#[test]
fn bodies_that_are_no_object() {
    let refusal = |body: &[u8]| Schema::default().from_json(body).unwrap_err().to_string();
    for body in ["", "  \n", "[]", "\"x\"", "5", "null", "true"] {
        assert_eq!(refusal(body.as_bytes()), "Request body must be a JSON object", "{body:?}");
    }
    for body in [&b"{\"a\":"[..], b"{\"steps\": NaN}", b"{\"prompt\": \"\xff\"}", b"{'a': 1}", b"{} {}"] {
        assert!(refusal(body).starts_with("Request body is not valid JSON: "), "{body:?}");
    }
}

#[test]
fn error_texts() {
    let table = [
        (json!({ "material_image": null }), "material_image: field is required"),
        (json!({ "subject_image": "" }), "subject_image: field is required"),
        (json!({ "subject_image": " \n" }), "subject_image: field is required"),
        (json!({ "subject_image": 5 }), "subject_image: must be a URL, data URI or base64 string"),
        (json!({ "subject_image": [] }), "subject_image: must be a URL, data URI or base64 string"),
        (json!({ "subject_image": "!!" }), "subject_image: not a readable image"),
        (
            json!({ "subject_image": "file:///etc/hostname" }),
            "subject_image: URL must be a valid HTTP or HTTPS URL",
        ),
        (json!({ "steps": 6.5 }), "steps: must be an integer"),
        (json!({ "steps": 0 }), "steps: must be at least 1"),
        (json!({ "steps": 151 }), "steps: must be at most 150"),
        (json!({ "guidance_scale": 0.99 }), "guidance_scale: must be between 1 and 10"),
        (json!({ "guidance_scale": 10.01 }), "guidance_scale: must be between 1 and 10"),
        (json!({ "guidance_scale": "abc" }), "guidance_scale: must be a number"),
        (json!({ "material_strength": "STRONG" }), "material_strength: must be one of medium, strong"),
        (json!({ "output_format": "jpeg" }), "output_format: must be one of webp, jpg, png"),
        (json!({ "output_quality": 80.5 }), "output_quality: must be between 0 and 100"),
        (json!({ "max_width": 63 }), "max_width: must be at least 64"),
        (json!({ "max_height": 1e30 }), "max_height: must be an integer below 2147483648"),
        (json!({ "prompt": 5 }), "prompt: must be a string"),
        (json!({ "prompt": "x".repeat(10_001) }), "prompt: too long (at most 10000 characters)"),
        (json!({ "seed": -2 }), "seed: must be a non-negative integer or -1"),
        (json!({ "return_intermediate_images": "yes" }), "return_intermediate_images: must be a boolean"),
        (json!({ "return_intermediate_images": 2 }), "return_intermediate_images: must be a boolean"),
    ];
    for (changes, text) in table {
        assert_eq!(read(&changes), Err(text.to_owned()));
    }
}

#[test]
fn what_is_accepted() {
    let good = [
        json!({ "steps": "6" }),
        json!({ "guidance_scale": "2.5" }),
        json!({ "output_quality": 0 }),
        json!({ "max_width": 100_000 }),
        json!({ "prompt": "", "negative_prompt": "" }),
        json!({ "foo": 1, "samples": "1", "timeout": 5, "scheduler": null }),
        json!({ "seed": 17_123_564_234u64 }),
    ];
    for changes in good {
        assert!(read(&changes).is_ok(), "{changes}");
    }
    assert!(read(&json!({ "base64": true })).unwrap().control.base64);
    assert!(
        !read(&json!({ "base64": "maybe" })).unwrap().control.base64,
        "no parameter of the model: never an error"
    );
    assert!(read(&json!({ "return_intermediate_images": 1 })).unwrap().parameters.return_intermediate_images);
}

#[test]
fn the_first_bad_field_leads_and_all_are_listed() {
    let body = body(&json!({ "seed": "x", "subject_image": null, "steps": 0 })).to_string();
    let error = Schema::default().from_json(body.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "subject_image: field is required");
    let fields: Vec<_> = error.details().iter().map(|bad| bad.field).collect();
    assert_eq!(fields, ["subject_image", "steps", "seed"]);
    let replicate = json!({ "input": { "material_image": "x" } }).to_string();
    let error = Schema::default().from_json(replicate.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "material_image: field is required");
}

#[test]
fn the_last_duplicate_wins() {
    let with = body(&json!({})).to_string().replacen('{', "{\"steps\": \"bad\", \"steps\": 3, ", 1);
    assert_eq!(Schema::default().from_json(with.as_bytes()).unwrap().parameters.steps, 3);
    let text = |name: &str, value: &str| (name.to_owned(), FormValue::Text(value.to_owned()));
    let file = |name: &str| (name.to_owned(), FormValue::File(PNG.to_vec()));
    let form = vec![
        file("material_image"),
        file("subject_image"),
        text("subject_image", "http://h/x"),
        text("steps", "9"),
        text("steps", "4"),
    ];
    let request = Schema::default().from_form(form).unwrap();
    assert_eq!(request.parameters.steps, 4);
    assert!(matches!(request.pictures.subject_image, ImageSource::Url(_)));
}

/// Browsers and no-code tools send every field of a form, filled in or not.
#[test]
fn an_empty_field_of_a_form_is_none() {
    let form = |name: &str, value: &str| {
        let text = |name: &str, value: &str| (name.to_owned(), FormValue::Text(value.to_owned()));
        let pictures = [text("material_image", "http://h/m"), text("subject_image", "http://h/s")];
        Schema::default().from_form(pictures.into_iter().chain([text(name, value)]).collect())
    };
    let unsaid = form("base64", "").unwrap();
    for name in PLAIN.iter().filter(|name| !name.ends_with("prompt")) {
        assert_eq!(form(name, "").as_ref(), Ok(&unsaid), "{name}");
        assert_eq!(form(name, " ").as_ref(), Ok(&unsaid), "{name}");
    }
    assert_eq!(form("prompt", "").unwrap().parameters.prompt, "", "a text may be empty");
    assert_eq!(form("subject_image", "").unwrap_err().to_string(), "subject_image: field is required");
    assert_eq!(
        read(&json!({ "steps": "" })),
        Err("steps: must be an integer".to_owned()),
        "JSON is meant as it is"
    );
}

#[test]
fn an_operator_may_cap_the_steps() {
    let schema = Schema::new(Limits { max_steps: 4, ..Limits::default() });
    let with = |changes: &Value| schema.from_json(body(changes).to_string().as_bytes());
    assert_eq!(with(&json!({})).unwrap().parameters.steps, 4, "the default keeps to the cap");
    assert_eq!(with(&json!({ "steps": 5 })).unwrap_err().to_string(), "steps: must be at most 4");
}

proptest! {
    /// A form says the same as an object with the same values.
    #[test]
    fn form_and_json_agree(
        steps in -3i64..160, guidance in -1.0f64..12.0, quality in -2i64..103, width in 0i64..300,
        strength in "medium|strong|weak", format in "webp|jpg|png|gif", flag in "true|False|0|1|yes",
        seed in prop_oneof![Just("-1".to_owned()), any::<u64>().prop_map(|s| s.to_string()), "[a-z]{1,3}"],
        prompt in "\\PC{0,20}",
    ) {
        let numbers = json!({ "steps": steps, "guidance_scale": guidance, "output_quality": quality, "max_width": width,
            "material_strength": strength, "output_format": format, "return_intermediate_images": flag, "seed": seed,
            "prompt": prompt });
        let json = body(&numbers);
        let form = json.as_object().unwrap().iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), FormValue::Text(text))
        });
        let schema = Schema::default();
        prop_assert_eq!(schema.from_form(form.collect()), schema.from_json(json.to_string().as_bytes()));
    }

    /// What is accepted is in range, whatever the body.
    #[test]
    fn accepted_means_in_range(name in "steps|guidance_scale|output_quality|max_width|max_height", value in any::<f64>()) {
        if let Ok(request) = read(&json!({ name: value })) {
            let p = request.parameters;
            prop_assert!((1..=150).contains(&p.steps) && (1.0..=10.0).contains(&p.guidance_scale));
            prop_assert!(p.output_quality <= 100 && p.max_width >= 64 && p.max_height >= 64);
        }
    }

    /// Parameters survive the job store unchanged.
    #[test]
    fn parameters_round_trip(seed in proptest::option::of(any::<u64>()), guidance in 1.0f64..10.0) {
        let mut parameters = read(&json!({})).unwrap().parameters;
        (parameters.seed, parameters.guidance_scale) = (seed, guidance);
        let stored = serde_json::to_string(&parameters).unwrap();
        prop_assert_eq!(serde_json::from_str::<Parameters>(&stored).unwrap(), parameters);
    }
}

/// `UPDATE_DOCUMENTS=1 cargo test -p api documents` writes it anew.
#[test]
fn documents_are_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- parameters: generated -->\n", "<!-- end of parameters -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table = "| name | kind | default | allowed | |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for facts in Schema::default().facts() {
        let default = match facts.default.as_deref() {
            None => "required".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let (name, kind, allowed) = (facts.name, facts.kind.name(), facts.allowed);
        table += &format!("| `{name}` | {kind} | {default} | {allowed} | {} |\n", facts.description);
    }
    let fresh = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == fresh,
        "docs/api.md is stale; run: UPDATE_DOCUMENTS=1 cargo test -p api documents"
    );
}

#[test]
fn regions_and_their_materials() {
    let url = |name: &str| format!("https://example.org/{name}.png");
    let bare = |extra: Value| {
        let mut body = json!({ "subject_image": url("s") });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Schema::default().from_json(body.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    let request = read(&json!({ "masks": [url("a"), url("b")], "subject_mask": null })).unwrap();
    assert_eq!(
        (request.pictures.masks.len(), request.pictures.materials.len()),
        (2, 0),
        "one material for both"
    );
    let paired = bare(json!({ "masks": [url("a"), url("b")], "materials": [url("c"), url("d")] })).unwrap();
    assert_eq!((paired.pictures.material_image, paired.pictures.materials.len()), (None, 2));
    let both = json!({ "masks": [url("a")], "materials": [url("b")], "material_image": "nonsense" });
    assert_eq!(bare(both).unwrap().pictures.material_image, None, "generated clients send it all the same");
    assert_eq!(bare(json!({ "masks": url("a"), "materials": url("b") })).unwrap().pictures.masks.len(), 1);
    for (extra, refusal) in [
        (json!({}), "material_image: field is required"),
        (json!({ "masks": [url("a")], "materials": [] }), "material_image: field is required"),
        (
            json!({ "masks": [url("a")], "materials": [url("b"), url("c")] }),
            "materials: one for each of masks",
        ),
        (json!({ "materials": [url("b")] }), "materials: one for each of masks: there are 0 masks"),
        (
            json!({ "materials": [url("b"), url("c")], "masks": [url("a"), 5] }),
            "masks: number 2: must be a URL",
        ),
        (json!({ "masks": {}, "material_image": url("m") }), "masks: must be a list of pictures"),
        (json!({ "masks": vec![url("a"); 5], "material_image": url("m") }), "masks: at most 4"),
        (json!({ "masks": vec![url("a"); 5000], "material_image": url("m") }), "masks: at most 4"),
        (
            json!({ "masks": [url("a")], "subject_mask": url("b"), "material_image": url("m") }),
            "subject_mask: give either",
        ),
        (
            json!({ "masks": [url("a")], "materials": [url("b")], "blend_image": url("m") }),
            "blend_image: is for one material",
        ),
    ] {
        let said = bare(extra.clone()).unwrap_err();
        assert!(said.starts_with(refusal), "{extra}: {said}");
    }
}

#[test]
fn a_form_repeats_the_fields_of_a_list() {
    let file = |name: &str| (name.to_owned(), FormValue::File(PNG.to_vec()));
    let text = |name: &str, value: &str| (name.to_owned(), FormValue::Text(value.to_owned()));
    let form =
        vec![file("subject_image"), file("masks[]"), file("masks[]"), file("materials"), file("materials")];
    let request = Schema::default().from_form(form).unwrap();
    assert_eq!((request.pictures.masks.len(), request.pictures.materials.len()), (2, 2));
    let blank =
        vec![file("subject_image"), file("material_image"), text("masks", ""), text("subject_mask", " ")];
    let request = Schema::default().from_form(blank).unwrap();
    assert_eq!(
        (request.pictures.masks.len(), request.pictures.subject_mask),
        (0, None),
        "as browsers send empty fields"
    );
    let many = std::iter::repeat_with(|| file("masks"))
        .take(200)
        .chain([file("subject_image"), file("material_image")]);
    let refusal = Schema::default().from_form(many.collect()).unwrap_err().to_string();
    assert_eq!(refusal, "masks: at most 4");
}

#[test]
fn parameters_of_an_earlier_version_are_read() {
    let stored = json!({ "prompt": "p", "steps": 3 });
    let read: Parameters = serde_json::from_value(stored).unwrap();
    assert_eq!(read, Parameters { prompt: "p".into(), steps: 3, ..Parameters::default() });
}
