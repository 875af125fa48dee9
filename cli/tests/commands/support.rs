//! A control server with canned answers, the commands run inside the test with buffers for their output, and the real
//! binary run under the names it answers to.

use belay_cli::console::Console;
use belay_proto::control::{
    HostVerdict, MemberState, MemberStatus, Phase, ServiceStatus, Status, SubmitParameters, Verdict, WhyReply,
};
use belay_proto::history::{EventId, EventKind, HistoryEvent, Severity};
use belay_proto::{Code, Index, NodeId, OwnershipEpoch, ServiceState, Term, Timestamp};
use belayd::control::{ControlQuery, bind, serve};
use jiff::tz::TimeZone;
use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};

/// Tue Mar  6 10:15:02 2012 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_331_028_902_000);

pub(crate) fn member(id: u32, name: &str, online: bool) -> MemberStatus {
    MemberStatus {
        id: NodeId(id),
        name: name.to_owned(),
        online,
        local: id == 1,
        configured: true,
        state: if online { MemberState::Online } else { MemberState::Lost },
        mode: belay_proto::NodeMode::Active,
        detail: if online { String::new() } else { "being fenced, attempt 2".to_owned() },
    }
}

pub(crate) fn service(name: &str, state: ServiceState, owner: u32, last: u32) -> ServiceStatus {
    let node = |id: u32| (id != 0).then_some(NodeId(id));
    ServiceStatus {
        name: name.parse().unwrap(),
        state,
        frozen: false,
        partial: false,
        owner: node(owner),
        last_owner: node(last),
        restarts: 0,
        transition: Some(Timestamp(1_331_027_891_000)),
        epoch: OwnershipEpoch(3),
        waiting: None,
        copies: Vec::new(),
    }
}

/// The cluster of the reference's samples.
pub(crate) fn alpha() -> Status {
    let mut db = service("service:db", ServiceState::Started, 2, 1);
    db.frozen = true;
    let mut mail = service("service:mail", ServiceState::Started, 1, 0);
    mail.partial = true;
    mail.restarts = 2;
    let mut guest = service("vm:guest1", ServiceState::Stopped, 0, 0);
    guest.transition = None;
    guest.waiting = Some("node3.example.com must be fenced first".to_owned());
    Status {
        cluster: "alpha".to_owned(),
        config_version: 7,
        node: NodeId(1),
        phase: Phase::Working,
        quorate: true,
        term: Term(24),
        index: Index(100),
        committed: Index(100),
        time: NOW,
        age_ms: 120,
        members: vec![
            member(1, "node1.example.com", true),
            member(2, "node2.example.com", true),
            member(3, "node3.example.com", false),
        ],
        services: vec![
            db,
            mail,
            service("service:nfs", ServiceState::Disabled, 0, 2),
            service("service:web", ServiceState::Started, 1, 2),
            guest,
        ],
        locked: false,
        disarmed: None,
        alarms: vec!["node3.example.com cannot be fenced: check its BMC, or: belay ack-fence node3".to_owned()],
    }
}

pub(crate) fn event(index: u64, text: &str, cause: Option<u64>, severity: Severity) -> HistoryEvent {
    HistoryEvent {
        id: EventId { index: Index(index), part: 0 },
        time: NOW,
        kind: EventKind::Service,
        severity,
        node: Some(NodeId(1)),
        service: Some("vm:guest1".parse().unwrap()),
        text: text.to_owned(),
        cause: cause.map(|index| EventId { index: Index(index), part: 0 }),
    }
}

pub(crate) fn verdict(code: Code, reason: &str, owner: u32) -> Verdict {
    Verdict { code, reason: reason.to_owned(), owner: (owner != 0).then_some(NodeId(owner)) }
}

/// A daemon's control server. Stops when dropped.
pub(crate) struct Daemon {
    runtime: Option<Runtime>,
    pub(crate) socket: PathBuf,
    pub(crate) submitted: Arc<Mutex<Vec<SubmitParameters>>>,
    pub(crate) feed: broadcast::Sender<Arc<HistoryEvent>>,
}

/// What the stand-in answers.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) status: Status,
    pub(crate) verdict: Verdict,
    pub(crate) events: Vec<HistoryEvent>,
    /// What speaks against each host.
    pub(crate) hosts: Vec<HostVerdict>,
    /// The state to rehearse on.
    pub(crate) snapshot: String,
    /// Takes requests and dies before it answers.
    pub(crate) dies: bool,
    /// Takes requests and does not answer them, as while a host is being emptied.
    pub(crate) hangs: bool,
    /// So many requests are told first that there is no quorum yet.
    pub(crate) joining: usize,
}

impl Script {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status,
            verdict: verdict(Code::Success, "", 1),
            events: Vec::new(),
            hosts: Vec::new(),
            snapshot: String::new(),
            dies: false,
            hangs: false,
            joining: 0,
        }
    }
}

impl Daemon {
    pub(crate) fn start(socket: &Path, script: Script) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = bind(socket).unwrap();
        let (queries, mut asked) = mpsc::channel(16);
        let submitted = Arc::new(Mutex::new(Vec::new()));
        let (feed, _) = broadcast::channel(64);
        let (recorded, events) = (submitted.clone(), feed.clone());
        runtime.spawn(serve(listener, queries));
        runtime.spawn(async move {
            while let Some(query) = asked.recv().await {
                answer(query, &script, &recorded, &events);
            }
        });
        Self { runtime: Some(runtime), socket: socket.to_owned(), submitted, feed }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn answer(
    query: ControlQuery,
    script: &Script,
    submitted: &Mutex<Vec<SubmitParameters>>,
    feed: &broadcast::Sender<Arc<HistoryEvent>>,
) {
    match query {
        ControlQuery::Status(answer) => drop(answer.send(script.status.clone())),
        ControlQuery::Submit { parameters, answer, .. } => {
            let mut submitted = submitted.lock().unwrap();
            submitted.push(parameters);
            if submitted.len() <= script.joining {
                drop(answer.send(verdict(Code::Quorum, "this host is not in a quorate view", 0)));
            } else if script.hangs {
                // Dropped, it would say that the daemon stops.
                std::mem::forget(answer);
            } else if !script.dies {
                drop(answer.send(script.verdict.clone()));
            }
        }
        ControlQuery::Why { service, answer } => {
            let found = script.status.services.iter().find(|s| s.name == service);
            drop(answer.send(found.map(|s| WhyReply {
                service: s.clone(),
                chain: script.events.clone(),
                hosts: script.hosts.clone(),
            })));
        }
        ControlQuery::Snapshot(answer) => drop(answer.send(script.snapshot.clone())),
        ControlQuery::Events { parameters, answer } => {
            let filter = parameters.filter();
            let events = script.events.iter().filter(|event| filter.wants(event)).cloned().collect();
            drop(answer.send((events, feed.subscribe())));
        }
    }
}

/// A folder with a daemon in it.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) daemon: Daemon,
}

impl World {
    pub(crate) fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(&folder.path().join("control.sock"), script);
        Self { folder, daemon }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.daemon.socket
    }
}

/// What a command said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl std::fmt::Display for Said {
    /// Spaces at the ends of lines are made visible: scripts cut by column, so they count.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, text) in [("stdout", &self.out), ("stderr", &self.err)] {
            if text.is_empty() {
                continue;
            }
            writeln!(f, "--- {name}")?;
            for line in text.split_inclusive('\n') {
                let (line, end) = line.strip_suffix('\n').map_or((line, "(no line end)"), |line| (line, ""));
                let bare = line.trim_end_matches(' ');
                writeln!(f, "{bare}{}{end}", "␣".repeat(line.len() - bare.len()))?;
            }
        }
        write!(f, "--- exit {}", self.status)
    }
}

#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command within the test, on a terminal of this width.
pub(crate) fn run(socket: &Path, width: usize, line: &str) -> Said {
    run_answering(socket, width, line, "")
}

/// Runs a command within the test, and types something when it asks.
pub(crate) fn run_answering(socket: &Path, width: usize, line: &str, typed: &str) -> Said {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut console = Console {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(io::Cursor::new(typed.to_owned())),
        width,
        terminal: false,
        hints: false,
        colour: false,
        zone: TimeZone::UTC,
        now: || NOW,
    };
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let result = match words[0].as_str() {
        "clustat" => belay_cli::clustat::run(&words[1..], socket, &mut console),
        "clusvcadm" => belay_cli::clusvcadm::run(&words[1..], socket, &mut console),
        _ => {
            let mut words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
            words.splice(1..1, ["--socket".into(), socket.into()]);
            belay_cli::run(&words, &mut console)
        }
    };
    let status = console.finish(result);
    drop(console);
    let text = |buffer: Buffer| String::from_utf8(buffer.0.take()).unwrap();
    Said { status, out: text(out), err: text(err) }
}

/// The real binary, called by a name of its own in `folder`.
pub(crate) fn binary(folder: &Path, name: &str) -> Command {
    let link = folder.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_belay"), &link).unwrap();
    }
    let mut command = Command::new(link);
    command.env("TZ", "UTC").env("BELAY_SOCKET", folder.join("control.sock")).env_remove("BELAY_RECONNECT");
    command
}

pub(crate) fn said(output: &Output) -> Said {
    Said {
        status: output.status.code().unwrap().try_into().unwrap(),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}
