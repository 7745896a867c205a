//! The real binary on the example pictures: what it writes, what it prints, how it fails and how it stops.

#![allow(clippy::expect_used)] // helpers of tests are tests

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

/// The binary, without what the surroundings may have set for it.
fn material_transfer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MATERIAL_TRANSFER_") {
            command.env_remove(name);
        }
    }
    command
}

/// A small, quick transfer of marble onto the pumpkin, written to `output` inside `folder`.
fn marble_pumpkin(folder: &TempDir, output: &str) -> Command {
    let mut command = material_transfer();
    command.current_dir(folder.path()).arg("transfer");
    command.arg("--subject").arg(example("subjects/pumpkin.jpg"));
    command.arg("--material").arg(example("materials/marble.jpg"));
    command.args(["--output", output, "--max-width", "160", "--max-height", "160", "--steps", "1"]);
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

/// Runs what must succeed.
fn done(command: &mut Command) -> Output {
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Runs what must be refused, and gives the complaint.
fn refused(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    text(&output.stderr)
}

fn open(path: &Path) -> RgbImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8()
}

#[test]
fn as_many_threads_compute_as_are_asked_for_and_the_bytes_are_the_same() {
    let bytes = |threads: &str| {
        let folder = folder();
        done(marble_pumpkin(&folder, "out.png").args(["--seed", "7", "--threads", threads]));
        std::fs::read(folder.path().join("out.png")).expect("written")
    };
    assert_eq!(bytes("1"), bytes("3"));
    let error = refused(marble_pumpkin(&folder(), "out.png").args(["--threads", "many"]));
    assert!(error.contains("--threads"), "{error}");
}

#[test]
fn a_picture_is_written_and_the_json_tells_all_about_it() {
    let folder = folder();
    let mut command = marble_pumpkin(&folder, "out.png");
    command.args(["--json", "--seed", "7", "--return-intermediate-images", "--prompt", "a marble pumpkin"]);
    let output = done(&mut command);
    assert!(output.stderr.is_empty(), "quiet with --json: {}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["output"], "out.png");
    assert_eq!([&report["width"], &report["height"]], [160, 160]);
    assert_eq!(report["format"], "png");
    assert_eq!(report["seed"], 7);
    assert_eq!(report["engine"], "exemplar");
    assert_eq!(report["ignored"], serde_json::json!(["prompt"]));
    assert!(report["timings"]["total"].as_f64().expect("seconds") > 0.0);

    let result = open(&folder.path().join("out.png"));
    assert_eq!(result.dimensions(), (160, 160));
    let names: Vec<&str> = report["intermediates"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(names[0], "mask");
    for name in &names {
        assert!(open(&folder.path().join(format!("out.{name}.png"))).width() > 0, "{name}");
    }
    assert_eq!(files(&folder).len(), 1 + names.len(), "nothing else is left: {:?}", files(&folder));
}

#[test]
fn the_subject_changes_and_nothing_around_it() {
    let folder = folder();
    let mut command = marble_pumpkin(&folder, "out.png");
    done(command.args(["--return-intermediate-images", "--trace", "trace"]));
    let result = open(&folder.path().join("out.png"));
    let mask = open(&folder.path().join("out.mask.png"));
    let trace = folder.path().join("trace");
    let first = std::fs::read_dir(&trace).expect("a trace").count();
    assert!(first >= 3, "{first} files");
    // The subject at the size of the output, through the same door as the result's background.
    let mut unchanged = material_transfer();
    unchanged.current_dir(folder.path()).arg("transfer");
    unchanged.arg("--subject").arg(example("subjects/pumpkin.jpg"));
    unchanged.arg("--material").arg(example("materials/copper.jpg"));
    unchanged.args(["--output", "other.png", "--max-width", "160", "--max-height", "160", "--steps", "1"]);
    done(&mut unchanged);
    let other = open(&folder.path().join("other.png"));
    let (mut inside, mut changed) = (0, 0);
    for ((x, y, pixel), shade) in result.enumerate_pixels().zip(mask.pixels()) {
        if shade.0[0] == 255 {
            inside += 1;
            changed += u32::from(pixel != other.get_pixel(x, y));
        }
    }
    assert!(inside > 160 * 160 / 20, "a subject of {inside} pixels");
    assert!(changed * 10 > inside * 9, "marble and copper differ in {changed} of {inside} pixels");
    // The corners belong to the background in this picture.
    for (x, y) in [(0, 0), (159, 0), (0, 159), (159, 159)] {
        assert_eq!(result.get_pixel(x, y), other.get_pixel(x, y));
    }
}

#[test]
fn a_seed_repeats_the_bytes() {
    let folder = folder();
    let bytes = |name: &str, seed: &str| {
        done(marble_pumpkin(&folder, name).args(["--seed", seed]));
        std::fs::read(folder.path().join(name)).expect("written")
    };
    let first = bytes("one.webp", "5");
    assert_eq!(&first[..4], b"RIFF");
    assert_eq!(first, bytes("two.webp", "5"));
    assert_ne!(first, bytes("three.webp", "6"));
}

#[test]
fn a_random_seed_is_told_and_repeats_the_picture() {
    let folder = folder();
    let said = text(&done(&mut marble_pumpkin(&folder, "one.jpg")).stdout);
    let (_, behind) = said.split_once("seed ").expect("the seed is printed");
    let seed: String = behind.chars().take_while(char::is_ascii_digit).collect();
    assert!(said.starts_with("one.jpg: 160×160"), "{said}");
    done(marble_pumpkin(&folder, "two.jpg").args(["--seed", &seed]));
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("written");
    assert_eq!(read("one.jpg"), read("two.jpg"));
}

#[test]
fn options_may_come_from_the_environment() {
    let folder = folder();
    let mut command = material_transfer();
    command.current_dir(folder.path()).arg("transfer");
    command.env("MATERIAL_TRANSFER_SUBJECT", example("subjects/pumpkin.jpg"));
    command.env("MATERIAL_TRANSFER_MATERIAL", example("materials/marble.jpg"));
    command.env("MATERIAL_TRANSFER_OUTPUT", "out");
    command.env("MATERIAL_TRANSFER_OUTPUT_FORMAT", "jpg");
    command.env("MATERIAL_TRANSFER_MAX_WIDTH", "100").env("MATERIAL_TRANSFER_STEPS", "1");
    command.env("MATERIAL_TRANSFER_JSON", "1");
    let report: Value = serde_json::from_slice(&done(&mut command).stdout).expect("JSON");
    assert_eq!([&report["width"], &report["format"]], [&serde_json::json!(100), &serde_json::json!("jpg")]);
    assert_eq!(&std::fs::read(folder.path().join("out")).expect("written")[..3], [0xFF, 0xD8, 0xFF]);
}

#[test]
fn mistakes_are_named_by_their_option_before_anything_runs() {
    let folder = folder();
    let bad = |options: &[&str]| refused(marble_pumpkin(&folder, "out.png").args(options));
    assert_eq!(
        bad(&["--guidance-scale", "11", "--seed", "-5"]),
        "error: --guidance-scale: must be between 1 and 10\n       --seed: must be a non-negative integer or -1\n"
    );
    assert!(
        bad(&["--material-strength", "weak"]).contains("--material-strength: must be one of medium, strong")
    );
    assert!(bad(&["--output-format", "webp"]).contains("contradicts"));
    assert!(bad(&["--output-format", "gif"]).contains("must be one of webp, jpg, png"));
    assert!(bad(&["--device", "abacus"]).contains("choose auto, cpu, cuda or metal"));
    assert!(bad(&["--profile", "nonesuch"]).contains("nonesuch"));
    assert!(refused(&mut marble_pumpkin(&folder, "missing/out.png")).contains("does not exist"));
    assert!(refused(material_transfer().args(["transfer", "--output", "x.png"])).contains("--subject"));
    assert!(files(&folder).is_empty(), "{:?}", files(&folder));
}

#[test]
fn pictures_that_are_none_are_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("page.html"), "<!doctype html><p>Not Found").expect("written");
    let tiny = RgbImage::new(5, 5);
    tiny.save(folder.path().join("tiny.png")).expect("written");
    let whole = std::fs::read(example("subjects/pumpkin.jpg")).expect("read");
    std::fs::write(folder.path().join("half.jpg"), &whole[..whole.len() / 2]).expect("written");
    for (file, complaint) in [
        ("page.html", "--subject: not a readable image"),
        ("half.jpg", "--subject: not a readable image: the JPEG file is cut short; send all of it"),
        ("tiny.png", "--subject: image too small"),
        ("nowhere.png", "--subject nowhere.png: No such file"),
        ("ftp://example.org/a.png", "--subject: URL must be a valid HTTP or HTTPS URL"),
        ("http://169.254.169.254/latest/", "--subject: address not allowed"),
    ] {
        let mut command = material_transfer();
        command.current_dir(folder.path()).args(["transfer", "--output", "out.png", "--subject", file]);
        let said = refused(command.arg("--material").arg(example("materials/marble.jpg")));
        assert!(said.contains(complaint), "{file}: {said}");
    }
    assert!(!folder.path().join("out.png").exists());
}

#[test]
fn a_url_on_this_machine_is_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/pumpkin", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a visitor");
        let mut request = [0; 1024];
        let length = stream.read(&mut request).expect("a request");
        assert!(request[..length].starts_with(b"GET /pumpkin "));
        let body = std::fs::read(example("subjects/pumpkin.jpg")).expect("read");
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("answered");
    });
    let folder = folder();
    let mut command = material_transfer();
    command.current_dir(folder.path()).args([
        "transfer",
        "--subject",
        &url,
        "--output",
        "out.webp",
        "--steps",
        "1",
    ]);
    command.args(["--max-width", "96"]).arg("--material").arg(example("materials/marble.jpg"));
    done(&mut command);
    server.join().expect("the visit went well");
    assert_eq!(files(&folder), ["out.webp"]);
}

/// Ctrl-C while the engine runs: code 130, and neither a result nor a temporary file.
#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_behind() {
    let folder = folder();
    let mut command = material_transfer();
    command.current_dir(folder.path()).args(["transfer", "--output", "out.png", "--steps", "150"]);
    command.arg("--subject").arg(example("subjects/pumpkin.jpg"));
    command.arg("--material").arg(example("materials/marble.jpg"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().expect("asked").is_none(), "150 steps at full size take longer than that");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(files(&folder).is_empty(), "{:?}", files(&folder));
}
