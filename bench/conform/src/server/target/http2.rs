//! The server over HTTP/2: by ALPN where it speaks TLS, by prior knowledge where the user says so.

use wire::http2::STREAM_WINDOW;
use wire::{Dial, Error, Http2};

use super::{Need, Target};

impl Target {
    /// The same server, which is known to speak HTTP/2 without TLS, too.
    #[must_use]
    pub fn with_prior_knowledge(mut self, is_known: bool) -> Target {
        self.knows_http2 = is_known;
        self
    }

    /// The same server, which has been seen to speak HTTP/2.
    #[must_use]
    pub fn over_http2(mut self) -> Target {
        self.capabilities.push(Need::Http2);
        self
    }

    /// Whether it speaks HTTP/2: asked without a request.
    ///
    /// # Errors
    /// One line, if its user says so and it does not.
    pub(super) fn offers_http2(&self) -> Result<bool, String> {
        if self.tls.is_none() && !self.knows_http2 {
            return Ok(false);
        }
        match self.http2(STREAM_WINDOW) {
            Ok(_) => Ok(true),
            Err(error) if self.knows_http2 => {
                let url = self.absolute("");
                Err(format!("{url} does not speak HTTP/2: {error}; leave --http2 out"))
            }
            Err(_) => Ok(false),
        }
    }

    /// A new connection of HTTP/2; so many bytes may come on a stream.
    ///
    /// # Errors
    /// Those of [`Http2::dial`].
    pub fn http2(&self, window: u32) -> wire::Result<Http2> {
        self.concurrency.wait_for_place();
        let dial = Dial { address: &self.address, tls: self.tls.as_ref(), receive_buffer: None };
        Http2::dial(dial, window, self.patience, &self.log)
    }

    /// Opens the stream of this path on a new connection of HTTP/2.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn http2_stream(&self, path: &str) -> wire::Result<(Http2, u32)> {
        self.asking_over_http2(|| {
            let mut connection = self.http2(STREAM_WINDOW)?;
            let stream = self.http2_stream_on(&mut connection, path)?;
            Ok((connection, stream))
        })
    }

    /// Opens one more stream on a connection.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn http2_stream_on(&self, connection: &mut Http2, path: &str) -> wire::Result<u32> {
        let stream = connection.ask(&self.get(path))?;
        let head = connection.head(stream)?;
        if !head.is_event_stream() {
            let content_type = head.value("content-type").unwrap_or_default();
            return Err(Error::NotAStream { status: head.status, content_type });
        }
        Ok(stream)
    }
}
