//! How a connection string is understood: TLS by default for anything that is not this machine.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

/// What connects.
pub(crate) type Connector = MakeRustlsConnect;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// When a silent connection is looked after.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A connection string as settings and TLS. `sslrootcert` is the file of a certificate authority of one's own (PEM), besides
/// Mozilla's list; without `sslmode`, hosts that are not this machine must speak TLS. Certificates are always checked.
pub(crate) fn understand(address: &str) -> Result<(Config, Connector), String> {
    let mut url = Url::parse(address).map_err(|_| {
        "the connection string is no URL; write it like postgres://user:password@host/name".to_owned()
    })?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err("the connection string begins with postgres://".to_owned());
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let root = pairs.iter().find(|(name, _)| name == "sslrootcert").map(|(_, value)| value.clone());
    let said = pairs.iter().any(|(name, _)| name == "sslmode");
    let mut kept = String::new();
    for (name, value) in pairs.iter().filter(|(name, _)| name != "sslrootcert") {
        // Certificates and names are checked in every mode that speaks TLS.
        let strict = name == "sslmode" && value.starts_with("verify");
        let value = if strict { "require" } else { value };
        let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        kept = if kept.is_empty() { pair } else { format!("{kept}&{pair}") };
    }
    // PostgreSQL's own parser takes a plus for a plus.
    let kept = kept.replace('+', "%20");
    url.set_query(Some(kept.as_str()).filter(|kept| !kept.is_empty()));
    let mut config: Config = url.as_str().parse().map_err(|error| match error {
        // The text of the error may hold a part of the string.
        _ if address.contains('@') => "the connection string has a part that is not understood".to_owned(),
        error => format!("the connection string is not understood: {error}"),
    })?;
    if !said {
        let mode = if config.get_hosts().iter().all(is_here) { SslMode::Disable } else { SslMode::Require };
        config.ssl_mode(mode);
    }
    config.connect_timeout(CONNECT).keepalives_idle(KEEP_ALIVE).tcp_user_timeout(KEEP_ALIVE);
    if config.get_application_name().is_none() {
        config.application_name("material-transfer");
    }
    Ok((config, connector(root.as_deref())?))
}

fn is_here(host: &Host) -> bool {
    match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

fn connector(root: Option<&str>) -> Result<Connector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    if let Some(path) = root {
        use rustls::pki_types::pem::PemObject as _;
        let wrong = |reason: String| format!("sslrootcert {path}: {reason}");
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // In a test they are assertions.

    use super::*;

    #[test]
    fn other_machines_must_speak_tls() {
        let mode = |address: &str| understand(address).unwrap().0.get_ssl_mode();
        assert_eq!(mode("postgres://u:p@db.example/jobs"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@10.0.0.7/jobs"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@127.0.0.1:5433/jobs"), SslMode::Disable);
        assert_eq!(mode("postgres://u@localhost/jobs"), SslMode::Disable);
        assert_eq!(mode("postgres:///jobs?user=u&host=/run/postgresql"), SslMode::Disable);
        assert_eq!(mode("postgres://u:p@db.example/jobs?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://u:p@db.example/jobs?sslmode=disable"), SslMode::Disable, "it was said");
        assert_eq!(mode("postgres://u:p@db.example/jobs?sslmode=prefer"), SslMode::Prefer);
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for address in [
            "secret",
            "mysql://u:secret@h/d",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?sslmode=secret",
            "postgres://u:secret@h/d?unknown=secret",
            "postgres://u:secret@h/d?sslrootcert=/nowhere",
        ] {
            let reason = understand(address).map(drop).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
