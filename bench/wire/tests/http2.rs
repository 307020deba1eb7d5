//! Our side of HTTP/2 against a server that others wrote: the crate `h2`, with its own tables and windows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{Request, Response};
use tokio::net::TcpListener;
use wire::http2::{Code, STREAM_WINDOW};
use wire::{Dial, Error, Http2, Log};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than the windows of a stream and of a connection hold at first.
const LARGE_BYTES: usize = 300_000;

#[test]
fn events_come_with_their_head_and_the_end_is_seen() {
    let log = Log::new();
    let mut connection = connect(STREAM_WINDOW, &log);
    // The second head refers to the table that the first one has filled.
    for _ in 0..2 {
        let stream = connection.ask(&get("/two")).unwrap();
        let head = connection.head(stream).unwrap();
        assert_eq!((head.status, head.is_event_stream()), (200, true));
        assert_eq!(head.value("x-long").unwrap(), "é,".repeat(50));
        assert_eq!(connection.fields(stream)[0], (b":status".to_vec(), b"200".to_vec()));
        let data =
            |connection: &mut Http2| connection.next_event(stream).unwrap().map(|it| it.data);
        assert_eq!(data(&mut connection).as_deref(), Some("GET http://h/two s3cret"));
        assert_eq!(data(&mut connection).as_deref(), Some("2"));
        assert_eq!(data(&mut connection), None);
    }
    let text = log.render();
    let asked =
        "> HEADERS stream 1 END_STREAM END_HEADERS, :method: GET, :scheme: http, :authority: h";
    for part in [asked, "authorization: (not shown)", "< DATA stream 1 END_STREAM data: 2\\n\\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn more_than_a_window_comes_whole_and_a_stream_without_room_waits() {
    let mut connection = connect(STREAM_WINDOW, &Log::new());
    let stream = connection.ask(&get("/large")).unwrap();
    let mut bytes = 0;
    while let Some(piece) = connection.next_piece(stream).unwrap() {
        bytes += piece.len();
    }
    assert_eq!(bytes, LARGE_BYTES);

    let mut connection = connect(0, &Log::new());
    let [unread, read] = ["/two"; 2].map(|path| connection.ask(&get(path)).unwrap());
    connection.grant(read).unwrap();
    assert!(connection.next_event(read).unwrap().is_some());
    connection.ping(*b"all read").unwrap();
    assert_eq!((connection.head(unread).unwrap().status, connection.raw(unread).len()), (200, 0));
    connection.grant(unread).unwrap();
    assert!(connection.next_event(unread).unwrap().is_some());
}

#[test]
fn a_reset_and_a_leave_end_one_stream_and_goaway_is_seen() {
    let mut connection = connect(STREAM_WINDOW, &Log::new());
    let reset = connection.ask(&get("/reset")).unwrap();
    let end = connection.next_event(reset).unwrap_err();
    assert!(matches!(end, Error::Reset { code: Code(8), .. }), "{end:?}");
    assert_eq!(end.to_string(), "the stream was reset (CANCEL) before the next event");

    let open = connection.ask(&get("/open")).unwrap();
    assert_eq!(connection.head(open).unwrap().status, 200);
    connection.leave(open).unwrap();
    let last = connection.ask(&get("/two")).unwrap();
    assert!(connection.next_event(last).unwrap().is_some() && !connection.is_going_away());
    connection.ask(&get("/stop")).unwrap();
    assert_eq!(connection.goaway().unwrap(), Code::NO_ERROR);
}

#[test]
fn a_body_is_sent_whole() {
    let mut connection = connect(STREAM_WINDOW, &Log::new());
    let request = wire::Request::new("POST", "/length").header("Host", "h").body([b'x'; 40_000]);
    let stream = connection.ask(&request).unwrap();
    assert_eq!(connection.next_event(stream).unwrap().unwrap().data, "40000");
    let request = wire::Request::new("POST", "/length").header("Host", "h").body([]);
    let stream = connection.ask(&request).unwrap();
    assert_eq!(connection.next_event(stream).unwrap().unwrap().data, "0");
}

#[test]
fn a_server_of_http_1_is_named_as_that() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    wire::server::serve(listener, 1000, |_| wire::server::Answer {
        status: "505 HTTP Version Not Supported",
        ..wire::server::Answer::default()
    });
    let error = dial(address, STREAM_WINDOW, &Log::new()).unwrap_err();
    assert!(error.to_string().contains("HTTP/1"), "{error}");
}

fn get(path: &str) -> wire::Request {
    let request = wire::Request::new("GET", path).header("Host", "h");
    request.header("Authorization", "s3cret").header("Connection", "keep-alive")
}

fn connect(window: u32, log: &Log) -> Http2 {
    dial(serve(), window, log).unwrap()
}

fn dial(address: SocketAddr, window: u32, log: &Log) -> wire::Result<Http2> {
    let address = address.to_string();
    let dial = Dial { address: &address, tls: None, receive_buffer: None };
    Http2::dial(dial, window, PATIENCE, log)
}

/// A server of one connection.
fn serve() -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                if request.uri().path() == "/stop" {
                    connection.graceful_shutdown();
                }
                tokio::spawn(answer(request, respond));
            }
        });
    });
    address
}

/// Answers beside the connection, which goes on meanwhile.
async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let head = Response::builder().header("content-type", "text/event-stream");
    let head = head.header("x-long", "é,".repeat(50)).body(()).unwrap();
    let mut send = respond.send_response(head, false).unwrap();
    match request.uri().path() {
        "/two" => {
            let secret = request.headers()["authorization"].to_str().unwrap();
            let first = format!("data: {} {} {secret}\n\n", request.method(), request.uri());
            all(&mut send, first.into(), false).await;
            all(&mut send, Bytes::from_static(b"data: 2\n\n"), true).await;
        }
        "/large" => all(&mut send, vec![b'\n'; LARGE_BYTES].into(), true).await,
        "/length" => {
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(Ok(piece)) = body.data().await {
                length += piece.len();
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            all(&mut send, format!("data: {length}\n\n").into(), true).await;
        }
        "/reset" => send.send_reset(Reason::CANCEL),
        // Until the client leaves.
        _ => {
            let _ = std::future::poll_fn(|context| send.poll_reset(context)).await;
        }
    }
}

/// Sends as much as there is room for, until all is sent.
async fn all(send: &mut SendStream<Bytes>, mut data: Bytes, ends: bool) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = std::future::poll_fn(|context| send.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        let piece = data.split_to(room.min(data.len()));
        let is_last = ends && data.is_empty();
        if send.send_data(piece, is_last).is_err() {
            return;
        }
    }
}
