//! Where a URL leads.

/// The parts of `http[s]://host[:port]/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// `host:port` to dial.
    pub address: String,
    /// The value of `Host`.
    pub host: String,
    /// Path and query.
    pub target: String,
}

impl Location {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// One line that says what to write instead.
    pub fn parse(url: &str) -> Result<Location, String> {
        let (is_tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            None => return Err(format!("write http://{url}: a URL begins with its scheme")),
            _ => return Err(format!("{url:?} is no http:// or https:// URL")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("{url:?} needs the form http://host:port/path"));
        }
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if target.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(format!("{url:?} holds characters that must be percent-encoded"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, it)| it.parse::<u16>().is_ok());
        let address = match (has_port, is_tls) {
            (true, _) => authority.to_owned(),
            (false, false) => format!("{authority}:80"),
            (false, true) => format!("{authority}:443"),
        };
        Ok(Location { is_tls, address, host: authority.to_owned(), target })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The host without its port, and without the brackets of an address.
    pub fn name(&self) -> &str {
        let (name, _) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        name.trim_start_matches('[').trim_end_matches(']')
    }
}

/// `http://host[:port]/path?query` in its parts, for peers that are never asked over TLS: `host:port`
/// to dial, the `Host` value, the target.
///
/// # Errors
/// One line that says what to write instead.
pub fn base_url(url: &str) -> Result<(String, String, String), String> {
    let Location { is_tls, address, host, target } = Location::parse(url)?;
    if is_tls {
        return Err(format!("{url:?} is asked without TLS only: give an http:// URL"));
    }
    Ok((address, host, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split() {
        let parts = |url| base_url(url).unwrap();
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("http://a:1/x?y#z"), owned("a:1", "a:1", "/x?y"));
        assert_eq!(parts("HTTP://a"), owned("a:80", "a", "/"));
        assert_eq!(parts("http://[::1]?q"), owned("[::1]:80", "[::1]", "/?q"));
        for bad in ["https://a/", "a/b", "http://", "http://u@a/", "http://a/b c", "ws://a/"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        let location = Location::parse("https://a/b").unwrap();
        assert!(location.is_tls && location.address == "a:443" && location.host == "a");
        assert_eq!((location.name(), location.scheme()), ("a", "https"));
        assert_eq!(Location::parse("https://[::1]:8/").unwrap().name(), "::1");
    }
}
