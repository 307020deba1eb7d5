//! The connection of a node to a broker that lags behind: it does not have the newest messages yet, and describes the
//! stream without them, as a broker does that has just become the leader.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// The replies to which a message of a consumer asks for.
const ACKNOWLEDGE: &str = "$JS.ACK.";
/// The kind of the answer that describes a stream.
const DESCRIPTION: &str = "io.nats.jetstream.api.v1.stream_info_response";

pub struct Lag {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The last number that the broker seems to have.
    last: Option<u64>,
    held: Vec<Frame>,
    described: usize,
    node: Option<TcpStream>,
}

/// A line of the protocol, and the payload behind it.
struct Frame {
    line: String,
    payload: Vec<u8>,
}

impl Lag {
    /// Listens at a port, and passes its one connection on to the broker at this port.
    pub fn before(broker: u16) -> Lag {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let lag = Lag { port, state: Arc::clone(&state) };
        thread::spawn(move || {
            for node in listener.incoming().map_while(Result::ok) {
                let broker = TcpStream::connect(("127.0.0.1", broker)).unwrap();
                let (mut from, mut to) = (node.try_clone().unwrap(), broker.try_clone().unwrap());
                thread::spawn(move || io::copy(&mut from, &mut to));
                state.lock().unwrap().node = Some(node);
                let state = Arc::clone(&state);
                thread::spawn(move || pass_on(BufReader::new(broker), &state));
            }
        });
        lag
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on no message comes, and this number is the last one.
    pub fn begin(&self, last: u64) {
        self.state.lock().unwrap().last = Some(last);
    }

    /// How often the stream was described without its newest messages.
    pub fn described(&self) -> usize {
        self.state.lock().unwrap().described
    }

    /// The broker has caught up.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.last = None;
        for frame in std::mem::take(&mut state.held) {
            frame.write(state.node.as_ref().unwrap()).unwrap();
        }
    }
}

fn pass_on(mut broker: BufReader<TcpStream>, state: &Mutex<State>) -> io::Result<()> {
    while let Some(mut frame) = Frame::read(&mut broker)? {
        let mut state = state.lock().unwrap();
        if let Some(last) = state.last {
            if frame.line.contains(ACKNOWLEDGE) {
                state.held.push(frame);
                continue;
            }
            state.described += usize::from(frame.describe_up_to(last));
        }
        frame.write(state.node.as_ref().unwrap())?;
    }
    Ok(())
}

impl Frame {
    fn read(broker: &mut impl BufRead) -> io::Result<Option<Frame>> {
        let mut line = String::new();
        if broker.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let has_payload = line.starts_with("MSG ") || line.starts_with("HMSG ");
        let bytes = line.split_ascii_whitespace().last().filter(|_| has_payload);
        let mut payload = vec![0; bytes.map_or(0, |it| it.parse::<usize>().unwrap() + 2)];
        broker.read_exact(&mut payload)?;
        Ok(Some(Frame { line, payload }))
    }

    fn write(&self, mut to: &TcpStream) -> io::Result<()> {
        to.write_all(&[self.line.as_bytes(), &self.payload].concat())
    }

    /// Makes this the last number, if it is an answer that describes a stream.
    fn describe_up_to(&mut self, last: u64) -> bool {
        let Ok(mut answer) = serde_json::from_slice::<Value>(&self.payload) else { return false };
        if answer["type"] != DESCRIPTION {
            return false;
        }
        answer["state"]["last_seq"] = last.into();
        let payload = answer.to_string();
        let (head, _) = self.line.trim_end().rsplit_once(' ').unwrap();
        self.line = format!("{head} {}\r\n", payload.len());
        self.payload = (payload + "\r\n").into_bytes();
        true
    }
}
