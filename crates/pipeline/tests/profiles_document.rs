//! `docs/profiles.md` tells the truth: its defaults are the program's, its examples load.
#![allow(clippy::expect_used)] // a test fails by panicking

use std::path::PathBuf;

use pipeline::profile::{self, Profile, SdxlProfile};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).expect("read")
}

/// The document's TOML blocks.
fn blocks() -> Vec<String> {
    let document = read("docs/profiles.md");
    let fenced = document.split("```toml\n").skip(1);
    fenced.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The first block with `part` in it.
fn block(part: &str) -> String {
    blocks().into_iter().find(|block| block.contains(part)).expect("a block")
}

fn sdxl(text: &str) -> SdxlProfile {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.toml");
    std::fs::write(&path, text).expect("written");
    let profile = profile::load(path.to_str().expect("UTF-8")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let Profile::Sdxl(profile) = profile else { panic!("an SDXL profile") };
    SdxlProfile { origin: String::new(), folder: PathBuf::new(), ..*profile }
}

#[test]
fn the_keys_shown_with_their_defaults_are_the_defaults_and_make_juggernaut_x() {
    let shown = block("engine = ");
    let juggernaut = sdxl(&read("configs/profiles/juggernaut-x.toml"));
    assert_eq!(sdxl(&shown), juggernaut);
    let weights = shown.split("[weights]").nth(1).and_then(|rest| rest.split("loras").next());
    let bare = format!("engine = \"sdxl\"\n[weights]{}", weights.expect("weights"));
    assert_eq!(sdxl(&bare), juggernaut);
}

#[test]
fn the_dimensions_shown_are_the_published_ones() {
    let juggernaut = read("configs/profiles/juggernaut-x.toml");
    let shown = block("[dimensions.unet]");
    assert_eq!(sdxl(&format!("{juggernaut}\n{shown}")), sdxl(&juggernaut));
}

#[test]
fn the_examples_load() {
    let juggernaut = read("configs/profiles/juggernaut-x.toml");
    let with = |block: &str| {
        let (top, weights) = block.split_once("[weights]").expect("weights");
        let key = weights.trim_start().split(' ').next().expect("a key");
        let kept =
            juggernaut.lines().filter(|line| !line.starts_with(key) && !line.starts_with("vae_precision"));
        let kept: Vec<&str> = kept.collect();
        sdxl(&format!("{top}{}", kept.join("\n").replace("[weights]", &format!("[weights]{weights}"))))
    };
    let fixed = with(&block("sdxl-vae-fp16-fix"));
    let fixed = Profile::Sdxl(Box::new(fixed));
    assert!(fixed.downloads().iter().any(|manifest| manifest.name == "sdxl-vae-fp16-fix"));
    let lora = sdxl(&format!("{juggernaut}\n{}", block("[[weights.loras]]")));
    assert_eq!((lora.weights.loras.len(), lora.weights.loras[0].strength), (1, 0.8));

    let small = block("u2netp.onnx");
    let dimensions = small.split_once("[dimensions").expect("dimensions").1;
    let small = sdxl(&format!("{juggernaut}\n[dimensions{dimensions}"));
    assert_eq!(small.dimensions.background, networks::u2net::U2NetConfig::u2netp());
    assert!(blocks().contains(&read("tests/golden/tiny.toml")), "the worked example is the tested file");
}
