//! Server-Sent Events on one screen: a socket, a thread for each client, and a few lines of text.
//!
//! `cargo run -p sse-std-sockets --example smallest -- 8001`, then `curl -N 127.0.0.1:8001/ticks`.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn main() -> Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(|| serve(socket));
    }
    Ok(())
}

/// Answers one request. An error means that the client has left.
fn serve(mut socket: TcpStream) -> Result<()> {
    let mut head = BufReader::new(socket.try_clone()?).lines();
    let request = head.next().unwrap_or_else(|| Ok(String::new()))?;
    // The head ends with an empty line.
    head.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    if !request.starts_with("GET /ticks ") {
        return socket.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n";
    write!(socket, "{head}Connection: close\r\n\r\n")?;
    for n in 1_u64.. {
        write!(socket, "data: tick {n}\n\n")?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
