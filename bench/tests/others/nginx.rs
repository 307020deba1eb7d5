//! nginx with https and HTTP/2 before one of our servers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use fleet::{Program, Server, eventually};
use wire::peer::Authority;
use wire::{Connection, Dial, Log, Tls, Trust};

use crate::caddy::{LOOK, READY, WORDS_BYTES};
use crate::commands::port;
use crate::servers::{self, installed};

pub struct Nginx {
    port: u16,
    /// The file of its authority.
    pub cacert: String,
    _program: Program,
    _origin: Server,
}

impl Nginx {
    /// One for all tests, killed when the process ends.
    pub fn shared() -> &'static Nginx {
        static NGINX: OnceLock<Nginx> = OnceLock::new();
        NGINX.get_or_init(Nginx::start)
    }

    fn start() -> Nginx {
        let origin = servers::start(&servers::packages()[0], &[]).unwrap();
        let (port, folder) = (port(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let authority = Authority::new();
        let cacert = folder.join("authority.pem");
        authority.save(&cacert);
        authority.save_for(&["localhost"], &folder.join("server.pem"), &folder.join("server.key"));
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(port, &folder, &origin.addr().to_string())).unwrap();
        let mut command = Command::new(installed("nginx", "sbin"));
        command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let mut program = program.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let words = program.stderr(WORDS_BYTES).unwrap();
        let tls = Tls::new("localhost", &Trust { insecure: true, ..Trust::default() }).unwrap();
        let address = format!("localhost:{port}");
        let ready = eventually(READY, LOOK, || {
            let dial = Dial { address: &address, tls: Some(&tls), receive_buffer: None };
            Connection::dial(dial, READY, &Log::new())
        });
        ready.unwrap_or_else(|error| panic!("{error}\n{}", words.text()));
        let cacert = cacert.to_str().unwrap().to_owned();
        Nginx { port, cacert, _program: program, _origin: origin }
    }

    pub fn url(&self, target: &str) -> String {
        format!("https://localhost:{}{target}", self.port)
    }
}

fn configuration(port: u16, folder: &Path, origin: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|it| {
        let path = folder.join(it);
        format!("{it}_temp_path {};", path.display())
    });
    format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        events {{}}
        http {{
            access_log off;
            {}
            server {{
                listen 127.0.0.1:{port} ssl http2;
                server_name localhost;
                ssl_certificate server.pem;
                ssl_certificate_key server.key;
                location / {{
                    proxy_pass http://{origin};
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header Host $http_host;
                    proxy_buffering off;
                }}
            }}
        }}
        ",
        temporary.join("\n            ")
    )
}
