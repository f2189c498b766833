//! Where the tokens are after a whole run in which home-manager prints all that it can find: in their own files, in the
//! header of the agent's calls, and nowhere else.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use nixfleet_tests::stage::{
    dashboard::{AGENT_TOKEN, Dashboard},
    folder::{HOST, write_private},
    mac::{Mac, MacOptions},
    processes, wait,
};

/// What the operator changes the token to, with characters that an address writes otherwise.
const NEXT_TOKEN: &str = "next/token+for~tests=1";

/// What home-manager prints: its environment, its parents' as far as it may, and every token, plain and in disguise.
const PRINTS_ALL: &str = r#"
env
cat "$sandbox/token" "$HOME/.local/state/nixfleet/token" "$sandbox/config.toml"
for file in "$sandbox/token" "$HOME/.local/state/nixfleet/token"; do
    base64 < "$file" | tr -d '\n'; echo
    { printf 'x'; cat "$file"; } | base64 | tr -d '\n'; echo
    { printf 'me:'; cat "$file"; } | base64 | tr -d '\n'; echo
    sed 's,/,%2F,g; s,+,%2B,g; s,=,%3D,g' "$file"
done
cat /proc/$PPID/environ 2>&1 | tr '\0' '\n' || true
echo "fetching https://me:passw0rd@git.example/x"
"#;

/// Stands between agent and dashboard, and keeps what the agent sends.
struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn new(to: &str) -> Self {
        let to: SocketAddr = to.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for agent in listener.incoming() {
                let (agent, dashboard) = (agent.unwrap(), TcpStream::connect(to).unwrap());
                let (from, back) = (dashboard.try_clone().unwrap(), agent.try_clone().unwrap());
                let kept = Arc::clone(&kept);
                // Each connection is kept as a whole, so that no other one is in the midst of it.
                thread::spawn(move || {
                    let sent = copy(agent, dashboard);
                    kept.lock().unwrap().extend(sent);
                });
                thread::spawn(move || copy(from, back));
            }
        });
        Self { address, heard }
    }

    /// All that was sent by connections that have ended, without the header that a token belongs in.
    fn heard(&self) -> String {
        let heard = self.heard.lock().unwrap();
        let text = String::from_utf8_lossy(&heard);
        let lines = text.split("\r\n");
        let is_header =
            |line: &&str| line.to_ascii_lowercase().starts_with("authorization: bearer ");
        lines.filter(|line| !is_header(line)).collect::<Vec<_>>().join("\r\n")
    }
}

/// Copies to the end; answers with what there was.
fn copy(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut piece) {
        all.extend(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    let _ = to.shutdown(std::net::Shutdown::Both);
    all
}

/// Looks again and again at the command lines of all that runs because of a folder.
struct CommandLines {
    seen: Arc<Mutex<BTreeSet<String>>>,
    is_over: Arc<AtomicBool>,
    looks: JoinHandle<()>,
}

impl CommandLines {
    fn watch(root: &Path) -> Self {
        let (root, seen) = (root.to_owned(), Arc::new(Mutex::new(BTreeSet::new())));
        let is_over = Arc::new(AtomicBool::new(false));
        let (kept, end) = (Arc::clone(&seen), Arc::clone(&is_over));
        let looks = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let found = processes::of(&root).into_iter().map(|found| found.command);
                kept.lock().unwrap().extend(found);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { seen, is_over, looks }
    }

    fn end(self) -> BTreeSet<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.looks.join().unwrap();
        let seen = self.seen.lock().unwrap();
        seen.clone()
    }
}

/// A token as it may be written: as it is, in Base64 wherever it stands in there, with percent signs.
fn guises(token: &str) -> Vec<String> {
    let mut guises = vec![token.to_owned()];
    for before in ["", "x", "xx"] {
        let text = format!("{before}{token}");
        let (begin, end) = ((before.len() * 8).div_ceil(6), text.len() * 8 / 6);
        guises.push(STANDARD_NO_PAD.encode(&text)[begin..end].to_owned());
    }
    guises.push(token.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"));
    guises
}

fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_in(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

#[test]
fn tokens_are_in_their_files_and_in_their_header_and_nowhere_else() {
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
    let tap = Tap::new(dashboard.url());
    let mac = Mac::new(&format!("http://{}", tap.address), MacOptions::default()).unwrap();
    let root = mac.folder.root().to_owned();
    let command_lines = CommandLines::watch(&root);
    let old = mac.wait_for_agent().unwrap();
    let own_token_file = mac.folder.state_dir().join("token");
    let own_token = wait::until("the host has a token of its own", wait::PATIENCE, || {
        Ok(fs::read_to_string(&own_token_file).ok())
    });
    let own_token = own_token.unwrap().trim().to_owned();

    // One that the dashboard asks for and that takes the agent away, and one of the user's with another token by then.
    mac.next_switch_replaces_the_agent(2, PRINTS_ALL).unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    let first = dashboard.wait_for_result(HOST, &command).unwrap();
    mac.wait_for_next_agent(&old).unwrap();
    write_private(&mac.folder.path("token"), NEXT_TOKEN).unwrap();
    mac.folder.scenario(PRINTS_ALL).unwrap();
    let mut typed = mac.folder.user_command("nixfleet-switch");
    // The one before may still be looking after the agent.
    let typed = typed.arg("--wait").env("NIXFLEET_TOKEN", NEXT_TOKEN).output().unwrap();
    assert!(typed.status.success(), "{}", String::from_utf8_lossy(&typed.stderr));
    wait::until_true("the dashboard has both, with their output", wait::PATIENCE, || {
        let switches = dashboard.switches(HOST)?;
        let mut whole = true;
        for switch in &switches {
            let output = dashboard.output(HOST, &switch.id)?;
            whole &= switch.result.is_some() && output.contains("git.example/x");
        }
        Ok(whole && switches.len() == 2)
    })
    .unwrap();

    // What is sent is only known whole when the connections have ended.
    let output = dashboard.output(HOST, &first.id).unwrap();
    let record = mac.folder.agent_record().unwrap().unwrap();
    processes::signal(record.process.pid, rustix::process::Signal::TERM);
    wait::until_true("what was sent is known", wait::PATIENCE, || {
        Ok(tap.heard().contains("git.example/x"))
    })
    .unwrap();
    let command_lines = command_lines.end();
    let heard = tap.heard();
    assert!(output.contains("****") && heard.contains("PUT /api/hosts/testmac/switches/"));
    assert!(command_lines.iter().any(|line| line.contains("nixfleet-switch run")));

    let own_places =
        [mac.folder.path("token"), own_token_file, place.path().join("dashboard/agent-token")];
    let mut files = Vec::new();
    files_in(&root, &mut files);
    files_in(place.path(), &mut files);
    files.retain(|file| !own_places.contains(file));
    assert!(files.iter().any(|file| file.ends_with("output.log")));
    let mut found = Vec::new();
    for token in [AGENT_TOKEN, NEXT_TOKEN, &own_token] {
        for guise in guises(token) {
            for file in &files {
                // A file may be replaced while it is searched; then it is another's turn.
                let content = fs::read(file).unwrap_or_default();
                if String::from_utf8_lossy(&content).contains(&guise) {
                    found.push(format!("{guise} is in {}", file.display()));
                }
            }
            if heard.contains(&guise) {
                found.push(format!("{guise} was sent"));
            }
            if command_lines.iter().any(|line| line.contains(&guise)) {
                found.push(format!("{guise} was in a command line"));
            }
        }
    }
    assert_eq!(found, [""; 0]);
    assert!(!heard.contains("passw0rd"));
}
