//! A network between agent and dashboard that can go wrong.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a direction of a connection looks whether it is dead.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Hands on what it hears.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Connections up to this number are dead: nobody says so, and nothing comes through.
    dead_up_to: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { dead_up_to: AtomicUsize::new(0), open: Mutex::new(Vec::new()) });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, agent) in listener.incoming().enumerate() {
                let (agent, dashboard) = (agent.unwrap(), TcpStream::connect(to).unwrap());
                let clone = |stream: &TcpStream| stream.try_clone().unwrap();
                serving.open.lock().unwrap().extend([clone(&agent), clone(&dashboard)]);
                for (from, into) in
                    [(clone(&agent), clone(&dashboard)), (clone(&dashboard), clone(&agent))]
                {
                    let serving = Arc::clone(&serving);
                    thread::spawn(move || serving.hand_on(number + 1, from, into));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All connections so far go silent, as after a sleep or in another network. New ones work.
    pub(crate) fn kill_silently(&self) {
        let connections = self.shared.open.lock().unwrap().len() / 2;
        self.shared.dead_up_to.store(connections, Ordering::Relaxed);
    }

    /// All connections so far end. New ones work.
    pub(crate) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().iter() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn hand_on(&self, number: usize, mut from: TcpStream, mut into: TcpStream) {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            while self.dead_up_to.load(Ordering::Relaxed) >= number {
                thread::sleep(LOOK_EVERY);
            }
            if into.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        while self.dead_up_to.load(Ordering::Relaxed) >= number {
            thread::sleep(LOOK_EVERY);
        }
        let _ = into.shutdown(Shutdown::Both);
    }
}
