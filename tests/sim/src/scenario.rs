//! Scenarios: a story told in a few lines, in a cluster where nothing happens but what the story says. The promises are
//! checked after every step of it.
//!
//! ```
//! use belay_sim::scenario::Story;
//! let mut story = Story::of(3, &["web1"]);
//! story.until("web1 runs", |story| story.runs_on("web1").is_some());
//! ```

mod ask;
mod event;
mod expect;
mod file;
mod look;
mod play;
mod setup;
mod simulated;
mod words;

pub use ask::{Answer, Ask};
pub use event::{Event, Sign};
pub use expect::{Expect, Seen};
pub use file::{Happens, Scenario, Step, When};
pub use look::{World, check, lines};
pub use play::{Failure, Options, play};
pub use setup::{Ground, Setup};
pub use words::Mistake;

use crate::shape::Shape;
use crate::sim::Sim;
use belay_engine::state::State;
use belay_engine::state::member::Standing;
use belay_engine::state::service::ServiceRecord;
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId, RequestId, ServiceName, Timestamp};

/// A cluster and what happens in it.
#[derive(Debug)]
pub struct Story {
    /// The cluster.
    pub sim: Sim,
    asked: u32,
}

/// How long anything in a story may take, in simulated milliseconds.
const PATIENCE: u64 = 400_000;

// A story is a test: whatever goes wrong in it ends it, with the trace.
#[allow(clippy::panic)]
impl Story {
    /// A running cluster of so many hosts with these VMs, all started.
    #[must_use]
    pub fn of(hosts: u32, vms: &[&str]) -> Self {
        Self::with(Shape::new(hosts, vms))
    }

    /// A running cluster of this shape.
    #[must_use]
    pub fn with(shape: Shape) -> Self {
        let mut story = Self::cold(shape);
        story.sim.power_on_all();
        story.settle();
        story
    }

    /// A cluster that is switched off.
    #[must_use]
    pub fn cold(shape: Shape) -> Self {
        Self { sim: Sim::new(shape, 1), asked: 0 }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{}\n{what}", self.sim.trace.tail());
    }

    fn checked(&self) {
        if let Some(violation) = self.sim.violation() {
            self.fail(&violation);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) -> &mut Self {
        self.sim.run_for(ms);
        self.checked();
        self
    }

    /// Waits until something is so.
    pub fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) -> &mut Self {
        let limit = self.sim.now() + PATIENCE;
        while !so(self) {
            if self.sim.now() > limit {
                self.fail(&format!("it did not come to be that {what}"));
            }
            self.sim.step();
            self.checked();
        }
        self
    }

    /// Waits until everything is as it should be.
    pub fn settle(&mut self) -> &mut Self {
        self.sim.settle(PATIENCE);
        self.checked();
        if let Some(what) = self.sim.amiss() {
            self.fail(&what);
        }
        self
    }

    /// Where a domain runs, if it runs in one place.
    #[must_use]
    pub fn runs_on(&self, name: &str) -> Option<u32> {
        match self.sim.places(name).as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// What a host's node knows.
    #[must_use]
    pub fn state(&self, host: u32) -> Option<&State> {
        Some(self.sim.daemon(NodeId(host))?.node.state())
    }

    /// A service as a host's node has it.
    #[must_use]
    pub fn record(&self, host: u32, name: &str) -> Option<&ServiceRecord> {
        let service = ServiceName::vm(name).ok()?;
        self.sim.daemon(NodeId(host))?.node.state().service(&service)
    }

    /// What a host's node knows of another host.
    #[must_use]
    pub fn standing(&self, host: u32, of: u32) -> Option<&Standing> {
        self.sim.daemon(NodeId(host))?.node.state().node(NodeId(of)).map(|record| &record.standing)
    }

    /// The cluster's time, as a host's node has it.
    #[must_use]
    pub fn time(&self, host: u32) -> Timestamp {
        self.sim.daemon(NodeId(host)).map_or(Timestamp(0), |daemon| daemon.node.state().time())
    }

    /// Who is fencing a host, as another one knows.
    #[must_use]
    pub fn fencer_of(&self, host: u32, victim: u32) -> Option<u32> {
        let state = self.sim.daemon(NodeId(host))?.node.state();
        let victim = state.victims().find(|(id, _)| id.0 == victim)?.1;
        victim.attempt.as_ref().map(|attempt| attempt.by.0)
    }

    /// Asks through a host; gives the request's id.
    pub fn ask(&mut self, host: u32, request: Request) -> String {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        self.ask_as(host, &id, request);
        id
    }

    /// Asks through a host with an id of one's own.
    pub fn ask_as(&mut self, host: u32, id: &str, request: Request) -> &mut Self {
        match id.parse::<RequestId>() {
            Ok(id) => self.sim.ask(NodeId(host), &id, &request),
            Err(error) => self.fail(&error.to_string()),
        }
        self.checked();
        self
    }

    /// The answer to a request so far.
    #[must_use]
    pub fn answer(&self, id: &str) -> Option<Code> {
        self.sim.verdict(id).map(|verdict| verdict.code)
    }

    /// Asks, and waits for the answer.
    pub fn told(&mut self, host: u32, request: Request) -> Code {
        let id = self.ask(host, request);
        self.until(&format!("{id} is answered"), |story| story.answer(&id).is_some());
        self.answer(&id).unwrap_or(Code::Failure)
    }
}

/// The service of a domain.
///
/// # Panics
/// When this is no name for one.
#[must_use]
#[allow(clippy::expect_used)]
pub fn vm(name: &str) -> ServiceName {
    ServiceName::vm(name).expect("a domain's name")
}
