//! The loop: everything that happens to this host becomes an event for the node, and every action that comes back is
//! carried out, in order. Nothing is decided here.

mod actions;
mod boot;
mod clock;
pub mod journal;
mod recorder;
mod systemd;

use crate::control::{self, ControlQuery};
use crate::executor::agent::AgentSettings;
use crate::executor::fence::{FenceExecutor, FenceSettings};
use crate::executor::vm::{VmExecutor, VmExecutorHandle, VmSettings};
use crate::ring::{Ring, RingEvent};
use crate::settings::{OnStop, Settings};
use crate::store::{Health, StoreHandle};
use anyhow::{Context, Result, bail};
use belay_engine::node::{Event, Node};
use belay_proto::RequestId;
use belay_proto::control::Verdict;
use belay_proto::entry::What;
use belay_proto::ring::RingMessage;
pub use boot::BadConfiguration;
use clock::now;
use recorder::Recorder;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many reports, queries and the like may wait. Senders wait beyond that.
const QUEUE: usize = 1024;

/// Everything the loop works with.
struct Shell {
    settings: Settings,
    node: Node,
    ring: Box<dyn Ring>,
    store: Arc<StoreHandle>,
    recorder: Recorder,
    vms: VmExecutorHandle,
    fencing: FenceExecutor,
    /// What executors ask right before they act.
    may_act: Arc<AtomicBool>,
    askers: BTreeMap<RequestId, Vec<oneshot::Sender<Verdict>>>,
    persisted: mpsc::UnboundedSender<Event>,
    systemd: systemd::Systemd,
    wake: Instant,
    since_snapshot: u64,
    leaving: bool,
    over: bool,
}

/// What the loop listens to.
struct Ears {
    reports: mpsc::Receiver<What>,
    queries: mpsc::Receiver<ControlQuery>,
    persisted: mpsc::UnboundedReceiver<Event>,
    health: watch::Receiver<Health>,
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start, or its store is broken.
pub async fn run(settings: Settings) -> Result<()> {
    let host = boot::prepare(&settings)?;
    let listener = control::bind(&settings.socket)?;
    let store = Arc::new(StoreHandle::spawn(host.store)?);
    let ring = boot::join_ring(&settings, &host.identity, &host.config).await?;
    let may_act = Arc::new(AtomicBool::new(false));
    let (report, reports) = mpsc::channel(QUEUE);
    // The node knows whether the view is quorate, the ring whether that still holds this very moment.
    let probe = {
        let (may_act, ring_quorate) = (Arc::clone(&may_act), ring.quorum_probe());
        move || may_act.load(Ordering::SeqCst) && ring_quorate()
    };
    let agent = AgentSettings::new(&settings.agent);
    let vm_settings = VmSettings::new(agent, &settings.hypervisor, host.identity.boot.clone());
    let vms = VmExecutor::spawn(vm_settings, report.clone(), probe.clone());
    let mark = Some(settings.state_dir.clone().into_os_string());
    let fence = FenceSettings { time_limit: settings.fence_timeout.into(), mark, ..FenceSettings::default() };
    let fencing = FenceExecutor::spawn(fence, report, Arc::new(probe));
    let (query, queries) = mpsc::channel(QUEUE);
    tokio::spawn(control::serve(listener, query));
    let (persisted, written) = mpsc::unbounded_channel();
    let recorder = Recorder::new(Arc::clone(&store)).await;
    let ears = Ears {
        reports,
        queries,
        persisted: written,
        health: store.health(),
        term: signal(SignalKind::terminate())?,
        int: signal(SignalKind::interrupt())?,
        hup: signal(SignalKind::hangup())?,
    };
    tracing::info!("belayd {} runs as {} (node {})", host.identity.software, host.name, host.identity.node);
    let shell = Shell {
        node: Node::new(host.identity, host.state, now()).having_promised(host.promised),
        settings,
        ring,
        store,
        recorder,
        vms,
        fencing,
        may_act,
        askers: BTreeMap::new(),
        persisted,
        systemd: systemd::Systemd::new(),
        wake: Instant::now(),
        since_snapshot: 0,
        leaving: false,
        over: false,
    };
    shell.work(ears, host.file).await
}

impl Shell {
    async fn work(mut self, mut ears: Ears, file: (u64, String)) -> Result<()> {
        self.step(Event::ConfigFile { version: file.0, text: file.1 });
        self.systemd.ready();
        let mut pulse = tokio::time::interval(self.systemd.pulse());
        let mut give_up = None;
        while !self.over {
            let deadline = give_up.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                event = self.ring.next() => self.ring_event(event),
                Some(what) = ears.reports.recv() => self.step(Event::Report(what)),
                Some(event) = ears.persisted.recv() => self.step(event),
                Some(query) = ears.queries.recv() => self.query(query),
                Ok(()) = ears.health.changed() => {
                    let health = ears.health.borrow_and_update().clone();
                    self.health(health)?;
                }
                () = tokio::time::sleep_until(self.wake) => self.step(Event::Timer),
                _ = pulse.tick() => self.systemd.alive(&self.node.status(now())),
                _ = ears.term.recv() => give_up = self.leave("SIGTERM").or(give_up),
                _ = ears.int.recv() => give_up = self.leave("SIGINT").or(give_up),
                _ = ears.hup.recv() => self.reload(),
                () = tokio::time::sleep_until(deadline), if give_up.is_some() => {
                    tracing::warn!("stopping took longer than {}; ending now", self.settings.stop_timeout);
                    self.over = true;
                }
            }
        }
        self.ring.leave().await;
        // An agent that is inside of a start finishes it: half a start would leave the hypervisor half a domain.
        self.vms.end().await;
        Ok(())
    }

    /// Gives the node an event and carries out what it says.
    fn step(&mut self, event: Event) {
        let actions = self.node.step(now(), event);
        self.carry_out(actions);
    }

    fn ring_event(&mut self, event: RingEvent) {
        match event {
            RingEvent::View { ring, members, hosts } => self.step(Event::RingView { ring, members, hosts }),
            RingEvent::Message { from, bytes } => match RingMessage::decode(&bytes) {
                Ok(message) => self.step(Event::RingMessage { from, message }),
                Err(error) => tracing::error!("node {from} sent what this host cannot read: {error}"),
            },
            RingEvent::Quorum { ring, quorate } => {
                if !quorate {
                    self.may_act.store(false, Ordering::SeqCst);
                }
                self.step(Event::RingQuorum { ring, quorate });
            }
            RingEvent::Down { reason } => {
                self.may_act.store(false, Ordering::SeqCst);
                self.step(Event::RingDown { reason });
            }
        }
    }

    fn query(&mut self, query: ControlQuery) {
        match query {
            ControlQuery::Status(answer) => {
                // Whoever asked may have gone: that is no concern of ours, here and below.
                let _ = answer.send(self.node.status(now()));
            }
            ControlQuery::Snapshot(answer) => {
                let _ = answer.send(self.node.state().snapshot());
            }
            ControlQuery::Why { service, answer } => {
                let _ = answer.send(self.node.why(&service));
            }
            ControlQuery::Events { parameters, answer } => self.recorder.feed(parameters, answer),
            ControlQuery::Submit { parameters, by, answer } => {
                self.askers.entry(parameters.id.clone()).or_default().push(answer);
                self.step(Event::Submit { id: parameters.id, by, request: parameters.request });
            }
        }
    }

    fn health(&mut self, health: Health) -> Result<()> {
        match health {
            // The next thing written says that it can write again.
            Health::Writing => {}
            Health::Waiting(error) => self.step(Event::PersistFailed { reason: error.to_string() }),
            Health::Broken(error) => bail!("the store is broken, so this host cannot vouch for anything: {error}"),
        }
        Ok(())
    }

    fn leave(&mut self, why: &str) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        self.leaving = true;
        let stop_vms = self.settings.on_stop == OnStop::Stop;
        let vms = if stop_vms { "its VMs move to other members" } else { "its VMs keep running" };
        tracing::info!("{why}: leaving the cluster; {vms}");
        self.systemd.stopping();
        self.step(Event::Leave { stop_vms });
        Some(Instant::now() + Duration::from(self.settings.stop_timeout))
    }

    /// Reads the file again. If anything is wrong with it nothing changes.
    fn reload(&mut self) {
        match boot::read_config(&self.settings.config).context("nothing is changed") {
            Ok((_, version, text)) => {
                tracing::info!("{} read again, version {version}", self.settings.config.display());
                self.step(Event::ConfigFile { version, text });
            }
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}
