//! The version that `--version` shows: the package's, the repository's commit, and the GPU features of the build.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GIT_COMMIT");
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    // An image is built without the repository, and is given the commit.
    let given = std::env::var("GIT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given
        .map(|commit| commit.chars().take(10).collect())
        .or_else(|| git(&["rev-parse", "--short=10", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    // The file that says where HEAD is, and the one that moves with each commit.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            git(&["rev-parse", "--git-path", file]).filter(|path| std::path::Path::new(path).exists())
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let built: Vec<&str> =
        [("cuda", "CUDA"), ("cudnn", "CUDNN"), ("flash-attn", "FLASH_ATTN"), ("metal", "METAL")]
            .into_iter()
            .filter(|(_, variable)| std::env::var_os(format!("CARGO_FEATURE_{variable}")).is_some())
            .map(|(name, _)| name)
            .collect();
    let features = if built.is_empty() { "cpu".to_owned() } else { built.join("+") };
    println!("cargo:rustc-env=BUILD_COMMIT={commit}");
    println!("cargo:rustc-env=BUILD_FEATURES={features}");
}
