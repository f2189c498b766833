//! A dashboard on loopback: it answers as a good one does, unless a script says otherwise, and keeps every call.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::eventually;

/// A call that has come in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) body: Value,
}

impl Call {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What a script answers with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This status and JSON.
    Json(u16, Value),
    /// This status, whole header lines, and this text.
    Text(u16, &'static str, String),
    /// Headers, and then this many bytes.
    Flood(usize),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then one a second without end.
    Drip(&'static str),
    /// Nothing, for as long as the dashboard is there.
    Silence,
}

type Script = Arc<dyn Fn(&Call) -> Option<Answer> + Send + Sync>;

/// Which protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    V1,
    V2,
}

/// A command that nobody has acknowledged yet.
struct Queued {
    id: String,
    verb: String,
    leased_until: Option<Instant>,
}

/// How long a command is lent before it is handed out again.
const LEASE: Duration = Duration::from_secs(1);

/// How often a poll looks for a lease that has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

struct World {
    calls: Vec<Call>,
    queue: VecDeque<Queued>,
    outputs: HashMap<String, Vec<u8>>,
    script: Option<Script>,
    speaks: Speaks,
    is_over: bool,
}

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

/// The dashboard.
pub(crate) struct Dashboard {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Dashboard {
    pub(crate) fn new(speaks: Speaks) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), speaks)
    }

    pub(crate) fn on(listener: TcpListener, speaks: Speaks) -> Self {
        let address = listener.local_addr().unwrap();
        let world = World {
            calls: Vec::new(),
            queue: VecDeque::new(),
            outputs: HashMap::new(),
            script: None,
            speaks,
            is_over: false,
        };
        let shared = Arc::new(Shared { world: Mutex::new(world), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.world.lock().unwrap().is_over {
                    break;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(&stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers by this script where it has an answer.
    pub(crate) fn script(&self, script: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) {
        self.shared.world.lock().unwrap().script = Some(Arc::new(script));
    }

    /// Answers as a good dashboard does.
    pub(crate) fn behave(&self) {
        self.shared.world.lock().unwrap().script = None;
    }

    /// Queues a command until it is acknowledged; on v1, until it is handed out.
    pub(crate) fn queue(&self, id: &str, verb: &str) {
        let mut world = self.shared.world.lock().unwrap();
        world.queue.push_back(Queued {
            id: id.to_owned(),
            verb: verb.to_owned(),
            leased_until: None,
        });
        self.shared.changed.notify_all();
    }

    pub(crate) fn calls(&self, method: &str, part: &str) -> Vec<Call> {
        let world = self.shared.world.lock().unwrap();
        world.calls.iter().filter(|call| call.is(method, part)).cloned().collect()
    }

    /// Waits for a call that looks like this.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, part: &str, fits: impl Fn(&Call) -> bool) -> Call {
        eventually(&format!("{method} ...{part}"), || {
            self.calls(method, part).into_iter().find(|call| fits(call))
        })
    }

    /// Waits for the first call of this kind.
    #[track_caller]
    pub(crate) fn first(&self, method: &str, part: &str) -> Call {
        self.call(method, part, |_| true)
    }

    /// The output of a switch as far as it has come.
    pub(crate) fn output(&self, switch: &str) -> Vec<u8> {
        self.shared.world.lock().unwrap().outputs.get(switch).cloned().unwrap_or_default()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        if let Ok(mut world) = self.shared.world.lock() {
            world.is_over = true;
        }
        self.shared.changed.notify_all();
        // The thread that accepts sees the end at the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Serves a connection until its other end goes away.
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(call) = read_call(&mut reader) {
            let answer = self.answer(&call);
            if self.write(stream, answer).is_none() {
                return;
            }
        }
    }

    fn answer(&self, call: &Call) -> Answer {
        let script = {
            let mut world = self.world.lock().unwrap();
            world.calls.push(call.clone());
            world.script.clone()
        };
        script.and_then(|script| script(call)).unwrap_or_else(|| self.good_answer(call))
    }

    fn good_answer(&self, call: &Call) -> Answer {
        let ok = |value| Answer::Json(200, value);
        if call.is("POST", "/register") {
            return ok(self.registered());
        }
        if call.is("GET", "/poll") {
            return ok(self.polled());
        }
        if call.is("POST", "/ack") {
            return self.acknowledge(call);
        }
        if call.is("POST", "/output") {
            return self.take_output(call);
        }
        if call.is("PUT", "/switches/") {
            let id = call.path.rsplit('/').next().unwrap().to_owned();
            let world = self.world.lock().unwrap();
            let offset = world.outputs.get(&id).map_or(0, Vec::len);
            return ok(json!({"status": "recorded", "output_offset": offset}));
        }
        ok(json!({"status": "updated"}))
    }

    fn registered(&self) -> Value {
        let mut world = self.world.lock().unwrap();
        match world.speaks {
            Speaks::V1 => {
                let verb = world.queue.pop_front().map(|queued| queued.verb);
                json!({"status": "registered", "host_id": "host", "command": verb})
            }
            Speaks::V2 => {
                json!({"status": "registered", "host_id": "host", "command": null, "protocol": 2})
            }
        }
    }

    fn polled(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(25);
        let mut world = self.world.lock().unwrap();
        loop {
            let now = Instant::now();
            let is_free =
                |queued: &&mut Queued| queued.leased_until.is_none_or(|until| until < now);
            if let Some(queued) = world.queue.iter_mut().find(is_free) {
                queued.leased_until = Some(now + LEASE);
                return json!({"command": {
                    "id": queued.id, "verb": queued.verb,
                    "lease_seconds": 1, "queued_at": "2026-01-01T00:00:00Z",
                }});
            }
            if world.is_over || now >= deadline {
                return json!({"command": null});
            }
            (world, _) = self.changed.wait_timeout(world, LOOK_EVERY).unwrap();
        }
    }

    fn acknowledge(&self, call: &Call) -> Answer {
        let id = call.path.split('/').rev().nth(1).unwrap();
        let mut world = self.world.lock().unwrap();
        let lent = world.queue.iter().position(|queued| queued.id == id);
        if let Some(index) = lent {
            world.queue.remove(index);
        }
        Answer::Json(200, json!({"status": "acknowledged"}))
    }

    fn take_output(&self, call: &Call) -> Answer {
        let id = call.path.split('/').rev().nth(1).unwrap().to_owned();
        let offset: usize = call.path.rsplit("offset=").next().unwrap().parse().unwrap();
        let mut world = self.world.lock().unwrap();
        let have = world.outputs.entry(id).or_default();
        if offset > have.len() {
            return Answer::Json(409, json!({"output_offset": have.len()}));
        }
        let known = have.len() - offset;
        have.extend(call.raw.iter().skip(known));
        Answer::Json(200, json!({"output_offset": have.len()}))
    }

    fn write(&self, mut stream: &TcpStream, answer: Answer) -> Option<()> {
        match answer {
            Answer::Json(status, value) => {
                let text = value.to_string();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n");
                write_whole(stream, &head, &text)
            }
            Answer::Text(status, header, text) => {
                write_whole(stream, &format!("HTTP/1.1 {status} X\r\n{header}"), &text)
            }
            Answer::Flood(bytes) => {
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).ok()?;
                let piece = vec![b' '; 65536];
                for _ in 0..bytes / piece.len() {
                    stream.write_all(&piece).ok()?;
                }
                None
            }
            Answer::Raw(bytes) => {
                stream.write_all(&bytes).ok()?;
                None
            }
            Answer::Drip(head) => {
                stream.write_all(head.as_bytes()).ok()?;
                while !self.world.lock().unwrap().is_over {
                    stream.write_all(b" ").ok()?;
                    thread::sleep(Duration::from_secs(1));
                }
                None
            }
            Answer::Silence => {
                let world = self.world.lock().unwrap();
                drop(self.changed.wait_while(world, |world| !world.is_over));
                None
            }
        }
    }
}

fn write_whole(mut stream: &TcpStream, head: &str, text: &str) -> Option<()> {
    let whole = format!("{head}Content-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(whole.as_bytes()).ok()
}

fn read_call(reader: &mut BufReader<&TcpStream>) -> Option<Call> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => {
                value.trim().trim_start_matches("Bearer ").clone_into(&mut token);
            }
            _ => {}
        }
    }
    let mut raw = vec![0; length];
    reader.read_exact(&mut raw).ok()?;
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    Some(Call { at: Instant::now(), method, path, token, raw, body })
}
