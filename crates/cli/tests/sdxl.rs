//! The network engine from the command line: the real binary, a profile and weight files in a folder, the reference's
//! pictures.

#![allow(clippy::expect_used)] // helpers of tests are tests

#[path = "../../pipeline/tests/tiny/mod.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

/// The transfer of a golden run, by the folder's profile, to `out.png` in the folder.
fn transfer(folder: &TempDir, run: &str) -> Command {
    let manifest = std::fs::read_to_string(golden("manifest.json")).expect("the manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let parameters = &manifest["entries"][format!("e2e/{run}/nodes")]["params"];
    let picture = |name: &str| golden(&format!("e2e/{run}/{name}.png"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
    command.env_clear().current_dir(folder.path()).arg("transfer");
    command.args(["--profile", "tiny.toml", "--device", "cpu", "--output", "out.png"]);
    command.arg("--subject").arg(picture("subject")).arg("--material").arg(picture("material"));
    for (option, key) in [
        ("--prompt", "prompt"),
        ("--negative-prompt", "negative_prompt"),
        ("--guidance-scale", "guidance"),
        ("--steps", "steps"),
        ("--max-width", "max_width"),
        ("--max-height", "max_height"),
        ("--material-strength", "material_strength"),
        ("--seed", "seed"),
    ] {
        let value = &parameters[key];
        command.arg(option).arg(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn open(path: &Path) -> RgbImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8()
}

/// Fails unless the pictures are one level apart at most, and that in no more than `share` of their samples.
fn close(got: &Path, want: &Path, share: f64) {
    let (from, got, want) = (want, open(got), open(want));
    assert_eq!(got.dimensions(), want.dimensions());
    let steps = || got.as_raw().iter().zip(want.as_raw()).map(|(g, w)| g.abs_diff(*w));
    assert!(steps().max() <= Some(1), "off by {:?}", steps().max());
    let differing = steps().filter(|step| *step > 0).count() as f64 / got.as_raw().len() as f64;
    let name = from.strip_prefix(golden("")).unwrap_or(from).display();
    println!("golden | command line | {name} (share off by one) | {differing:.2e} | {share:.1e}");
    assert!(differing <= share, "{differing} of the samples differ");
}

#[test]
fn the_reference_s_pictures_come_out_of_the_command_line() {
    let folder = tiny::folder();
    let output = run(transfer(&folder, "pub_d").arg("--json"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!([&report["engine"], &report["seed"]], [&Value::from("sdxl"), &Value::from(20_240_501)]);
    assert_eq!(report["ignored"], serde_json::json!([]), "this engine reads every parameter");
    assert!(report["timings"]["sample"].as_f64().expect("seconds") > 0.0);
    // The manifest's tolerance: of this small picture's 19,008 samples, a thousandth would be no more than 19.
    close(&folder.path().join("out.png"), &golden("e2e/pub_d/final.png"), 5e-3);

    let mut command = transfer(&folder, "pub_a");
    let output = run(command.args(["--return-intermediate-images", "--trace", "trace"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("out.png: 160×128, seed 42"), "{}", text(&output.stdout));
    close(&folder.path().join("out.png"), &golden("e2e/pub_a/final.png"), 1e-3);
    for (name, node) in [
        ("mask", "n39_mask_preview"),
        ("subject_grey", "n40_gray_preview"),
        ("depth", "n54_depth"),
        ("lineart", "n55_lineart"),
    ] {
        let (got, want) = (format!("out.{name}.png"), format!("e2e/pub_a/{node}.png"));
        close(&folder.path().join(got), &golden(&want), 5e-3);
    }
    look_at_the_trace(&folder.path().join("trace"));
}

/// Pictures and tensors of the stages are there, in order, and can be read.
fn look_at_the_trace(folder: &Path) {
    let entries = std::fs::read_dir(folder).expect("a trace").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    // Names begin with their number.
    let position = |what: &str| {
        let found = files.iter().position(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('-'));
            name.is_some_and(|(_, name)| name == what)
        });
        found.unwrap_or_else(|| panic!("no {what} in {files:?}"))
    };
    let stages = [
        "subject.png",
        "material.png",
        "resized.png",
        "mask.png",
        "depth.png",
        "lineart.png",
        "known-latent.safetensors",
        "text-context.safetensors",
        "image-tokens.safetensors",
        "noise.safetensors",
        "call-00.safetensors",
        "call-10.safetensors",
        "latent.safetensors",
        "decoded.safetensors",
        "output.png",
    ];
    let order: Vec<usize> = stages.iter().map(|stage| position(stage)).collect();
    assert!(order.is_sorted(), "{files:?}");
    let bytes = std::fs::read(&files[position("known-latent.safetensors")]).expect("read");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(tensors.tensor("known-latent").expect("named as its file").shape(), [1, 4, 16, 20]);
}

#[test]
fn a_dimension_that_does_not_fit_is_told_with_the_tensor() {
    let folder = tiny::folder();
    let path = folder.path().join("tiny.toml");
    let profile = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, profile.replace("[32, 64, 128, 128]", "[32, 64, 96, 128]")).expect("written");
    let output = run(&mut transfer(&folder, "pub_d"));
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("t2i_depth_tiny.safetensors: tensor `adapter.body.2."), "{told}");
    assert!(told.contains("check the profile's dimensions"), "{told}");

    std::fs::write(&path, profile.replace("\"depth_tiny", "\"nowhere")).expect("written");
    let told = text(&run(&mut transfer(&folder, "pub_d")).stderr);
    assert!(told.contains("weights.depth") && told.contains("models list"), "{told}");
    assert!(!folder.path().join("out.png").exists());
}
