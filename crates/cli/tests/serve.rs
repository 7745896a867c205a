//! The real binary as a server: that it starts, answers and ends, and how it refuses settings. What it answers is tested
//! in `server` and by the suites under `tests/`.

#![allow(clippy::expect_used)] // helpers of tests are tests

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn serve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_material-transfer"));
    command.arg("serve").env_clear();
    command
}

fn refused(command: &mut Command) -> String {
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[cfg(unix)]
#[test]
fn it_answers_and_ends_on_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = serve();
    command
        .args(["--listen", "127.0.0.1:0", "--result-ttl", "5s", "--data-dir"])
        .arg(folder.path().join("data"));
    let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
    let mut log = BufReader::new(child.stderr.take().expect("a log")).lines();
    let listening = log.by_ref().map_while(Result::ok).find(|line| line.contains("listening on http://"));
    let address =
        listening.and_then(|line| Some(line.split_once("http://")?.1.to_owned())).expect("an address");
    // The rest of the log is read away, so that the server never waits for us.
    let reader = std::thread::spawn(move || log.for_each(drop));

    let mut stream = TcpStream::connect(address.trim()).expect("connected");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let sent = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(sent.success());
    assert!(child.wait().expect("it ends").success());
    reader.join().expect("the log ends");
}

#[test]
fn bad_settings_end_the_start_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.toml");
    std::fs::write(&file, "listn = \"127.0.0.1:0\"").expect("written");
    assert!(refused(serve().arg("--config").arg(&file)).contains("did you mean `listen`?"));
    assert!(refused(serve().args(["--result-ttl", "soon"])).contains("result_ttl"));
    assert!(refused(serve().args(["--profile", "nonesuch"])).contains("nonesuch"));
    assert!(refused(serve().args(["--device", "abacus"])).contains("abacus"));
    for (device, built) in [("cuda:1", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))] {
        assert!(built || refused(serve().args(["--device", device])).contains("this build has no"));
    }
    assert!(
        refused(serve().env("MATERIAL_TRANSFER_MAX_STEPS", "many")).contains("MATERIAL_TRANSFER_MAX_STEPS")
    );
    for (name, value, says) in [
        ("API_KEY", "", "set but empty"),
        ("API_KEY", " , ", "set but empty"),
        ("API_KEYS", "x", "did you mean `api_key"),
        ("KEEP_ALIVE", "99999d", "must be at most"),
        ("API_KEY_FILE", "/nonexistent", "/nonexistent"),
    ] {
        let said = refused(serve().env(format!("MATERIAL_TRANSFER_{name}"), value));
        assert!(said.contains(says), "{name}={value}: {said}");
    }
    let missing = folder.path().join("no.toml");
    assert!(refused(serve().arg("--config").arg(missing)).contains("no.toml"));
}
