//! Where the real binary writes: through links, into pipes, to standard output; and what it refuses before it computes.
//! Nothing here touches a device of the machine.

#![cfg(unix)]
#![allow(clippy::expect_used)] // helpers of tests are tests

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

/// A small, quick transfer to `output` inside `folder`.
fn to(folder: &TempDir, output: impl AsRef<Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
    command.env_clear().current_dir(folder.path()).args(["transfer", "--device", "cpu", "--seed", "1"]);
    command.arg("--subject").arg(example("subjects/pumpkin.jpg"));
    command.arg("--material").arg(example("materials/marble.jpg"));
    command
        .args(["--max-width", "160", "--max-height", "160", "--steps", "1", "--output"])
        .arg(output.as_ref());
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn done(command: &mut Command) -> Output {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs what must be refused without computing: in no time that a transfer would take.
fn refused(command: &mut Command) -> String {
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

fn is_png(bytes: &[u8]) -> bool {
    image::load_from_memory_with_format(bytes, image::ImageFormat::Png).is_ok()
}

#[test]
fn links_are_followed_and_stay() {
    let place = folder();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("real")).expect("made");
    std::fs::write(at("real/old.png"), "old").expect("written");
    std::fs::set_permissions(at("real/old.png"), std::fs::Permissions::from_mode(0o640)).expect("set");
    symlink("real/old.png", at("first.png")).expect("linked");
    symlink("first.png", at("second.png")).expect("linked");
    done(&mut to(&place, "second.png"));
    assert!(is_png(&std::fs::read(at("real/old.png")).expect("there")));
    assert_eq!(std::fs::metadata(at("real/old.png")).expect("there").permissions().mode() & 0o777, 0o640);
    for link in ["first.png", "second.png"] {
        assert!(at(link).symlink_metadata().expect("there").is_symlink(), "{link}");
    }
    // To a file that is not there yet.
    symlink("real/new.png", at("dangling.png")).expect("linked");
    done(&mut to(&place, "dangling.png"));
    assert!(is_png(&std::fs::read(at("real/new.png")).expect("there")));
    assert!(at("dangling.png").symlink_metadata().expect("there").is_symlink());
    assert_eq!(std::fs::read_dir(at("real")).expect("listed").count(), 2, "nothing else is left");

    symlink("loop.png", at("loop.png")).expect("linked");
    assert!(refused(&mut to(&place, "loop.png")).contains("--output loop.png"));
}

#[test]
fn pipes_are_written_to_and_stay() {
    let place = folder();
    let pipe = place.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let mut child = to(&place, "pipe").args(["--output-format", "png"]).spawn().expect("started");
    let bytes = std::fs::read(&pipe).expect("read to its end");
    assert!(child.wait().expect("it ends").success());
    assert!(is_png(&bytes));
    assert!(pipe.symlink_metadata().expect("there").file_type().is_fifo());
    let said = refused(
        to(&place, "pipe")
            .args(["--output-format", "png", "--return-intermediate-images"])
            .stdin(Stdio::null()),
    );
    assert!(said.contains("--return-intermediate-images"), "{said}");
}

#[test]
fn standard_output_by_its_sign_and_by_a_link_to_it() {
    let place = folder();
    symlink("/proc/self/fd/1", place.path().join("out.png")).expect("linked");
    for (output, quiet) in [("-", false), ("-", true), ("out.png", false)] {
        let mut command = to(&place, output);
        command.args(["--output-format", "png"]);
        if quiet {
            command.arg("--json");
        }
        let output = done(&mut command);
        assert!(is_png(&output.stdout), "nothing but the picture");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("160"), "the report goes beside it: {said}");
    }
    assert!(place.path().join("out.png").symlink_metadata().expect("there").is_symlink());
    assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 1, "no file is called -");
    // Into a file by the shell's redirection, which the link leads to.
    let file = std::fs::File::create(place.path().join("redirected")).expect("made");
    assert!(to(&place, "out.png").stdout(file).status().expect("it runs").success());
    assert!(is_png(&std::fs::read(place.path().join("redirected")).expect("there")));
    assert!(
        done(to(&place, "-").stdin(Stdio::null())).stdout.starts_with(b"RIFF"),
        "WebP unless said otherwise"
    );
}

#[test]
fn standard_input_is_a_picture_too() {
    let place = folder();
    let material = std::fs::File::open(example("materials/marble.jpg")).expect("there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
    command.env_clear().args([
        "transfer",
        "--material",
        "-",
        "--max-width",
        "160",
        "--steps",
        "1",
        "--subject",
    ]);
    command.arg(example("subjects/pumpkin.jpg")).arg("--output").arg(place.path().join("a.png"));
    done(command.stdin(material));
    assert!(refused(command.stdin(Stdio::null())).contains("is empty"));
}

#[test]
fn what_cannot_be_written_is_told_before_anything_is_computed() {
    let place = folder();
    let file = place.path().join("kept.png");
    std::fs::write(&file, "precious").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).expect("set");
    assert!(refused(&mut to(&place, "kept.png")).contains("read-only"));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "precious");
    // Nobody makes files there, not even root.
    assert!(refused(&mut to(&place, "/proc/out.png")).contains("cannot be written"));
    assert!(refused(&mut to(&place, "nowhere/out.png")).contains("does not exist"));
    symlink("nowhere/out.png", place.path().join("astray.png")).expect("linked");
    assert!(refused(&mut to(&place, "astray.png")).contains("cannot be written"));
    assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 2, "nothing is left");
}

#[test]
fn ctrl_c_ends_the_work_soon_at_any_size() {
    for side in ["64", "1920"] {
        let place = folder();
        let mut child = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
        child.env_clear().current_dir(place.path()).arg("transfer");
        child.arg("--subject").arg(example("subjects/pumpkin.jpg"));
        child.arg("--material").arg(example("materials/marble.jpg"));
        child.args(["--output", "out.png", "--max-width", side, "--max-height", side, "--steps", "150"]);
        let mut child = child.stderr(Stdio::piped()).spawn().expect("started");
        std::thread::sleep(Duration::from_millis(1500));
        if child.try_wait().expect("asked").is_some() {
            continue; // a machine this quick has nothing to stop
        }
        let asked = Instant::now();
        assert!(
            Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status()
                .expect("kill runs")
                .success()
        );
        let code = child.wait().expect("it ends").code();
        // A second is meant; machines that test are busy.
        assert!(asked.elapsed() < Duration::from_secs(8), "{side}: {:?}", asked.elapsed());
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        assert_eq!(code, Some(130), "{side}: {said}");
        assert!(said.contains("nothing was written"), "{said}");
        assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 0, "nothing is left");
    }
}
