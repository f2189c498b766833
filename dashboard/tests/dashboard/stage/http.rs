//! One request, one connection, and the reply as it came.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::Value;

use super::PATIENCE;

/// A request to be sent.
pub(crate) struct Request {
    address: String,
    head: String,
    body: Vec<u8>,
}

/// A request that was sent and not answered yet.
pub(crate) struct OpenRequest {
    stream: TcpStream,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(address: &str, method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        Self { address: address.to_owned(), head, body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        write!(self.head, "{name}: {value}\r\n").unwrap();
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("Content-Type", "application/json").body(body.as_bytes())
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(crate) fn send(self) -> Reply {
        self.open().reply()
    }

    /// Sends it without waiting for the reply.
    pub(crate) fn open(self) -> OpenRequest {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        let length = self.body.len();
        let head = format!("{}Content-Length: {length}\r\n\r\n", self.head);
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a large body may not read all of it; what counts is its reply.
        let _ = stream.write_all(&self.body);
        OpenRequest { stream }
    }
}

impl OpenRequest {
    pub(crate) fn reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            // Bytes that the server did not read reset the connection behind its reply.
            assert!(!bytes.is_empty(), "no reply: {error}");
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no HTTP reply: {bytes:?}"));
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body }
    }
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}
