//! A question to a command: the document on its standard input, the answer on its standard output.

use std::process::Stdio;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// The most bytes that are read of its answer, and of what it says of its troubles.
const ANSWER: u64 = 64 << 10;
/// What it gets of the server's environment, which holds keys and passwords.
const ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"];

/// Runs the command, without a shell, and returns what it wrote. Dropping the unfinished call ends it, and what it has started.
///
/// # Errors
/// It cannot be started, ended with a code other than 0, or wrote too much.
pub(super) async fn run(command: &[String], document: &[u8]) -> Result<Bytes, String> {
    let (program, arguments) = command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    let kept = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).env_clear().envs(kept).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.process_group(0);
    let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    converse(Group(child), document).await
}

async fn converse(mut group: Group, document: &[u8]) -> Result<Bytes, String> {
    let child = &mut group.0;
    let (input, output, troubles) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut input) = input {
            // Whoever knows the answer early need not read to the end.
            let _ = input.write_all(document).await;
        }
    };
    let ((), answer, troubles) = tokio::join!(write, read(output), read(troubles));
    if answer.len() as u64 > ANSWER {
        return Err(format!("its answer is longer than {ANSWER} bytes"));
    }
    // Not before both pipes are closed: until then its number belongs to nobody else.
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        let said = String::from_utf8_lossy(&troubles);
        let last = said.trim_end().lines().next_back().unwrap_or_default();
        return Err(format!("it ended with {status}: {last}"));
    }
    Ok(answer.into())
}

/// All of it, or one byte more than is taken.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(ANSWER + 1).read_to_end(&mut text).await;
    }
    text
}

/// A command with all that it has started; dropping it ends them.
struct Group(Child);

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // No id: it has ended and was waited for.
        let id = self.0.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn it_is_heard_and_its_troubles_are_told() {
        let document = vec![b'x'; 1 << 20];
        assert_eq!(run(&sh("wc -c"), &document).await.unwrap().trim_ascii(), b"1048576");
        assert_eq!(
            run(&sh("echo early"), &document).await.unwrap().trim_ascii(),
            b"early",
            "it reads nothing"
        );
        let failed = run(&sh("echo first >&2; echo last >&2; exit 3"), &document).await.unwrap_err();
        assert!(failed.ends_with("3: last"), "{failed}");
        assert!(run(&sh("yes"), b"").await.unwrap_err().contains("longer"));
        assert!(run(&["/nonexistent".to_owned()], b"").await.unwrap_err().contains("cannot be started"));
        let environment = String::from_utf8(run(&sh("env"), b"").await.unwrap().to_vec()).unwrap();
        assert!(environment.contains("PATH=") && !environment.contains("CARGO"), "{environment}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 300 & echo $! > {}; wait", file.display());
        let limit = std::time::Duration::from_secs(2);
        assert!(tokio::time::timeout(limit, run(&sh(&script), b"")).await.is_err());
        let id = std::fs::read_to_string(&file).unwrap();
        for _ in 0..100 {
            // A process that has ended may stay as a zombie until its parent, by then the system's first process, looks.
            let status = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            if status.map_or(true, |status| status.contains(") Z ")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the child of the command lives on");
    }
}
