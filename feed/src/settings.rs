//! The command line, the same in all six servers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::bus::BusUrl;
use crate::contract::MAX_INTERVAL_MS;

/// How an event gets onto the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// Encoded once by `feed`, fanned out as bytes through the framework's raw body.
    Shared,
    /// Encoded for each stream by the framework's own SSE type, the way its documentation shows.
    Native,
}

impl Encoding {
    /// Its value on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Shared => "shared",
            Encoding::Native => "native",
        }
    }
}

/// The end of the help; PORT and NAME become those of the server.
const EXAMPLES: &str = "\
Examples:
  NAME                             then open http://127.0.0.1:PORT in a browser
  NAME --port 0 --wire-log         any free port; logs requests and events
  NAME --encoding native           the framework's own way
  curl -N 'http://127.0.0.1:PORT/ticks?interval_ms=500'
  curl -N http://127.0.0.1:PORT/messages/news &
  curl -d 'Hello' http://127.0.0.1:PORT/messages/news";

/// The command line of a server. Every flag is also an environment variable.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Settings {
    /// The package of the server that was started; not a setting.
    #[arg(skip)]
    pub server: &'static str,

    /// Address to listen on.
    #[arg(long, env = "SSE_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Port to listen on; 0 takes any free one.
    #[arg(long, env = "SSE_PORT", default_value_t = 0)]
    pub port: u16,

    /// Worker threads [default: one for each core].
    #[arg(long, env = "SSE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=512),
          default_value_t = cores(), hide_default_value = true)]
    pub workers: u16,

    /// How an event gets onto the wire.
    #[arg(long, env = "SSE_ENCODING", value_enum, default_value_t = Encoding::Shared)]
    pub encoding: Encoding,

    /// Events of a topic that can be resumed, in 8 MiB of memory at most.
    #[arg(long, env = "SSE_RETAIN", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub retain: u32,

    /// MiB of memory for the events of all topics together, 1 to 1048576; when they are full, the
    /// largest topics give up their oldest events.
    #[arg(long, env = "SSE_RETAIN_TOTAL_MB", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub retain_total_mb: u32,

    /// Seconds without reader and publisher after which a topic expires, 1 to 31536000.
    #[arg(long, env = "SSE_TOPIC_IDLE_S", default_value_t = 3600,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub topic_idle_s: u64,

    /// Milliseconds between two ticks, unless the client asks for another interval.
    #[arg(long, env = "SSE_TICK_INTERVAL_MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(0..=MAX_INTERVAL_MS))]
    pub tick_interval_ms: u64,

    /// Milliseconds of silence after which a comment is sent; proxies cut a silent connection.
    #[arg(long, env = "SSE_KEEP_ALIVE_MS", default_value_t = 15_000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub keep_alive_ms: u64,

    /// Milliseconds after which a stream that takes no byte is closed.
    #[arg(long, env = "SSE_STALL_TIMEOUT_MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub stall_timeout_ms: u64,

    /// Open streams at most; one more gets 503.
    #[arg(long, env = "SSE_MAX_STREAMS", default_value_t = 100_000)]
    pub max_streams: u64,

    /// Milliseconds from an accepted connection, or from an answer, in which the next request must
    /// be answered; later the connection is closed. An open stream has no such limit.
    #[arg(long, env = "SSE_REQUEST_TIMEOUT_MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub request_timeout_ms: u64,

    /// Connections without an open stream at most; the next one waits until one of them ends.
    #[arg(long, env = "SSE_MAX_PENDING", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_pending: u32,

    /// Publishing needs this bearer token.
    #[arg(long, env = "SSE_PUBLISH_TOKEN", hide_env_values = true)]
    pub publish_token: Option<String>,

    /// A foreign origin whose pages may read and publish, such as `https://example.org`, or `*`;
    /// may be repeated.
    #[arg(long, env = "SSE_ALLOW_ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,

    /// A host name that requests may be for, such as `example.org`, without a port, or `*` for all;
    /// may be repeated. IP addresses and localhost are allowed always, other names get 421.
    #[arg(long, env = "SSE_ALLOW_HOST", value_delimiter = ',', value_parser = host_name)]
    pub allow_host: Vec<String>,

    /// Seconds in which a message with the same `Idempotency-Key` is the same message, 1 to 86400.
    #[arg(long, env = "SSE_IDEMPOTENCY_S", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub idempotency_s: u64,

    /// Where topics live: memory, or the NATS servers of one cluster, such as
    /// `nats://user:password@a:4222,nats://b:4222` or `tls://…`, in a build with the feature nats.
    #[arg(long, env = "SSE_BUS", default_value = "memory", hide_env_values = true)]
    pub bus: BusUrl,

    /// The JetStream stream that has all topics; a node makes it if there is none. Letters, digits,
    /// dashes, underscores.
    #[arg(long, env = "SSE_BUS_STREAM", default_value = "sse", value_parser = stream_name)]
    pub bus_stream: String,

    /// A file for the NATS servers: `user:password`, a token alone, or the JWT and seed of a user, as `nsc generate creds`
    /// writes them.
    #[arg(long, env = "SSE_BUS_CREDENTIALS", value_name = "FILE")]
    pub bus_credentials: Option<PathBuf>,

    /// NATS servers that have each message before it is acknowledged, 1 to 5.
    #[arg(long, env = "SSE_BUS_REPLICAS", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub bus_replicas: u8,

    /// Seconds for which the stream keeps a message, 1 to 31536000. Its other limits are those of
    /// --retain for each topic, and --retain-total-mb on the disk.
    #[arg(long, env = "SSE_BUS_MAX_AGE_S", default_value_t = 86_400,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub bus_max_age_s: u64,

    /// Serve /script too: a client chooses the bytes that it gets.
    #[arg(long, env = "SSE_CONFORMANCE")]
    pub conformance: bool,

    /// Write to standard error everything that is received and sent.
    #[arg(long, env = "SSE_WIRE_LOG")]
    pub wire_log: bool,
}

/// Reads the command line of the server that calls this; ends the process with help or a clear
/// error.
///
/// A macro, because the server's name, version and folder are known where it is compiled.
#[macro_export]
macro_rules! settings {
    () => {
        $crate::settings::Settings::from_command_line(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_DESCRIPTION"),
            env!("CARGO_MANIFEST_DIR"),
        )
    };
}

impl Settings {
    /// The function behind [`settings!`](crate::settings!).
    pub fn from_command_line(
        name: &'static str,
        about: &'static str,
        folder: &'static str,
    ) -> Settings {
        let port = default_port(folder).to_string();
        let command = Settings::command()
            .name(name)
            .bin_name(name)
            .about(about)
            .after_help(EXAMPLES.replace("PORT", &port).replace("NAME", name))
            .mut_arg("port", |arg| arg.default_value(port));
        let matches = command.get_matches();
        let settings = Settings::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Settings { server: name, ..settings }
    }

    /// Bytes of memory for the events of all topics together.
    pub fn retain_total_bytes(&self) -> usize {
        (self.retain_total_mb as usize).saturating_mul(1024 * 1024)
    }

    /// The time in which a message with the same key is the same message.
    pub fn idempotency_window(&self) -> Duration {
        Duration::from_secs(self.idempotency_s)
    }

    /// The silence after which a comment is sent.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

    /// The time after which a stream that takes no byte is closed.
    pub fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }

    /// The time for a request, from an accepted connection or from the last answer.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// A tokio runtime with these worker threads.
    ///
    /// # Errors
    /// Those of the operating system.
    #[cfg(feature = "tokio")]
    pub fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let workers = usize::from(self.workers);
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Settings {
        Settings::parse_from(["test"])
    }
}

/// 8000 and the number that the server's folder begins with: `3_axum` listens on 8003.
fn default_port(folder: &str) -> u16 {
    let name = folder.rsplit(['/', '\\']).next().unwrap_or(folder);
    let digits = name.split('_').next().unwrap_or(name);
    digits.parse::<u16>().ok().and_then(|n| 8000_u16.checked_add(n)).unwrap_or(0)
}

/// A name as a `Host` has it, but without a port.
fn host_name(name: &str) -> Result<String, String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name == "*" || (!name.is_empty() && name.bytes().all(is_name)) {
        Ok(name.strip_suffix('.').unwrap_or(name).to_owned())
    } else {
        Err("not a host name without a port, or *".into())
    }
}

/// A name that is one word of a NATS subject, and of a file name.
fn stream_name(name: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        Ok(name.to_owned())
    } else {
        Err("not 1 to 64 letters, digits, dashes or underscores".into())
    }
}

fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(512).min(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
    }

    #[test]
    fn encodings_have_the_names_that_the_command_line_takes() {
        for encoding in Encoding::value_variants() {
            assert_eq!(Encoding::from_str(encoding.name(), false), Ok(*encoding));
        }
    }

    #[test]
    fn the_port_comes_from_the_folder() {
        assert_eq!(default_port("/any/where/3_axum"), 8003);
        assert_eq!(default_port("/any/where/12_trial"), 8012);
        assert_eq!(default_port("/any/where/trial"), 0);
    }

    #[test]
    fn a_host_that_no_request_could_be_for_is_refused() {
        let parse = |host: &str| Settings::try_parse_from(["test", "--allow-host", host]);
        let hosts = parse("a.example,b.example.,*").expect("names").allow_host;
        assert_eq!(hosts, ["a.example", "b.example", "*"]);
        for bad in ["https://a.example", "a.example:443", "", "a.example/x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_named_with_its_bounds() {
        let error = Settings::try_parse_from(["test", "--keep-alive-ms", "0"]).expect_err("bounds");
        let text = error.to_string();
        assert!(
            text.contains("0 is not in 1..=3600000") && text.contains("--keep-alive-ms"),
            "{text}"
        );
    }
}
