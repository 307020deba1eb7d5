//! The request that the options ask for, and the HTTP client that sends it.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use client::Error;
use client::arguments::RequestArgs;
use client::event_source::{http_client_builder, parse_url, root_cause};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, Url};

use super::print::notice;
use super::tail::{advise, check};
use super::without_scheme;

/// A server that has not answered for this long may be thinking; silence looks like a fault of ours.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A request, and what sends it.
pub(super) struct Wish {
    pub(super) url: Url,
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
    pub(super) http2: bool,
}

impl Wish {
    /// Reads the files that the options name; with `http2` that is spoken from the first byte on.
    pub(super) fn of(args: &RequestArgs, url: &str, http2: bool) -> anyhow::Result<Wish> {
        if let Some(whole) = without_scheme(url) {
            bail!("a URL begins with its scheme; write {whole}");
        }
        let mut url = parse_url(url).map_err(|error| advise(error, false))?;
        let wanted = args.wanted().map_err(anyhow::Error::msg)?;
        let mut fields = Vec::new();
        let mut named = None;
        if let Some(name) = &args.server_name {
            fields.push((HOST, HeaderValue::from_str(&authority(&url))?));
            named = Some((name.as_str(), addresses(&url)?));
            url.set_host(Some(name)).with_context(|| format!("{name:?} is no host name"))?;
        }
        for (name, value) in wanted.headers {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| anyhow!("HTTP cannot carry the value of {name}"))?;
            fields.push((name.parse()?, value));
        }
        let method = wanted.method.parse()?;
        let client = client(args, &url, named.as_ref(), http2)?;
        Ok(Wish { url, client, method, fields, body: wanted.body.map(Bytes::from), http2 })
    }

    /// Sends it once, and waits for the head of the answer.
    pub(super) async fn send(self, last_event_id: Option<&str>) -> anyhow::Result<Response> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in self.fields {
            headers.insert(name, value);
        }
        if let Some(id) = last_event_id {
            let id = HeaderValue::from_bytes(id.as_bytes());
            let id = id.map_err(|_| anyhow!("HTTP cannot carry this id; leave it out"))?;
            headers.insert("last-event-id", id);
        }
        let request = self.client.request(self.method, self.url.clone()).headers(headers);
        let request = match self.body {
            Some(body) => request.body(body),
            None => request,
        };
        let response = say_if_late(Some(PATIENCE), self.url.as_str(), request.send()).await;
        response.map_err(|error| cannot_read(&self.url, &error, self.http2))
    }
}

/// The output of `answer`, with a remark if it has not come after this time.
pub(super) async fn say_if_late<T>(
    patience: Option<Duration>,
    url: &str,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Some(patience) = patience {
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(output) => return output,
            Err(_) => notice(&format!("waiting for an answer from {url}")),
        }
    }
    answer.await
}

/// One line: why a body, or an answer at all, cannot be had, and what to do.
pub(super) fn cannot_read(url: &Url, error: &reqwest::Error, http2: bool) -> anyhow::Error {
    let cause = root_cause(error);
    anyhow!("cannot read {url}: {cause}; {}", remedy(&cause, http2))
}

/// Why there is no connection, in the words of the system.
const UNREACHED: &[&str] =
    &["refused", "unreachable", "No route", "lookup", "timed out", "deadline has elapsed"];

/// Advice when there is no connection, or with `http2` none that speaks it. reqwest has no type for TLS errors.
pub(super) fn remedy(reason: &str, http2: bool) -> &'static str {
    if reason.contains("certificate") {
        "name its authority with --cacert FILE, or accept any with --insecure"
    } else if reason.contains("InvalidContentType") {
        "it does not speak TLS on this port; try http://"
    } else if http2 && !UNREACHED.iter().any(|words| reason.contains(words)) {
        // A server that takes the first bytes of HTTP/2 for a bad request may close before its answer is
        // read, and what is said of that depends on the moment.
        "if it does not speak HTTP/2, leave --http2 out"
    } else {
        check(reason)
    }
}

fn client(
    args: &RequestArgs,
    url: &Url,
    named: Option<&(&str, Vec<SocketAddr>)>,
    http2: bool,
) -> anyhow::Result<Client> {
    let builder = || -> ClientBuilder {
        let builder = http_client_builder(url).tls_danger_accept_invalid_certs(args.insecure);
        match named {
            // HTTP/2 takes the host from the URL, which has the other name.
            Some((name, addresses)) => builder.resolve_to_addrs(name, addresses).http1_only(),
            None if http2 => builder.http2_prior_knowledge(),
            None => builder,
        }
    };
    if let Some(path) = &args.cacert {
        let shown = path.display();
        let pem = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if found.is_empty() {
            anyhow::bail!("{shown} has no certificate that can be used; give one as PEM");
        }
        let client = builder().tls_certs_only(found).build();
        return client.map_err(|error| advise(Error::Client(error), false));
    }
    // A system without root certificates (small containers) gets those that were built in.
    let bundled = || {
        let found = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        found.filter_map(|it| Certificate::from_der(it).ok())
    };
    let client = builder().build().or_else(|_| builder().tls_certs_only(bundled()).build());
    client.map_err(|error| advise(Error::Client(error), false))
}

/// `host[:port]` of a URL.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn addresses(url: &Url) -> anyhow::Result<Vec<SocketAddr>> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    let found = (host, port).to_socket_addrs();
    Ok(found.with_context(|| format!("{host} is not known; check the host in the URL"))?.collect())
}
