//! A server in a folder of its own, and clients that send bytes.

use belay_proto::control::{Phase, Status, SubmitParameters, Verdict, WhyReply};
use belay_proto::history::{EventId, EventKind, HistoryEvent, Severity};
use belay_proto::{Code, Index, NodeId, OwnershipEpoch, ServiceState, Term, Timestamp};
use belayd::control::{ControlQuery, Settings, bind, serve_with};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) fn status() -> Status {
    let service = belay_proto::control::ServiceStatus {
        name: "vm:web1".parse().unwrap(),
        state: ServiceState::Started,
        frozen: false,
        partial: false,
        owner: Some(NodeId(1)),
        last_owner: None,
        restarts: 0,
        transition: Some(Timestamp(1)),
        epoch: OwnershipEpoch(1),
        waiting: None,
        copies: Vec::new(),
    };
    let member = belay_proto::control::MemberStatus {
        id: NodeId(1),
        name: "node1".into(),
        online: true,
        local: true,
        configured: true,
        state: belay_proto::control::MemberState::Online,
        mode: belay_proto::NodeMode::Active,
        detail: String::new(),
    };
    Status {
        cluster: "alpha".into(),
        config_version: 7,
        node: NodeId(1),
        phase: Phase::Working,
        quorate: true,
        term: Term(2),
        index: Index(10),
        committed: Index(9),
        time: Timestamp(1000),
        age_ms: 5,
        members: vec![member],
        services: vec![service],
        locked: false,
        disarmed: None,
        alarms: vec!["an alarm".into()],
    }
}

pub(crate) fn event(index: u64, service: &str) -> HistoryEvent {
    HistoryEvent {
        id: EventId { index: Index(index), part: 0 },
        time: Timestamp(index),
        kind: EventKind::Service,
        severity: Severity::Notice,
        node: None,
        service: Some(service.parse().unwrap()),
        text: format!("{service} did something"),
        cause: None,
    }
}

/// What the stand-in for the main loop has seen and holds.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) submitted: Arc<Mutex<Vec<(SubmitParameters, String)>>>,
    /// Requests with the id `later` wait here for their verdict.
    pub(crate) waiting: Arc<Mutex<Vec<oneshot::Sender<Verdict>>>>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) feed: broadcast::Sender<Arc<HistoryEvent>>,
}

impl Backend {
    fn answer(&self, query: ControlQuery) {
        match query {
            ControlQuery::Status(answer) => drop(answer.send(self.status.lock().unwrap().clone())),
            ControlQuery::Submit { parameters, by, answer } => {
                let later = parameters.id.as_str() == "later";
                self.submitted.lock().unwrap().push((parameters, by));
                if later {
                    self.waiting.lock().unwrap().push(answer);
                } else {
                    let verdict = Verdict { code: Code::Success, reason: String::new(), owner: Some(NodeId(1)) };
                    drop(answer.send(verdict));
                }
            }
            ControlQuery::Why { service, answer } => {
                let status = self.status.lock().unwrap();
                let found = status.services.iter().find(|known| known.name == service).cloned();
                drop(answer.send(found.map(|service| WhyReply {
                    service,
                    chain: vec![event(1, "vm:web1")],
                    hosts: Vec::new(),
                })));
            }
            ControlQuery::Snapshot(answer) => drop(answer.send("a state".into())),
            ControlQuery::Events { answer, .. } => {
                drop(answer.send((vec![event(1, "vm:web1")], self.feed.subscribe())));
            }
        }
    }
}

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) main_loop: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path());
        let socket = folder.path().join("control.sock");
        let (queries, mut asked) = mpsc::channel(16);
        let listener = bind(&socket).unwrap();
        let serving = tokio::spawn(serve_with(listener, queries, settings));
        let backend = Backend {
            submitted: Arc::default(),
            waiting: Arc::default(),
            status: Arc::new(Mutex::new(status())),
            feed: broadcast::channel(8).0,
        };
        let answering = backend.clone();
        let main_loop = tokio::spawn(async move {
            while let Some(query) = asked.recv().await {
                answering.answer(query);
            }
        });
        Self { folder, socket, backend, serving, main_loop }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(&self.socket).await
    }

    /// Whether a client that behaves is served.
    pub(crate) async fn serves(&self) {
        let reply = self.connect().await.call("io.belay.Cluster.Status", "{}").await;
        assert_eq!(reply["parameters"]["cluster"], "alpha", "{reply}");
    }

    /// Waits until a further client is served. Whether one ever is.
    pub(crate) async fn place_is_given_back(&self) -> bool {
        for _ in 0..1000 {
            let mut next = self.connect().await;
            // One that is turned away may be gone before it has asked.
            let asked = next.stream.write_all(call("io.belay.Cluster.Status", "{}").as_bytes()).await;
            if asked.is_ok() && next.reply().await.is_some_and(|reply| reply.get("error").is_none()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Waits until something is so; fails when it does not come about.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Backend) -> bool) {
        for _ in 0..3000 {
            if so(&self.backend) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come about");
    }
}

/// Lets other users into a folder.
pub(crate) fn open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    bytes: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self { stream: UnixStream::connect(socket).await.unwrap(), bytes: Vec::new() }
    }

    pub(crate) fn of(stream: UnixStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn call(&mut self, method: &str, parameters: &str) -> Value {
        self.send(call(method, parameters)).await;
        self.reply().await.expect("a reply")
    }

    /// The next reply, or `None` when the server closed the connection. A server that does neither fails the test.
    pub(crate) async fn reply(&mut self) -> Option<Value> {
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, self.next()).await.expect("neither a reply nor a close")
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == 0) {
                let rest = self.bytes.split_off(end + 1);
                let message = std::mem::replace(&mut self.bytes, rest);
                return Some(serde_json::from_slice(&message[..end]).unwrap());
            }
            let mut chunk = vec![0; 65536];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

pub(crate) fn call(method: &str, parameters: &str) -> String {
    format!("{{\"method\":\"{method}\",\"parameters\":{parameters}}}\0")
}

/// A `Submit` that enables vm:web1.
pub(crate) fn submit(id: &str) -> String {
    call("io.belay.Cluster.Submit", &format!(r#"{{"id":"{id}","request":{{"enable":{{"service":"vm:web1"}}}}}}"#))
}
