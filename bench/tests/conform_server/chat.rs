//! A server of the kind that answers a POST with a stream that ends, as those of language models do.

#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use wire::peer::Authority;
use wire::server::{ReceivedRequest, RequestReader};

pub const PATH: &str = "/v1/chat/completions";
pub const BODY: &str = "{\"stream\":true}";
pub const TOKEN: &str = "Authorization: Bearer s3cret";

/// A server of the kind that answers a POST with a stream that ends.
pub struct Chat {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

/// Its answer to a request of this number, from 1, in place of the stream.
type Refuse = dyn Fn(usize) -> Option<&'static str> + Send + Sync;

impl Chat {
    pub fn start() -> Chat {
        Chat::refusing(|_| None)
    }

    pub fn refusing(
        refuse: impl Fn(usize) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Chat {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, refuse) = (Arc::default(), Arc::new(refuse));
        let chat = Chat { address, requests: Arc::clone(&requests) };
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (requests, refuse) = (Arc::clone(&requests), Arc::clone(&refuse));
                thread::spawn(move || serve(socket, &requests, &*refuse));
            }
        });
        chat
    }

    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(socket: TcpStream, requests: &Mutex<Vec<ReceivedRequest>>, refuse: &Refuse) {
    let socket = Arc::new(socket);
    let mut reader = RequestReader::new(Arc::clone(&socket), 10_000);
    while let Some((request, _)) = reader.next_request() {
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        let is_to_close = request.header("connection") == Some(b"close");
        // The absolute form means the same (RFC 9112, 3.2.2).
        let answer = match (request.target.ends_with(PATH), request.method.as_str()) {
            _ if refuse(number).is_some() => refuse(number).unwrap().to_owned(),
            (false, _) if is_to_close => {
                "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            }
            (false, _) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            (true, "POST") if request.header("authorization") != Some(b"Bearer s3cret") => {
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            (true, "POST") if request.body == BODY.as_bytes() => stream(&request),
            (true, "POST") => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned(),
            (true, _) => "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\n\
                          Content-Length: 0\r\n\r\n"
                .to_owned(),
        };
        let is_cut = answer.contains("chunked") && !answer.ends_with("0\r\n\r\n");
        let is_last = is_cut || is_to_close || request.version == "HTTP/1.0";
        if (&*socket).write_all(answer.as_bytes()).is_err() || is_last {
            return;
        }
    }
}

fn stream(request: &ReceivedRequest) -> String {
    let events = (1..=4).map(|n| format!("data: {{\"delta\":\"{n}\"}}\n\n"));
    let events = events.chain(["data: [DONE]\n\n".to_owned()]);
    let (framing, body, end) = match request.version.as_str() {
        "HTTP/1.0" => ("Connection: close", events.collect::<String>(), ""),
        _ => {
            let chunks = events.map(|it| format!("{:x}\r\n{it}\r\n", it.len()));
            ("Transfer-Encoding: chunked", chunks.collect(), "0\r\n\r\n")
        }
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n{framing}\r\n\r\n{body}{end}"
    )
}

/// An authority, and the file of its certificate.
pub fn authority(name: &str) -> (Authority, PathBuf) {
    let authority = Authority::new();
    let file = std::env::temp_dir().join(format!("sse-{}-{name}.pem", std::process::id()));
    authority.save(&file);
    (authority, file)
}
