//! A place between agent and dashboard: it hands everything on as it is, and keeps it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use serde::Serialize;
use serde_json::Value;

/// What the agent has said, and what the dashboard has answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exchange {
    method: String,
    pub(crate) path: String,
    /// `shared` or `host`, never a token itself.
    pub(crate) token: &'static str,
    pub(crate) said: Value,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

pub(crate) struct Recorder {
    address: SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Recorder {
    /// Before the dashboard at `url`, whose agents share this token at first.
    pub(crate) fn before(url: &str, shared_token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&exchanges);
        let dashboard = url.trim_start_matches("http://").to_owned();
        let shared = format!("Bearer {shared_token}");
        // It waits for the next connection until the test's own process ends.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (dashboard, shared) = (dashboard.clone(), shared.clone());
                let kept = Arc::clone(&kept);
                thread::spawn(move || hand_on(stream.unwrap(), &dashboard, &shared, &kept));
            }
        });
        Self { address, exchanges }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was said so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap().clone()
    }

    /// Writes it down, one exchange a line, without heartbeats that say what the one before has said, but for the metrics.
    /// Paths of `folders` are made the same for every run.
    pub(crate) fn write(&self, file: &Path, folders: &[&Path]) {
        let mut lines: Vec<String> = Vec::new();
        let mut last_heartbeat = None;
        for exchange in self.exchanges() {
            if exchange.path.ends_with("/register") {
                let mut said = exchange.said.clone();
                said.as_object_mut().unwrap().remove("metrics");
                let heartbeat = Some((exchange.token, said, exchange.answer.clone()));
                if heartbeat == last_heartbeat {
                    continue;
                }
                last_heartbeat = heartbeat;
            }
            let mut line = serde_json::to_string(&exchange).unwrap();
            for folder in folders {
                line = line.replace(&*folder.to_string_lossy(), "/folder");
            }
            lines.push(line);
        }
        std::fs::write(file, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
}

/// Hands on one call. An agent that is killed may leave half of one, which is nobody's.
fn hand_on(
    mut agent: TcpStream,
    dashboard: &str,
    shared: &str,
    kept: &Mutex<Vec<Exchange>>,
) -> Option<()> {
    let mut reader = BufReader::new(agent.try_clone().ok()?);
    let mut head = Vec::new();
    let (mut length, mut token) = (0, "host");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            head.push(line);
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" if value.trim() == shared => token = "shared",
            "connection" => continue,
            _ => {}
        }
        head.push(line);
    }
    let request_line = head.first()?.clone();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;

    let mut upstream = TcpStream::connect(dashboard).ok()?;
    upstream.write_all(head.concat().as_bytes()).ok()?;
    upstream.write_all(b"Connection: close\r\n\r\n").ok()?;
    upstream.write_all(&body).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;

    let text = String::from_utf8_lossy(&answer);
    let (answer_head, answer_body) = text.split_once("\r\n\r\n")?;
    let mut said_back = serde_json::from_str(answer_body).unwrap_or(Value::Null);
    if let Some(token) = said_back.get_mut("agent_token") {
        *token = "the-token-of-this-host".into();
    }
    let mut words = request_line.split(' ');
    kept.lock().unwrap().push(Exchange {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        token,
        said: serde_json::from_slice(&body).unwrap_or(Value::Null),
        status: answer_head.split(' ').nth(1)?.parse().ok()?,
        answer: said_back,
    });
    agent.write_all(&answer).ok()
}
