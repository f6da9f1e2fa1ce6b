//! A blocking client that can also send what no client sends, and the server that it talks to.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it is killed when this is dropped.
pub struct Server {
    child: Mutex<Child>,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// The program with the built-in model on the CPU, ready to answer.
    pub fn start(options: &[&str]) -> Self {
        let port = match options.contains(&"--port") {
            true => &[][..],
            false => &["--port", "0"],
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu"))
            .args(["serve", "--device", "cpu"])
            .args(port)
            .args(options)
            .env("FAIRY2I_CACHE", "off")
            .env_remove("FAIRY2I_API_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("a pipe");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let written = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on http://") {
                    let _ = sender.send(address.parse().expect("an address"));
                }
                *written.lock().expect("a log") += &(line + "\n");
            }
        });
        let address = receiver.recv_timeout(PATIENCE);
        let address = address.unwrap_or_else(|_| panic!("{}", log.lock().expect("a log")));
        Self {
            child: Mutex::new(child),
            address,
            log,
        }
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    /// The lines of its log that are about requests to `path`.
    pub fn lines(&self, path: &str) -> Vec<String> {
        let has = |line: &&str| line.contains(&format!("path={path} "));
        self.log().lines().filter(has).map(str::to_owned).collect()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("a process").id()
    }

    /// Its exit code, once it has ended by itself.
    pub fn end(&self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self
                .child
                .lock()
                .expect("a process")
                .try_wait()
                .expect("a status")
            {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end: {}", self.log());
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        stream
    }

    /// Sends bytes as they are, and reads what comes until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // the server may have had enough before the end
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// One request with these headers, on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, headers, body);
        Answer::read(stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes())
    }

    /// What a request must be answered with.
    #[track_caller]
    pub fn good(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()
    }

    /// The text of the only choice of a completion.
    #[track_caller]
    pub fn text(&self, body: &Value) -> String {
        let answer = self.good("/v1/completions", body);
        answer["choices"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// A request whose answer is a stream, read as it comes.
    pub fn stream(&self, path: &str, body: &Value) -> Events {
        let mut stream = self.connect();
        send(&mut stream, "POST", path, &[], body.to_string().as_bytes());
        Events::new(stream)
    }

    /// How many slots have a request, and how many requests wait.
    pub fn busy(&self) -> (usize, usize) {
        let slots = self.get("/slots").json();
        let slots = slots.as_array().expect("slots").iter();
        let waiting = self.metric("fairy2i_requests_waiting");
        (
            slots.filter(|slot| slot["is_processing"] == true).count(),
            waiting as usize,
        )
    }

    /// Waits until no slot has a request.
    #[track_caller]
    pub fn until_idle(&self) {
        let begun = Instant::now();
        while self.busy() != (0, 0) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.busy());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The value of a line of `/metrics`, by what stands before it.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log();
        assert!(
            !log.contains("panicked") || std::thread::panicking(),
            "{log}"
        );
    }
}

/// Sends one request, after whose answer the server is to close the connection.
pub fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    if method == "POST" {
        head += &format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
    }
    let _ = stream.write_all((head + "\r\n").as_bytes());
    let _ = stream.write_all(body); // the server may refuse it before its end
}

/// An answer that has come.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes); // what came before an error counts
        Self::of(&bytes)
    }

    /// The answer in bytes that a server sent.
    pub fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = bytes[end + 4..].to_vec();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunked(&body),
            false => body,
        };
        Self {
            status: status.expect("a status"),
            head,
            body,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {}", self.status, self.text()))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The bytes of a body that came in chunks, as many as came.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&bytes[..end]).ok();
        let length = length.and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(chunk) = length.and_then(|n| bytes.get(end + 2..end + 2 + n)) else {
            break;
        };
        all.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    all
}

/// A stream of events, read as they come.
pub struct Events {
    reader: BufReader<TcpStream>,
    pub status: u16,
}

impl Events {
    fn new(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        while line != "\r\n" {
            line.clear();
            assert!(
                reader.read_line(&mut line).expect("a header") > 0,
                "the head breaks off"
            );
        }
        Self {
            reader,
            status: status.expect("a status"),
        }
    }

    /// All that is left, in order.
    pub fn rest(self) -> Vec<String> {
        self.collect()
    }

    /// The objects of all events that are left; the last event must be `[DONE]`.
    #[track_caller]
    pub fn objects(self) -> Vec<Value> {
        let mut all = self.rest();
        assert_eq!(all.pop().as_deref(), Some("[DONE]"), "{all:?}");
        let object = |text: &String| serde_json::from_str(text).expect("an object");
        all.iter().map(object).collect()
    }
}

impl Iterator for Events {
    type Item = String;

    /// What stands behind the next `data: `.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.trim_end().to_owned());
            }
        }
    }
}
