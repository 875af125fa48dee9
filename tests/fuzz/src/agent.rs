//! The libvirt agent's protocol, from both ends.

use belay_agent_libvirt::emulator::{embed_root, identity};
use belay_agent_libvirt::wire::{Line, Lines};
use belay_driver::Moment;
use belay_driver::vm::{Call, Listing, NoticeKind, Question, Reply, Settings, VmAction, VmDriver, VmEvent};
use belay_engine::state::State;
use belay_proto::agent::{AgentLine, Answer, CallKind};
use belay_proto::entry::{ENTRY_VERSION, Entry, Member, View, What};
use belay_proto::ring::{RingId, RoundId};
use belay_proto::{BootId, Incarnation, NodeId, Term, Timestamp};
use std::time::Duration;

/// The longest line here: in the real protocol no input would come near it.
const LIMIT: usize = 4096;

const URI: &str = "qemu:///system";
const CONF: &str = "<cluster name='c' config_version='1'><clusternodes><clusternode name='one' nodeid='1'/></clusternodes>\
    <rm><vm name='a' path='/vms'/><vm name='b' path='/vms' max_restarts='2' restart_expire_time='60'/></rm></cluster>";
/// What the file of any VM says here.
const DEFINITION: &str = "<domain><name>a</name><memory>1024</memory><vcpu>2</vcpu></domain>";

const MOST_LINES: usize = 200;

/// What an agent writes reaches a driver with work to do, whose reports go to a cluster of one.
pub(crate) fn lines(bytes: &[u8]) {
    let (lines, _) = belayd::executor::agent::fuzzing::lines(bytes, LIMIT);
    let mut host = Host::new();
    for line in lines.into_iter().take(MOST_LINES) {
        let again: AgentLine = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        assert_eq!(again, line, "a line is the same when it is written again");
        host.hears(line);
    }
}

/// A driver, the state that gives it work, and the calls that wait for an answer.
struct Host {
    state: State,
    driver: VmDriver,
    now: Moment,
    open: Vec<Call>,
}

impl Host {
    fn new() -> Self {
        let boot: BootId = "boot".parse().unwrap();
        let mut settings = Settings::new(URI, boot.clone());
        settings.unknown_after = Duration::from_secs(1);
        let now = Moment(1000);
        let mut host = Self { state: State::new(), driver: VmDriver::new(settings, now), now, open: Vec::new() };
        let me = NodeId(1);
        let member = Member { node: me, boot: boot.clone(), incarnation: Incarnation(1), diverged: false };
        let (round, ring) = (RoundId::default(), RingId::default());
        host.applies(What::Config { text: CONF.to_owned() });
        host.applies(What::View(View { round, ring, term: Term(1), members: vec![member], hosts: vec![me] }));
        host.applies(What::Inventory { boot, running: Vec::new() });
        host.assigned();
        host
    }

    fn applies(&mut self, what: What) {
        let time = Timestamp(1_000_000 + self.now.0);
        self.state.apply(&Entry { version: ENTRY_VERSION, from: NodeId(1), time, what });
    }

    fn assigned(&mut self) {
        let assignments = self.state.assignments(NodeId(1), self.state.index());
        self.step(VmEvent::Assigned(assignments));
    }

    fn hears(&mut self, line: AgentLine) {
        match line {
            AgentLine::Hello { .. } => self.notice(NoticeKind::Up),
            AgentLine::Event(event) => self.notice(NoticeKind::Event(event)),
            AgentLine::Answer { id, result } if !self.open.is_empty() => {
                let which = usize::try_from(id).unwrap_or(0) % self.open.len();
                let call = self.open.remove(which);
                let reply = match (&call.question, result) {
                    (Question::Definition(_), Ok(_)) => Reply::Definition(Ok(DEFINITION.to_owned())),
                    (Question::Definition(_), Err(fault)) => Reply::Definition(Err(fault.message)),
                    (Question::Agent(CallKind::List), Ok(Answer::Domains(domains))) => {
                        Reply::List(Ok(Listing { domains, complete: id % 2 == 0 }))
                    }
                    (_, result) => Reply::Answer(result),
                };
                self.step(VmEvent::Answered { call: call.id, reply });
            }
            AgentLine::Answer { .. } => {
                self.now = self.driver.wake_at().max(self.now);
                self.step(VmEvent::Woken);
                assert!(self.driver.wake_at() > self.now, "it is woken again and again and does nothing");
            }
        }
    }

    fn notice(&mut self, what: NoticeKind) {
        self.now = self.now + Duration::from_millis(10);
        self.step(VmEvent::Notice { uri: URI.to_owned(), what });
    }

    fn step(&mut self, event: VmEvent) {
        let mut news = false;
        for action in self.driver.step(self.now, event) {
            match action {
                VmAction::Call(call) => self.open.push(call),
                VmAction::Report(what) => {
                    self.applies(what);
                    news = true;
                }
                VmAction::EnsureAgent(_) | VmAction::Warn { .. } => {}
            }
        }
        if news {
            self.assigned();
        }
    }
}

/// What the daemon writes, as the agent reads it; and what QEMU's arguments and a URI say.
pub(crate) fn calls(bytes: &[u8]) {
    let mut lines = Lines::within(LIMIT, bytes);
    while let Some(line) = lines.next_line().expect("memory does not fail") {
        match line {
            Line::Call(call) => {
                let mut written = serde_json::to_vec(&call).unwrap();
                written.push(b'\n');
                let again = Lines::within(LIMIT * 8, &written[..]).next_line().unwrap();
                assert_eq!(again, Some(Line::Call(call)), "a call is the same when it is written again");
            }
            Line::Bad(_, why) => assert!(!why.is_empty()),
        }
    }
    if let Some((name, _)) = identity(bytes) {
        assert!(!name.contains('\0'));
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = (embed_root(&text), embed_root(&format!("qemu:///embed?root={text}")));
}
