//! The process of one member: takes orders on its standard input and prints what its ring delivers, as JSON lines.

use belay_proto::{Incarnation, NodeId};
use belayd::ring::corosync::{CorosyncRing, CorosyncSettings};
use belayd::ring::local::{LocalRing, LocalSettings};
use belayd::ring::{Ring, RingEvent};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Names the variable that makes this program a member.
pub(crate) const VARIABLE: &str = "BELAY_TEST_RING_MEMBER";

/// What a member process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) node: u32,
    pub(crate) ring: RingKind,
}

/// Which ring it takes part in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RingKind {
    Local { dir: PathBuf, nodes: u32, token_ms: u64, segment_bytes: u64 },
    Corosync { group: String },
}

/// What it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Propose `count` messages `<prefix>.<number>`, each padded to `size` bytes, `at_once` of them every `every_ms`.
    Burst { prefix: String, count: u64, size: usize, at_once: u64, every_ms: u64 },
    /// Say whether the ring is quorate.
    AskQuorate,
    /// Leave the ring.
    Leave,
    /// Stop taking events until told otherwise.
    Doze(bool),
}

/// What it tells, each with the moment on the machine's clock, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    View { ring: (u32, u64), members: Vec<u32>, hosts: Vec<u32> },
    Message { from: u32, text: String, size: usize },
    Quorum { ring: (u32, u64), quorate: bool },
    Down { reason: String },
    Proposed { text: String },
    Refused { text: String, why: String },
    Quorate(bool),
    CannotJoin { why: String },
    Left,
}

/// The moment on the clock that all processes of the machine share.
pub(crate) fn now_ns() -> u64 {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock exists"));
    u64::try_from(time.as_nanos()).expect("the machine is younger than 500 years")
}

fn tell(told: &Told) {
    let line = serde_json::to_string(&(now_ns(), told)).expect("plain data");
    // Not println: the test harness would keep it to itself. The parent is gone when this fails, and so is our purpose.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A message's bytes: its text, then a filling that a ring could trip over.
fn payload(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(b' ');
    bytes.extend((0..).map(|n: usize| [b'\n', b'\\', 0, 255, b'n'][n % 5]).take(size.saturating_sub(bytes.len())));
    bytes
}

fn describe(bytes: &[u8]) -> Told {
    let text = bytes.split(|byte| *byte == b' ').next().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    assert_eq!(payload(&text, bytes.len()), bytes, "altered on the way");
    Told::Message { from: 0, text, size: bytes.len() }
}

fn on_event(event: RingEvent) {
    let number = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    tell(&match event {
        RingEvent::View { ring, members, hosts } => {
            Told::View { ring: (ring.representative.0, ring.sequence), members: number(members), hosts: number(hosts) }
        }
        RingEvent::Message { from, bytes } => match describe(&bytes) {
            Told::Message { text, size, .. } => Told::Message { from: from.0, text, size },
            other => other,
        },
        RingEvent::Quorum { ring, quorate } => Told::Quorum { ring: (ring.representative.0, ring.sequence), quorate },
        RingEvent::Down { reason } => Told::Down { reason },
    });
}

/// The messages still to be proposed.
struct Burst {
    prefix: String,
    next: u64,
    count: u64,
    size: usize,
    at_once: u64,
    every: Duration,
}

impl Burst {
    fn propose(&mut self, ring: &dyn Ring) {
        for _ in 0..self.at_once.min(self.count - self.next) {
            self.next += 1;
            let text = format!("{}.{}", self.prefix, self.next);
            // Told first: the others must not show it earlier.
            tell(&Told::Proposed { text: text.clone() });
            if let Err(error) = ring.propose(payload(&text, self.size)) {
                tell(&Told::Refused { text, why: error.to_string() });
            }
        }
    }
}

fn open(role: &Role) -> Result<Box<dyn Ring>, String> {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    let incarnation = Incarnation(u64::try_from(started.as_micros()).map_err(|error| error.to_string())?);
    match role.ring.clone() {
        RingKind::Local { dir, nodes, token_ms, segment_bytes } => {
            let settings = LocalSettings {
                dir,
                node: NodeId(role.node),
                incarnation,
                votes: (1..=nodes).map(|node| (NodeId(node), 1)).collect(),
                quorum: nodes / 2 + 1,
                token: Duration::from_millis(token_ms),
                segment_bytes,
            };
            LocalRing::join(settings).map(|ring| Box::new(ring) as Box<dyn Ring>).map_err(|error| error.to_string())
        }
        RingKind::Corosync { group } => {
            let settings = CorosyncSettings { group, node: Some(NodeId(role.node)) };
            CorosyncRing::join(settings).map(|ring| Box::new(ring) as Box<dyn Ring>).map_err(|error| error.to_string())
        }
    }
}

async fn live(role: Role, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut ring = match open(&role) {
        Ok(ring) => ring,
        Err(why) => return tell(&Told::CannotJoin { why }),
    };
    let mut bursts: VecDeque<Burst> = VecDeque::new();
    let mut dozing = false;
    loop {
        let every = bursts.front().map_or(Duration::from_secs(3600), |burst| burst.every);
        tokio::select! {
            event = ring.next(), if !dozing => on_event(event),
            order = orders.recv() => match order {
                None => return,
                Some(Order::Burst { prefix, count, size, at_once, every_ms }) => {
                    let every = Duration::from_millis(every_ms);
                    bursts.push_back(Burst { prefix, next: 0, count, size, at_once, every });
                }
                Some(Order::AskQuorate) => tell(&Told::Quorate(ring.quorum_probe()())),
                Some(Order::Doze(doze)) => dozing = doze,
                Some(Order::Leave) => {
                    ring.leave().await;
                    tell(&Told::Left);
                }
            },
            () = tokio::time::sleep(every) => {
                if let Some(burst) = bursts.front_mut() {
                    burst.propose(ring.as_ref());
                    if burst.next == burst.count {
                        bursts.pop_front();
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "not a test: the process of a member, which the tests start"]
fn member_process() {
    let Ok(role) = std::env::var(VARIABLE) else { return };
    // A frozen member must not outlive a test program that was killed.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("a right every process has");
    let role: Role = serde_json::from_str(&role).expect("the tests wrote it");
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let order = serde_json::from_str(&line).expect("the tests wrote it");
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(live(role, orders));
    std::process::exit(0);
}
