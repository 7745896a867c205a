//! Layers, refusals, and the documents that must not go stale.

use std::io::Write as _;

use std::path::Path;

use super::*;

fn flags(text: &str) -> Table {
    text.parse().unwrap()
}

fn load(file: &str, environment: &[(&str, &str)], on_command_line: &str) -> Result<Config, String> {
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(file.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(path.path()), environment, flags(on_command_line))
        .map_err(|error| error.to_string().replace(&path.path().display().to_string(), "FILE"))
}

#[test]
fn later_layers_win() {
    let file = "queue_limit = 5\nresult_ttl = \"2h\"\nlisten = \"0.0.0.0:1\"";
    let environment =
        [("MATERIAL_TRANSFER_RESULT_TTL", "5"), ("MATERIAL_TRANSFER_LISTEN", "0.0.0.0:2"), ("PATH", "/")];
    let config = load(file, &environment, "listen = \"0.0.0.0:3\"").unwrap();
    assert_eq!(
        (config.queue_limit, config.result_ttl, config.listen.as_str()),
        (5, Span::seconds(5), "0.0.0.0:3")
    );
    assert_eq!(Config::load(None, [], Table::new()).unwrap(), Config::default());
}

#[test]
fn the_environment_speaks_every_kind() {
    let environment = [
        ("MATERIAL_TRANSFER_FETCH_ALLOW", "127.0.0.0/8, ::1"),
        ("MATERIAL_TRANSFER_API_KEY", "one,two"),
        ("MATERIAL_TRANSFER_BEARER", "true"),
        ("MATERIAL_TRANSFER_MAX_BODY", "1MiB"),
        ("MATERIAL_TRANSFER_PUBLIC_URL", "https://x.example/api"),
        ("MATERIAL_TRANSFER_WORKERS", "2"),
        ("STEPS", "not ours"),
        ("MATERIAL_TRANSFER_FETCH_PROXY", ""),
    ];
    let config = load("", &environment, "").unwrap();
    assert_eq!(config.fetch_allow.len(), 2);
    assert_eq!(config.api_key, [Secret("one".into()), Secret("two".into())]);
    assert!(config.bearer && config.max_body == Size(1 << 20) && config.workers == 2);
    assert_eq!(config.public_url.unwrap().as_str(), "https://x.example/api");
}

#[test]
fn workers_share_out_the_devices() {
    use DeviceChoice::Cuda;

    let config = load("devices = [\"cuda:0\", \"cuda:1\"]", &[], "").unwrap();
    assert_eq!((config.workers, config.device_of(0), config.device_of(1)), (2, Cuda(0), Cuda(1)));
    let config = load("devices = [\"cuda:0\", \"cuda:1\"]\nworkers = 3", &[], "").unwrap();
    assert_eq!([0, 1, 2].map(|worker| config.device_of(worker)), [Cuda(0), Cuda(1), Cuda(0)]);
    let environment = [("MATERIAL_TRANSFER_DEVICES", "cuda:1, cuda:2")];
    let config = load("device = \"cpu\"", &environment, "").unwrap();
    assert_eq!((config.workers, config.device_of(1)), (2, Cuda(2)));
    let config = load("devices = [\"cuda:0\", \"cuda:1\"]", &[], "device = \"cpu\"").unwrap();
    assert_eq!((config.workers, config.device_of(0)), (1, DeviceChoice::Cpu), "the later layer stands");
    let error = |file| load(file, &[], "").unwrap_err();
    assert!(error("devices = [\"cuda:0\", \"cuda:1\"]\nworkers = 1").contains("`workers`: every one of"));
    assert!(
        error("device = \"cuda\"\ndevices = [\"cuda:1\"]").starts_with("FILE: `devices`: stands in place")
    );
}

#[test]
fn errors_name_layer_and_setting() {
    let error = |file, environment: &[(&str, &str)], flags| load(file, environment, flags).unwrap_err();
    assert_eq!(
        error("result_tll = 5", &[], ""),
        "FILE: there is no setting `result_tll`; did you mean `result_ttl`?"
    );
    assert!(error("workers = \"many\"", &[], "").starts_with("FILE: `workers`: "));
    assert!(error("workers = 0", &[], "").contains("`workers`: must be at least 1"));
    assert!(
        error("", &[("MATERIAL_TRANSFER_BEARER", "perhaps")], "")
            .starts_with("MATERIAL_TRANSFER_BEARER: `bearer`: ")
    );
    assert!(
        error("", &[], "result_ttl = \"soon\"")
            .starts_with("command line: `result_ttl`: \"soon\" is no span of time")
    );
    assert!(error("path_prefix = \"api/\"", &[], "").contains("path_prefix"));
    assert!(error("public_url = \"ftp://x\"", &[], "").contains("public_url"));
    assert!(error("=", &[], "").starts_with("FILE is not valid TOML: line 1: "));
    assert!(error("[[keys]]\nid = \"a\"\nsha256 = \"xyz\"", &[], "").contains("sha256sum"));
    assert!(error("[[keys]]\nid = \"a\"", &[], "").contains("sha256"));
    let missing = Config::load(Some(Path::new("/nonexistent/server.toml")), [], Table::new());
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("cannot read the configuration file /nonexistent/server.toml")
    );
}

/// Whoever names a key wants the server closed, and whoever mistypes a name wants something.
#[test]
fn nothing_opens_the_server_by_mistake() {
    for empty in ["", " ", ",", " , "] {
        let refused = load("", &[("MATERIAL_TRANSFER_API_KEY", empty)], "").unwrap_err();
        assert!(refused.starts_with("MATERIAL_TRANSFER_API_KEY: `api_key`: is set but empty"), "{refused}");
    }
    assert!(load("", &[], "api_key = [\"\"]").unwrap_err().contains("must not be empty"));
    let refused = load("", &[("MATERIAL_TRANSFER_API_KEYS", "x")], "").unwrap_err();
    assert!(refused.contains("MATERIAL_TRANSFER_API_KEYS") && refused.contains("did you mean"), "{refused}");
    assert!(load("", &[("MATERIAL_TRANSFER_KEYS", "x")], "").is_err(), "sections are only in the file");
    let kubernetes =
        ["PORT", "PORT_8000_TCP_ADDR", "SERVICE_HOST"].map(|name| format!("MATERIAL_TRANSFER_{name}"));
    for name in &kubernetes {
        assert!(load("", &[(name, "tcp://10.0.0.1:8000")], "").is_ok(), "{name}");
    }
    for id in ["open", "key-00000000"] {
        let entry = format!("[[keys]]\nid = \"{id}\"\nsha256 = \"{}\"", "0".repeat(64));
        assert!(load(&entry, &[], "").unwrap_err().contains("is taken"), "{id}");
    }
}

#[test]
fn keys_out_of_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"# ours\n one \n\ntwo\n").unwrap();
    let flags = format!("api_key_file = {:?}", file.path());
    let config = load("api_key = [\"zero\"]", &[], &flags).unwrap();
    assert_eq!(config.api_key, ["zero", "one", "two"].map(|key| Secret(key.into())));
    file.as_file().set_len(0).unwrap();
    assert!(load("", &[], &flags).unwrap_err().contains("there is no key in"));
    assert!(
        load("", &[("MATERIAL_TRANSFER_API_KEY_FILE", "/nonexistent")], "")
            .unwrap_err()
            .contains("/nonexistent")
    );
}

#[test]
fn spans_have_two_ends() {
    for name in [
        "result_ttl",
        "file_ttl",
        "v1_deadline",
        "job_timeout",
        "keep_alive",
        "shutdown_grace",
        "lease",
        "fetch_connect_timeout",
        "fetch_timeout",
    ] {
        let refused = load(&format!("{name} = \"40000d\""), &[], "").unwrap_err();
        assert!(refused.contains(&format!("`{name}`: must be at most 3650d")), "{refused}");
        assert!(load(&format!("{name} = {}", u64::MAX / 2000), &[], "").is_err(), "{name}");
        assert!(load(&format!("{name} = \"3650d\""), &[], "").is_ok(), "{name}");
    }
    for (name, least) in
        [("result_ttl", "1s"), ("lease", "1s"), ("job_timeout", "1s"), ("fetch_timeout", "10ms")]
    {
        let refused = load(&format!("{name} = 0"), &[], "").unwrap_err();
        assert!(refused.contains(&format!("`{name}`: must be at least {least}")), "{refused}");
    }
    for name in ["keep_alive", "file_ttl", "shutdown_grace"] {
        assert!(load(&format!("{name} = 0"), &[], "").is_ok(), "{name}");
    }
    assert!(load("body_memory = \"1MiB\"", &[], "").unwrap_err().contains("body_memory"));
    for name in ["queue_limit", "max_connections", "fetch_at_once"] {
        assert!(load(&format!("{name} = 0"), &[], "").unwrap_err().contains("must be at least 1"), "{name}");
    }
}

#[test]
fn keys_are_read_and_never_shown() {
    let example: String = document::KEY_EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("##"))
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    let config = load(&example, &[], "api_key = [\"hush\"]").unwrap();
    assert_eq!(config.keys[0].credits, Some(1000));
    assert_eq!(config.keys[0].permissions, [Permission::Transfer, Permission::Read]);
    assert!(!format!("{config:?}").contains("hush"));
    let twice = format!("{example}{example}");
    assert!(load(&twice, &[], "").unwrap_err().contains("two keys with the id \"studio\""));
}

#[test]
fn no_error_shows_a_key_or_a_password() {
    let settings = [
        "fetch_proxy = \"http://u:pwsecret@bad host\"",
        "fetch_proxy = \"socks5://u:pwsecret@host\"",
        "fetch_proxy = [\"pwsecret\"]",
        "api_key = \"pwsecret\"",
        "api_key = { pwsecret = 1 }",
        "api_key = [[\"pwsecret\"]]",
        "keys = \"pwsecret\"",
        "[[keys]]\nid = \"a\"\nsha256 = \"pwsecret\"",
        "listen = \"0.0.0.0:1\"\napi_key = [\"pwsecret\", \"other",
        "api_key = [\"pwsecret\" \"pwsecret\"]",
        "api_key = pwsecret",
    ];
    for text in settings {
        let refused = load(text, &[], "").unwrap_err();
        assert!(!refused.contains("pwsecret"), "{text}: {refused}");
    }
    for (name, value) in [("FETCH_PROXY", "ftp://u:pwsecret@host"), ("FETCH_PROXY", "pwsecret@host")] {
        let name = format!("MATERIAL_TRANSFER_{name}");
        let refused = load("", &[(&name, value)], "").unwrap_err();
        assert!(refused.starts_with(&name) && !refused.contains("pwsecret"), "{refused}");
    }
    let config = load("fetch_proxy = \"http://user:pwsecret@proxy:1\"", &[], "").unwrap();
    assert!(!format!("{config:?} {:?}", config.fetch_policy()).contains("pwsecret"));
}

/// The file with every `#` before a setting removed is the default configuration.
#[test]
fn the_commented_file_says_the_defaults() {
    let active: String = toml_file()
        .lines()
        .take_while(|line| *line != "#[[keys]]")
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .filter(|line| !line.ends_with("= \"\"") || line.starts_with("path_prefix"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(load(&active, &[], "").unwrap(), Config::default());
}

/// `UPDATE_DOCUMENTS=1 cargo test -p server documents` writes them anew.
#[test]
fn documents_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page_path = root.join("docs/configuration.md");
    let page = std::fs::read_to_string(&page_path).unwrap();
    let (begin, end) = ("<!-- settings: generated -->\n", "<!-- end of settings -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let documents = [
        (page_path, format!("{head}{begin}{}{end}{tail}", markdown_table())),
        (root.join("configs/server.toml"), toml_file()),
    ];
    for (path, fresh) in documents {
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == fresh,
            "{} is stale; run: UPDATE_DOCUMENTS=1 cargo test -p server documents",
            path.display()
        );
    }
}

/// What is no device or address ends the start where it was written, not where it is used.
#[test]
fn devices_and_addresses_are_read_at_once() {
    let error = |file: &str| load(file, &[], "").unwrap_err().to_string();
    for (file, part) in [
        ("device = \"gpu\"", "no device \"gpu\": choose auto, cpu"),
        ("devices = [\"cuda:0\", \"cuda:x\"]", "no device \"cuda:x\""),
        ("listen = \"8000\"", "no address with a port"),
        ("listen = \"::1:8000\"", "no address with a port"),
        ("listen = \"127.0.0.1:80000\"", "no address with a port"),
    ] {
        let setting = file.split(' ').next().unwrap();
        let text = error(file);
        assert!(text.contains(part) && text.contains(&format!("`{setting}`")), "{file}: {text}");
    }
    for listen in ["[::]:0", "localhost:8000"] {
        assert_eq!(load(&format!("listen = \"{listen}\""), &[], "").unwrap().listen.as_str(), listen);
    }
}
