//! TLS on the way to a server: the certificates that are trusted, and the facts of a handshake.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    ProtocolVersion, RootCertStore, SignatureScheme,
};

/// HTTP/1.1 and HTTP/2, as they are called in a handshake (ALPN).
const HTTP11: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// Which certificates of a server are accepted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// A PEM file of authorities, in place of the system's.
    pub cacert: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
    /// The name that the certificate must be for, in place of the URL's host; it is also sent (SNI).
    pub server_name: Option<String>,
}

/// How to speak TLS to one server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    is_verified: bool,
}

impl Tls {
    /// TLS to the server of this name or address.
    ///
    /// Without a system's authorities (small containers) those of Mozilla's list, as it was when this
    /// was built, are trusted.
    ///
    /// # Errors
    /// One line: a file that cannot be read, or a name that cannot be verified.
    pub fn new(host: &str, trust: &Trust) -> Result<Tls, String> {
        let name = trust.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is no name that a certificate can be for"))?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous();
        let mut config = if trust.insecure {
            config.with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let roots = Arc::new(roots(trust.cacert.as_deref())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            config.with_custom_certificate_verifier(verifier.map_err(|it| it.to_string())?)
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![HTTP11.to_vec()];
        // Each connection stands for another client, which has no session to resume.
        config.resumption = Resumption::disabled();
        Ok(Tls { config: Arc::new(config), name, is_verified: !trust.insecure })
    }

    /// The same, for a client that would rather speak HTTP/2.
    #[must_use]
    pub fn preferring_http2(&self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP11.to_vec()];
        Tls { config: Arc::new(config), ..self.clone() }
    }

    /// The name that is sent, and that the certificate must be for.
    pub fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    pub(super) fn session(&self) -> io::Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)
    }

    /// The facts of a handshake that is over, on one line.
    pub(super) fn facts(&self, session: &ClientConnection) -> String {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        };
        let suite = session.negotiated_cipher_suite();
        let suite = suite.map_or_else(String::new, |it| format!(", {:?}", it.suite()));
        let protocol = if session.alpn_protocol() == Some(HTTP2) { ", HTTP/2" } else { "" };
        let certificate = session.peer_certificates().and_then(|it| it.first());
        let subject = certificate.and_then(subject).unwrap_or_else(|| "no name".to_owned());
        let is = if self.is_verified { "verified for" } else { "not verified, asked for" };
        format!("{version}{suite}{protocol}, certificate of {subject}, {is} {}", self.name.to_str())
    }
}

/// The advice where the server went without a word.
const TRY_HTTP: &str = "; if it does not speak TLS on this port, try http://";

/// The error of a handshake in words that end in advice.
pub fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let why = match reason {
                CertificateError::UnknownIssuer => {
                    "no authority that is trusted here has issued it".to_owned()
                }
                other => other.to_string(),
            };
            format!(
                "its certificate is not accepted: {why}; name its authority with --cacert FILE, or \
                 accept any with --insecure"
            )
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "it does not speak TLS on this port; try http://".to_owned()
        }
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "it has no HTTP/1.1 over TLS".to_owned()
        }
        Some(other) => format!("the TLS handshake failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("it closed the connection within the TLS handshake{TRY_HTTP}")
        }
        // A server of plain text answers and goes: the alert on its answer meets a closed connection.
        None if is_gone(error.kind()) => {
            format!("it broke off the TLS handshake{TRY_HTTP}")
        }
        None => format!("the TLS handshake failed: {error}"),
    }
}

fn is_gone(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn roots(cacert: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = cacert {
        let shown = path.display();
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let found: Vec<_> = read.map_err(|it| format!("cannot read {shown} as PEM: {it:?}"))?;
        if roots.add_parsable_certificates(found).0 == 0 {
            return Err(format!("{shown} has no certificate that can be used"));
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        roots.add_parsable_certificates(bundled.iter().cloned());
    }
    Ok(roots)
}

/// The common name of a certificate's subject, or else the names that it is for.
fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let names: Vec<_> = certificate.valid_dns_names().take(3).collect();
    match common_name(certificate.subject()) {
        Some(name) => Some(format!("CN={name}")),
        None => Some(names.join(", ")).filter(|it| !it.is_empty()),
    }
}

/// Object identifier 2.5.4.3 in DER; its value follows as tag, length and text.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

fn common_name(subject: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(subject, &COMMON_NAME)? + COMMON_NAME.len();
    let length = usize::from(*subject.get(at + 1)?);
    let text = subject.get(at + 2..at + 2 + length)?;
    Some(crate::shown(text)).filter(|it| !it.is_empty())
}

/// `--insecure`: the key is checked, the name and the issuer are not.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
