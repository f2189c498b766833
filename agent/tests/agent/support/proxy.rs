//! An HTTP proxy: it keeps what it was asked for, and does it.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The proxy.
pub(crate) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that answers with this line in the place of doing what it is asked for, or does it.
    pub(crate) fn new(refuses_with: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                // A connection that breaks is the other end's business.
                thread::spawn(move || serve(&stream.unwrap(), &kept, refuses_with));
            }
        });
        Self { address, heads }
    }

    /// Its address, with a name and a password.
    pub(crate) fn url(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    client: &TcpStream,
    heads: &Mutex<Vec<String>>,
    refuses_with: Option<&str>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.lock().unwrap().push(head.clone());
    if let Some(line) = refuses_with {
        let mut client = client;
        return client.write_all(format!("{line}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    }
    let target = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    let (server, first) = match target.strip_prefix("http://") {
        // What is asked for in full goes on as it came.
        Some(address) => (address.split('/').next().unwrap_or_default(), head.as_bytes()),
        None => (target, &[][..]),
    };
    let mut server = TcpStream::connect(server)?;
    server.write_all(first)?;
    if first.is_empty() {
        let mut client = client;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || copy(from_server, to_client));
    copy(reader, server)
}

fn copy(mut from: impl io::Read, mut to: TcpStream) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let length = from.by_ref().read(&mut piece)?;
        if length == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        to.write_all(&piece[..length])?;
    }
}
