//! For tests: an authority, and TLS before a server that speaks none.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    DnValue, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// An authority that no system trusts.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, with a new key.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new() -> Authority {
        Authority::named([(DnType::CommonName, "an authority of a test")])
    }

    /// One that calls itself as one of Mozilla's list does, with a key of its own: a client refuses
    /// the signature if it trusts the real one, and the issuer if it does not.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn impostor() -> Authority {
        Authority::named([
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "Internet Security Research Group"),
            (DnType::CommonName, "ISRG Root X2"),
        ])
    }

    fn named<const N: usize>(names: [(DnType, &str); N]) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        for (kind, text) in names {
            // As the real one is written: the names are compared byte by byte.
            let text = PrintableString::try_from(text).expect("letters and spaces");
            params.distinguished_name.push(kind, DnValue::PrintableString(text));
        }
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Writes its certificate as PEM.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).expect("a file that can be written");
    }

    /// Writes a certificate for these names, and its key, as PEM: for a server that is a program.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn save_for(&self, names: &[&str], certificate: &Path, key: &Path) {
        let (signed, pair) = self.sign(names);
        std::fs::write(certificate, signed.pem()).expect("a file that can be written");
        std::fs::write(key, pair.serialize_pem()).expect("a file that can be written");
    }

    fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "a server of a test");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate, key)
    }

    /// Listens with TLS, and a certificate for these names, before a server without; as long as the
    /// process runs.
    ///
    /// # Panics
    /// When the thread or the socket cannot be had.
    pub fn relay(&self, names: &[&str], origin: SocketAddr) -> SocketAddr {
        let (certificate, key) = self.sign(names);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate of this key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound socket");
        std::thread::spawn(move || serve(listener, TlsAcceptor::from(Arc::new(config)), origin));
        address
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

fn serve(listener: TcpListener, acceptor: TlsAcceptor, origin: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let Ok(mut secure) = acceptor.accept(socket).await else { return };
                let Ok(mut plain) = TcpStream::connect(origin).await else { return };
                let _ = plain.set_nodelay(true);
                // The end of either side is for the other one to see, not for a test.
                let _ = copy_bidirectional(&mut secure, &mut plain).await;
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;
    use crate::server::{Answer, serve};
    use crate::{Connection, Dial, Error, Log, Request, Tls, Trust};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_request_goes_over_tls_and_the_log_has_its_text_and_the_facts() {
        let (authority, address) = secured();
        let folder = std::env::temp_dir().join(format!("sse-wire-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let cacert = Some(folder.join("authority.pem"));
        authority.save(cacert.as_deref().unwrap());
        let log = Log::new();
        let trusting = Trust { cacert, ..Trust::default() };
        let asked = ask(&address, &trusting, "localhost", &log);
        assert_eq!(asked.unwrap(), (200, b"GET /x".to_vec()));
        let text = log.render();
        for part in ["TLS 1.3", "CN=a server of a test, verified for localhost", "> GET /x HTTP"] {
            assert!(text.contains(part), "{text}");
        }

        let reason = ask(&address, &trusting, "other.example", &Log::new()).unwrap_err();
        assert!(reason.is_unreachable(), "{reason:?}");
        assert!(reason.to_string().contains("other.example"), "{reason}");
        let named = Trust { server_name: Some("localhost".to_owned()), ..trusting };
        assert_eq!(ask(&address, &named, "other.example", &Log::new()).unwrap().0, 200);

        let reason = ask(&address, &Trust::default(), "localhost", &Log::new()).unwrap_err();
        let words = reason.to_string();
        assert!(words.contains("--cacert") && words.contains("--insecure"), "{words}");
        assert_eq!(words.lines().count(), 1);
        let log = Log::new();
        let insecure = Trust { insecure: true, ..Trust::default() };
        assert_eq!(ask(&address, &insecure, "other.example", &log).unwrap().0, 200);
        assert!(log.render().contains("not verified, asked for other.example"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_server_without_tls_is_named_as_that() {
        let insecure = Trust { insecure: true, ..Trust::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        let reason = ask(&address, &insecure, "localhost", &Log::new()).unwrap_err();
        assert!(matches!(&reason, Error::Handshake { .. }), "{reason:?}");
        assert!(reason.to_string().ends_with("try http://"), "{reason}");
    }

    fn plain() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, 1000, |request| Answer {
            status: "200 OK",
            lines: String::new(),
            body: format!("{} {}", request.method, request.target),
        });
        address
    }

    fn secured() -> (Authority, String) {
        let authority = Authority::new();
        let address = authority.relay(&["localhost"], plain());
        (authority, address.to_string())
    }

    fn ask(address: &str, trust: &Trust, name: &str, log: &Log) -> crate::Result<(u16, Vec<u8>)> {
        let tls = Tls::new(name, trust).unwrap();
        let dial = Dial { address, tls: Some(&tls), receive_buffer: None };
        let mut connection = Connection::dial(dial, PATIENCE, log)?;
        let request = Request::new("GET", "/x").header("Host", name);
        let (head, mut body) = connection.ask(&request)?;
        Ok((head.status, connection.read_body_to_end(&mut body)?))
    }
}
