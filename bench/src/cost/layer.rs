//! Which layer an instruction belongs to: by the source file that it was compiled from.

use std::collections::HashMap;
use std::path::Path;

use addr2line::Loader;
use anyhow::{Result, anyhow};
use fleet::Package;
use serde::{Deserialize, Serialize};

use super::share::Owner;

/// A part of a server, from the code of this workspace down to the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The crate `feed`.
    Feed,
    /// The server's own folder.
    Server,
    /// The framework's crates.
    Framework,
    /// Crates that know HTTP/1.1.
    Http,
    /// Crates that poll tasks and wait for the kernel.
    Runtime,
    /// Other crates.
    Other,
    /// Rust's library, where it is not inlined into another layer.
    Std,
    /// The C library with its allocator.
    Libc,
}

impl Layer {
    /// All, in the order of the table.
    pub const ALL: [Layer; 8] = [
        Layer::Feed,
        Layer::Server,
        Layer::Framework,
        Layer::Http,
        Layer::Runtime,
        Layer::Other,
        Layer::Std,
        Layer::Libc,
    ];

    /// Its heading, short enough for a terminal.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Feed => "feed",
            Layer::Server => "server",
            Layer::Framework => "web",
            Layer::Http => "HTTP",
            Layer::Runtime => "async",
            Layer::Other => "other",
            Layer::Std => "std",
            Layer::Libc => "libc",
        }
    }
}

impl Owner for Layer {
    fn is_called(&self) -> bool {
        matches!(self, Layer::Std | Layer::Libc)
    }
}

/// Crates that know HTTP/1.1.
const HTTP: &[&str] = &[
    "hyper",
    "hyper-util",
    "http",
    "http-body",
    "http-body-util",
    "httparse",
    "headers",
    "actix-http",
];

/// Crates that poll tasks and wait for the kernel.
const RUNTIME: &[&str] =
    &["tokio", "tokio-util", "tokio-stream", "mio", "actix-rt", "actix-server", "actix-utils"];

/// The source of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The layer of its file.
    pub layer: Layer,
    /// The file from its crate on: `tokio-1.54.1/src/runtime/park.rs`.
    pub file: String,
    /// The line in it; 0 if it is not known.
    pub line: u32,
    /// The function: `Inner::park`.
    pub function: String,
}

impl Source {
    /// Code of the C library, of which only the name is known.
    pub fn libc(function: &str) -> Source {
        let file = "libc".to_owned();
        Source { layer: Layer::Libc, file, line: 0, function: function.to_owned() }
    }
}

impl Owner for Source {
    fn is_called(&self) -> bool {
        self.layer.is_called()
    }
}

/// The layers of a program.
pub struct Layers {
    program: Loader,
    folder: String,
    /// The beginning of the names of the framework's crates.
    framework: String,
    known: HashMap<u64, Source>,
}

impl Layers {
    /// The layers of this server's program.
    ///
    /// # Errors
    /// If the program has no debug information that can be read.
    pub fn new(package: &Package, binary: &Path) -> Result<Layers> {
        let program =
            Loader::new(binary).map_err(|error| anyhow!("{}: {error}", binary.display()))?;
        let framework = package.framework.split('-').next().unwrap_or_default().to_owned();
        let folder = package.folder_name().to_owned();
        Ok(Layers { program, folder, framework, known: HashMap::new() })
    }

    /// The source of the instruction at this address of the program. Where code was inlined it is the
    /// innermost file that is not of Rust's library: that has no cost without a caller.
    pub fn source(&mut self, address: u64) -> &Source {
        let Layers { program, folder, framework, known } = self;
        known.entry(address).or_insert_with(|| {
            let mut last = Source {
                layer: Layer::Std,
                file: "?".to_owned(),
                line: 0,
                function: "?".to_owned(),
            };
            let Ok(mut frames) = program.find_frames(address) else {
                return last;
            };
            while let Ok(Some(frame)) = frames.next() {
                let Some(location) = frame.location else { continue };
                let file = location.file.unwrap_or("?");
                let (layer, short) = layer(file, folder, framework);
                let name = frame.function.as_ref().and_then(|it| it.demangle().ok());
                last = Source {
                    layer,
                    file: short.to_owned(),
                    line: location.line.unwrap_or(0),
                    function: short_name(name.as_deref().unwrap_or("?")),
                };
                if layer != Layer::Std {
                    break;
                }
            }
            last
        })
    }
}

/// The layer of a source file, and its name from the crate on.
fn layer<'f>(file: &'f str, folder: &str, framework: &str) -> (Layer, &'f str) {
    if file.starts_with("/rustc/")
        || file.starts_with("/rust/deps/")
        || file.contains("/rustlib/src/")
    {
        return (Layer::Std, file.rsplit_once("/library/").map_or(file, |it| it.1));
    }
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        // A folder for the registry, then `NAME-VERSION`.
        let short = rest.split_once('/').map_or(rest, |it| it.1);
        let name = short.split('/').next().unwrap_or_default();
        let name = name.rsplit_once('-').map_or(name, |it| it.0);
        let layer = match name {
            _ if HTTP.contains(&name) => Layer::Http,
            _ if RUNTIME.contains(&name) => Layer::Runtime,
            _ if name.split(['-', '_']).next() == Some(framework) => Layer::Framework,
            _ => Layer::Other,
        };
        return (layer, short);
    }
    for (own, layer) in [("feed", Layer::Feed), (folder, Layer::Server)] {
        if let Some(at) = file.find(&format!("{own}/src/")) {
            return (layer, &file[at..]);
        }
    }
    (Layer::Other, file)
}

/// The type and the function of a demangled name, without parameters of types and without closures:
/// `<hyper::a::Conn<I, B> as core::future::Future>::poll::{closure#0}` is `Conn::poll`.
fn short_name(name: &str) -> String {
    let name = match name.strip_prefix('<').and_then(implemented) {
        Some((of, rest)) => format!("{}{rest}", without_parameters(of)),
        None => without_parameters(name),
    };
    let parts: Vec<&str> =
        name.split("::").filter(|it| !it.is_empty() && !it.starts_with('{')).collect();
    // Of a closure that was inlined nothing else is known.
    let Some(last) = parts.len().checked_sub(1) else { return "closure".to_owned() };
    parts[last.saturating_sub(1)..].join("::")
}

/// The type in `<TYPE as TRAIT>REST` or `<TYPE>REST`, whose first `<` is gone, and the rest.
fn implemented(name: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    let mut of = None;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            // Not the arrow of a function's type.
            b'>' if !name[..at].ends_with('-') => depth -= 1,
            b' ' if depth == 1 && name[at..].starts_with(" as ") => of = of.or(Some(&name[..at])),
            _ => {}
        }
        if depth == 0 {
            return Some((of.unwrap_or(&name[..at]), &name[at + 1..]));
        }
    }
    None
}

/// The name without all that stands between `<` and `>`.
fn without_parameters(name: &str) -> String {
    let (mut depth, mut last) = (0_usize, ' ');
    let outside = |it: char| {
        match it {
            '<' => depth += 1,
            '>' if last != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        last = it;
        (depth == 0 && it != '>').then_some(it)
    };
    name.chars().filter_map(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_shows_its_layer() {
        let crate_file =
            |name: &str| format!("/h/.cargo/registry/src/index.crates.io-1/{name}/src/a.rs");
        let of = |file: &str| layer(file, "7_newcomer", "new").0;
        assert_eq!(of("/rustc/abc/library/core/src/option.rs"), Layer::Std);
        assert_eq!(of("/w/feed/src/stream/tokio.rs"), Layer::Feed);
        assert_eq!(of("7_newcomer/src/main.rs"), Layer::Server);
        assert_eq!(of(&crate_file("hyper-util-0.1.17")), Layer::Http);
        assert_eq!(of(&crate_file("tokio-1.54.1")), Layer::Runtime);
        assert_eq!(of(&crate_file("new-core-0.5.2")), Layer::Framework);
        assert_eq!(of(&crate_file("newer-0.5.2")), Layer::Other);
        let file = crate_file("tokio-1.54.1");
        assert_eq!(layer(&file, "7_newcomer", "new").1, "tokio-1.54.1/src/a.rs");
    }

    #[test]
    fn a_function_is_named_shortly() {
        for (name, short) in [
            ("main", "main"),
            ("{closure#0}", "closure"),
            ("<hyper::a::Conn<I, B> as core::future::Future>::poll::{closure#0}", "Conn::poll"),
            ("tokio::runtime::Handle::spawn::<fn() -> u8>", "Handle::spawn"),
            ("<tokio::sync::Mutex<T>>::lock", "Mutex::lock"),
            ("<feed::A as feed::B<u8>>::c", "A::c"),
        ] {
            assert_eq!(short_name(name), short, "{name}");
        }
    }
}
