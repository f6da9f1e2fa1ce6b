//! A hub on this machine: what its paths answer, a store of large files beside it, and what can go wrong on the way.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// The commit of the one revision there is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The one repository.
pub const ID: &str = "owner/model";

/// What the hub has and how it behaves.
#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The token without which files are not for everybody.
    pub gated: Option<String>,
    /// Answers of the store that break in the middle.
    pub breaks: usize,
    /// The store knows no ranges.
    pub no_ranges: bool,
    /// The store has other bytes.
    pub corrupt: bool,
    /// What the hub says of sizes, if not the truth.
    pub announced: Option<u64>,
    /// What was asked: `GET /path`, with ` FROM-` of a range.
    pub asked: Vec<String>,
}

/// A hub, and its store on another port.
pub struct Server {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let state = Arc::new(Mutex::new(State {
            files,
            ..State::default()
        }));
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (hub, store) = (listen(), listen());
        let address = |l: &TcpListener| format!("http://{}", l.local_addr().expect("bound"));
        let (endpoint, cdn) = (address(&hub), address(&store));
        serve(store, state.clone(), |request, state| {
            stored(request, state)
        });
        serve(hub, state.clone(), move |request, state| {
            answer(request, state, &cdn)
        });
        Self { endpoint, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked")
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes after which the connection breaks.
    stop: Option<usize>,
}

fn reply(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Reply {
    Reply {
        status,
        headers: headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
        body: body.to_vec(),
        stop: None,
    }
}

fn serve(
    listener: TcpListener,
    state: Arc<Mutex<State>>,
    answer: impl Fn(&Request, &mut State) -> Reply + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, answer) = (state.clone(), answer.clone());
            std::thread::spawn(move || {
                let Some(request) = read(&stream) else { return };
                let mut state = state.lock().expect("no test panicked");
                let range = request
                    .headers
                    .get("range")
                    .map(|r| r.replace("bytes=", " "));
                let asked = format!("{} {}", request.method, request.path);
                state.asked.push(asked + &range.unwrap_or_default());
                let reply = answer(&request, &mut state);
                drop(state);
                let _ = write(&stream, &request, reply);
            });
        }
    });
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    });
    Some(Request {
        method,
        path,
        headers: headers.collect(),
    })
}

fn write(mut stream: &TcpStream, request: &Request, reply: Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let length = reply.body.len();
    head += &format!("Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body[..reply.stop.unwrap_or(length)])?;
    }
    stream.flush()
}

/// The name of a large file's blob.
pub fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// The name of a small file's blob.
pub fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    base16ct::lower::encode_string(&hasher.finalize())
}

/// Whether the hub keeps a file in the store.
pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// The hub.
fn answer(request: &Request, state: &mut State, cdn: &str) -> Reply {
    let refuse = |status, code| reply(status, &[("X-Error-Code", code)], b"");
    if let Some(path) = request.path.strip_prefix("/api/models/") {
        return match path
            .strip_prefix(ID)
            .and_then(|p| p.strip_prefix("/revision/"))
        {
            None => refuse(401, "RepoNotFound"),
            Some("main" | "v1.0" | "refs%2Fpr%2F1" | COMMIT) => {
                let siblings = state.files.keys();
                let siblings: Vec<_> = siblings
                    .map(|n| serde_json::json!({"rfilename": n}))
                    .collect();
                let body = serde_json::json!({"id": ID, "sha": COMMIT, "siblings": siblings});
                reply(200, &[], body.to_string().as_bytes())
            }
            Some(_) => refuse(404, "RevisionNotFound"),
        };
    }
    let told = request.headers.get("authorization");
    if let Some(token) = &state.gated {
        match told {
            None => return refuse(401, "GatedRepo"),
            Some(told) if *told != format!("Bearer {token}") => return refuse(403, "GatedRepo"),
            Some(_) => {}
        }
    }
    let file = request
        .path
        .strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"));
    let Some((name, bytes)) = file.and_then(|name| state.files.get_key_value(name)) else {
        return refuse(404, "EntryNotFound");
    };
    if is_large(name) {
        let hash = sha256(bytes);
        let location = format!("{cdn}/{hash}?signature=1");
        let size = state.announced.unwrap_or(bytes.len() as u64).to_string();
        let headers = [
            ("X-Repo-Commit", COMMIT),
            ("X-Linked-Etag", &format!("\"{hash}\"")),
            ("X-Linked-Size", &size),
            ("Location", &location),
        ];
        return reply(302, &headers, b"");
    }
    let etag = format!("W/\"{}\"", git_sha1(bytes));
    reply(200, &[("X-Repo-Commit", COMMIT), ("ETag", &etag)], bytes)
}

/// The store.
fn stored(request: &Request, state: &mut State) -> Reply {
    if request.headers.contains_key("authorization") {
        return reply(400, &[], b"a token that is none of its business");
    }
    let hash = request
        .path
        .trim_start_matches('/')
        .replace("?signature=1", "");
    let Some(bytes) = state.files.values().find(|bytes| sha256(bytes) == hash) else {
        return reply(404, &[], b"");
    };
    let mut bytes = bytes.clone();
    if state.corrupt {
        bytes[9] ^= 1;
    }
    let from = request.headers.get("range").filter(|_| !state.no_ranges);
    let from = from.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.unwrap_or(0);
    if from >= bytes.len() {
        return reply(416, &[], b"");
    }
    let (size, last) = (bytes.len(), bytes.len() - 1);
    let mut reply = match from {
        0 => reply(200, &[], &bytes),
        _ => {
            let range = format!("bytes {from}-{last}/{size}");
            reply(206, &[("Content-Range", &range)], &bytes[from..])
        }
    };
    if state.breaks > 0 {
        state.breaks -= 1;
        reply.stop = Some(reply.body.len() / 2);
    }
    reply
}
