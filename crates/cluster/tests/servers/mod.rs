//! Real servers for tests: PostgreSQL in a process of its own, and an S3 server (s3s) that keeps objects in files.

// Each test binary takes what it needs.
#![allow(dead_code)]

pub(crate) mod s3;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A PostgreSQL server in a folder of its own.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _keeper: Child,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one. `None`, said loudly, where the package is missing; in CI that is a failure.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The server's user has to get in.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/postgres.sh");
        let mut keeper = Command::new(script)
            .arg(folder.path())
            .arg(port.to_string())
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = keeper.stdin.take().unwrap();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut server = Self { port, commands, answers, _keeper: keeper, _folder: folder };
        let answer = server.answer();
        if answer.starts_with("missing") {
            assert!(std::env::var_os("CI").is_none(), "{answer}");
            eprintln!("\n!!! SKIPPED, nothing was tested: {answer} !!!\n");
            return None;
        }
        assert_eq!(answer, "ready");
        Some(server)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.commands.write_all(b"kill\n").unwrap();
        assert_eq!(self.answer(), "dead");
    }

    /// Starts it again.
    pub(crate) fn restart(&mut self) {
        self.commands.write_all(b"start\n").unwrap();
        assert_eq!(self.answer(), "ready");
    }

    /// How to reach it.
    pub(crate) fn address(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres", self.port)
    }
}

/// The server that the tests of this binary share. It writes nothing through, for nobody cuts its power.
pub(crate) fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(&["fsync=off", "full_page_writes=off"])).as_ref()
}
