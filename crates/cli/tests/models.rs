//! `material-transfer models`: the real binary, a cache of its own, and a hub on this machine.

#![allow(clippy::expect_used, clippy::unwrap_used)] // helpers of tests are tests

#[path = "../../pipeline/tests/fake_hub/mod.rs"]
mod fake_hub;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake_hub::{FakeHub, Fault, Shelf, bytes, shelf};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A cache folder and the hub it is filled from.
struct Place {
    folder: TempDir,
    hub: FakeHub,
}

impl Place {
    fn new(shelf: Shelf) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), hub: FakeHub::start(shelf) }
    }

    fn models(&self, arguments: &[&str]) -> Command {
        self.command(&[&["models"], arguments].concat())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
        command.env_clear().current_dir(self.folder.path()).args(arguments);
        command.env("HF_HOME", self.folder.path()).env("HF_ENDPOINT", &self.hub.endpoint);
        command
    }

    /// What a command that must succeed says on standard output.
    fn done(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.models(arguments));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).expect("one JSON object")
    }

    /// The only file in the cache with this ending.
    fn file(&self, ending: &str) -> Option<PathBuf> {
        let mut folders = vec![self.folder.path().join("hub")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).ok()?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    return Some(path);
                }
            }
        }
        None
    }
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs what must end with `code`, and gives the complaint.
fn ends(code: i32, command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// A profile whose line-art network and autoencoder come from the hub; all else is said to lie beside it.
const PROFILE: &str = r#"
engine = "sdxl"
[weights]
checkpoint = "checkpoint.safetensors"
vae = "sdxl-vae-fp16-fix"
background = "background.safetensors"
clip_vision = "clip_vision.safetensors"
ip_adapter_medium = "medium.safetensors"
ip_adapter_strong = "strong.safetensors"
t2i_depth = "t2i.safetensors"
t2i_lineart = "t2i.safetensors"
depth = "depth.safetensors"
lineart = "lineart"
"#;

#[test]
fn the_list_shows_files_and_who_needs_them() {
    let place = Place::new(shelf(&[("sk_model.pth", 1234)]));
    let said = place.done(&["list"]);
    let line = |start: &str| said.lines().find(|line| line.trim_start().starts_with(start)).expect("listed");
    assert!(line("juggernaut-x ").contains("7.11 GB  absent  CreativeML Open RAIL-M"), "{said}");
    assert!(line("sdxl-vae-fp16-fix ").contains("~335 MB  absent  MIT"), "{said}");
    assert!(line("for juggernaut-x, sdxl-base, ").ends_with("sdxl-lightning, hybrid"), "{said}");
    assert!(line("exemplar ").contains("needs no download"), "{said}");
    assert!(line("sdxl-lightning ").contains("~13.2 GB  0 of 9 files here"), "{said}");

    let list = place.json(&["list"]);
    assert_eq!(list["profiles"][0], json!({ "name": "exemplar", "files": [], "complete": true }));
    let lineart = |list: &Value| {
        let files = list["files"].as_array().expect("files").clone();
        files.into_iter().find(|file| file["name"] == "lineart").expect("listed")
    };
    assert_eq!(lineart(&list)["path"], Value::Null);
    assert_eq!(lineart(&list)["profiles"], json!(["juggernaut-x", "sdxl-base", "sdxl-lightning", "hybrid"]));

    place.done(&["pull", "lineart"]);
    let list = place.json(&["list"]);
    assert_eq!([&lineart(&list)["size"], &lineart(&list)["size_is_exact"]], [&json!(1234), &json!(true)]);
    assert!(place.done(&["list"]).contains("1 of 9 files here"));
}

#[test]
fn a_profile_files_models_are_pulled_with_their_licences_told() {
    let place = Place::new(shelf(&[("sk_model.pth", 40_000), ("sdxl_vae.safetensors", 70_000)]));
    std::fs::write(place.folder.path().join("mine.toml"), PROFILE).expect("written");
    let output = run(&mut place.models(&["pull", "mine.toml"]));
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    for part in [
        "lineart: 40.0 kB, licence: not stated",
        "(https://huggingface.co/madebyollin/sdxl-vae-fp16-fix)",
        "2 files, 110 kB to download\n",
        "lineart: complete, 40.0 kB",
    ] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    let said = text(&output.stdout);
    assert!(said.starts_with("mine.toml: 2 files are here") && said.contains("2 fetched"), "{said}");
    assert_eq!(std::fs::read(place.file("sk_model.pth").expect("there")).expect("read"), bytes(40_000));

    let again = run(&mut place.models(&["pull", "mine.toml", "lineart", "exemplar", "--json"]));
    assert!(again.stderr.is_empty(), "{}", text(&again.stderr));
    let report: Value = serde_json::from_slice(&again.stdout).expect("one JSON object");
    let files = report["files"].as_array().expect("files");
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file["fetched"] == false && file["path"].is_string()));
    assert_eq!(place.hub.served(), 110_000, "nothing is fetched twice");
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    let place = Place::new(shelf(&[("sk_model.pth", 500_000)]));
    place.hub.faults("sk_model.pth", &[Fault::BreakOff(200_000)]);
    let told = ends(0, &mut place.models(&["pull", "lineart"]));
    assert!(told.contains("next attempt in 1 s"), "{told}");
    assert_eq!(place.hub.served(), 500_000);
    assert_eq!(place.done(&["verify"]), "lineart: sound\n");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_has_arrived() {
    let place = Place::new(shelf(&[("sk_model.pth", 500_000)]));
    place.hub.faults("sk_model.pth", &[Fault::Stall(200_000)]);
    let mut command = place.models(&["pull", "lineart"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let arrived = || Some(std::fs::metadata(place.file(".part")?).ok()?.len());
    let began = Instant::now();
    while arrived() != Some(200_000) {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?} arrived", arrived());
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("what has arrived is kept"), "{}", text(&output.stderr));

    let told = ends(0, &mut place.models(&["pull", "lineart"]));
    assert!(told.contains("300 kB to download (of 500 kB, begun before)"), "{told}");
    assert_eq!(place.hub.served(), 500_000, "no byte is fetched twice");
}

#[test]
fn refusals_end_with_2_and_the_remedy() {
    let place = Place::new(Shelf { token: Some("secret".to_owned()), ..shelf(&[("sk_model.pth", 1000)]) });
    let told = ends(2, &mut place.models(&["pull", "lineart"]));
    assert!(told.contains("401") && told.contains("HF_TOKEN"), "{told}");
    let told = ends(2, place.models(&["pull", "lineart"]).env("HF_HUB_OFFLINE", "1"));
    assert!(told.contains("HF_HUB_OFFLINE"), "{told}");
    let told = ends(2, place.models(&["pull", "t2i-adapter-depth"]).env("HF_TOKEN", "secret"));
    assert!(told.contains("the hub has no diffusion_pytorch_model.safetensors"), "{told}");
    for command in ["pull", "verify", "remove"] {
        let told = ends(2, &mut place.models(&[command, "jugernaut"]));
        assert!(told.contains("\"jugernaut\"") && told.contains("sdxl-lightning"), "{told}");
    }
    assert!(ends(2, &mut place.models(&["pull"])).contains("<NAME>"));
    ends(0, place.models(&["pull", "lineart"]).env("HF_TOKEN", "secret"));

    let full = Place::new(Shelf { claimed: Some(1 << 60), ..shelf(&[("sk_model.pth", 1000)]) });
    let told = ends(2, &mut full.models(&["pull", "lineart"]));
    assert!(told.contains("not enough room") && told.contains("HF_HOME"), "{told}");
}

#[test]
fn a_file_that_is_not_the_announced_one_is_a_fault_and_is_not_kept() {
    // Another U²-Net than the one whose size and hash are known.
    let place = Place::new(shelf(&[("u2net.onnx", 1000)]));
    let told = ends(1, &mut place.models(&["pull", "u2net"]));
    assert!(told.starts_with("u2net: 1.00 kB") && told.contains("expected 175997641 bytes"), "{told}");
    assert_eq!(place.file("u2net.onnx"), None);
}

#[test]
fn verify_tells_sound_from_damaged_and_absent() {
    let place = Place::new(shelf(&[("sk_model.pth", 5000), ("merges.txt", 700)]));
    assert!(place.done(&["verify"]).starts_with("nothing to check in"));
    place.done(&["pull", "lineart", "clip-tokenizer-merges"]);
    assert_eq!(place.done(&["verify"]), "lineart: sound\nclip-tokenizer-merges: sound\n");

    let blob = place.file("sk_model.pth").expect("there").canonicalize().expect("a blob");
    std::fs::write(&blob, vec![7; 5000]).expect("damaged");
    let output = run(&mut place.models(&["verify"]));
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout);
    assert!(said.contains("lineart: damaged, SHA-256") && said.contains("models remove lineart"), "{said}");
    assert!(said.contains("clip-tokenizer-merges: sound"), "{said}");
    assert!(text(&output.stderr).contains("1 of 2 files"), "{}", text(&output.stderr));
    let output = run(&mut place.models(&["verify", "lineart", "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["files"][0]["state"], "damaged");

    place.done(&["remove", "lineart"]);
    place.done(&["pull", "lineart"]);
    assert_eq!(place.done(&["verify", "lineart"]), "lineart: sound\n");
    let output = run(&mut place.models(&["verify", "depth-anything-large"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("models pull depth-anything-large"));
}

#[test]
fn an_engine_without_its_weights_names_the_command_that_fetches_them() {
    let place = Place::new(shelf(&[("sk_model.pth", 5000)]));
    place.done(&["pull", "lineart"]);
    for command in ["transfer", "serve"] {
        let mut command = place.command(&[command, "--profile", "sdxl-lightning", "--device", "cpu"]);
        let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/subjects/pumpkin.jpg");
        command.env("MATERIAL_TRANSFER_SUBJECT", picture).env("MATERIAL_TRANSFER_MATERIAL", picture);
        command.env("MATERIAL_TRANSFER_OUTPUT", "out.png");
        let told = ends(2, &mut command);
        assert!(told.contains("8 of 9 files (~13.2 GB) are not in the model cache"), "{told}");
        assert!(told.contains("material-transfer models pull sdxl-lightning\n"), "{told}");
    }
}

#[test]
fn a_file_without_a_known_hash_is_told_as_such() {
    let place = Place::new(shelf(&[("merges.txt", 700)]));
    place.done(&["pull", "clip-tokenizer-merges"]);
    // As another client might have left it: a file instead of a pointer to one named by its hash.
    let pointer = place.file("merges.txt").expect("there");
    std::fs::remove_file(&pointer).expect("removed");
    std::fs::write(&pointer, "#version: 0.2\n").expect("written");
    let said = text(&run(&mut place.models(&["verify"])).stdout);
    assert!(said.contains("damaged, SHA-256"), "other bytes than at the first download: {said}");
    std::fs::remove_file(place.file("material-transfer.lock.toml").expect("there")).expect("removed");
    assert!(place.done(&["verify"]).contains("nothing to compare with"));
}

#[test]
fn remove_gives_the_bytes_back_and_spares_what_others_need() {
    let place = Place::new(shelf(&[("sk_model.pth", 5000), ("merges.txt", 700)]));
    place.done(&["pull", "lineart", "clip-tokenizer-merges"]);
    let said = place.done(&["remove", "juggernaut-x"]);
    assert!(said.contains("juggernaut-x: was not there"), "{said}");
    assert!(said.contains("lineart: kept, sdxl-base, sdxl-lightning and hybrid can use it too"), "{said}");
    assert!(said.ends_with("0 bytes freed (0 B)\n"), "{said}");
    let said = place.done(&["remove", "juggernaut-x", "lineart"]);
    assert!(said.contains("lineart: removed, 5000 bytes") && said.ends_with("5000 bytes freed (5.00 kB)\n"));
    assert_eq!(place.file("sk_model.pth"), None);
    assert_eq!(place.json(&["remove", "lineart"])["freed"], 0);

    let report = place.json(&["remove", "--all"]);
    assert_eq!(report["freed"], 700);
    assert!(place.done(&["verify"]).starts_with("nothing to check in"));
    assert!(ends(2, &mut place.models(&["remove"])).contains("<NAME>"));
}
