//! The connections of nodes to a broker, which can be cut as a cable can.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Link {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Link {
    /// Listens at a port, and passes its connections on to the broker at this port.
    pub fn to(broker: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let link = Link { port, state: Arc::clone(&state) };
        thread::spawn(move || {
            for node in listener.incoming().map_while(Result::ok) {
                let mut state = state.lock().unwrap();
                if state.is_cut {
                    continue;
                }
                let broker = TcpStream::connect(("127.0.0.1", broker)).unwrap();
                for (from, to) in [(&node, &broker), (&broker, &node)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                state.open.extend([node, broker]);
            }
        });
        link
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends all connections, and takes no further one.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_cut = true;
        for socket in state.open.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub fn restore(&self) {
        self.state.lock().unwrap().is_cut = false;
    }
}
