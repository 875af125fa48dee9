//! The libvirt agent: one long-lived process for each hypervisor, between the daemon and libvirt.
//!
//! The daemon writes calls to its stdin, one JSON object a line, and reads answers and events from its stdout
//! (`agents/PROTOCOL.md`). It is a process of its own so that a libvirt that hangs or crashes takes nothing else with it,
//! and because the libvirt bindings are under the LGPL ([`native`]). It decides nothing: it does what a call says, and
//! tells what it sees. When its stdin ends, it goes, and the domains run on.
//!
//! ```text
//!   stdin ─► wire ─► desk ─► calls ─────────────┐         threads: one per call, and
//!                     │        │                ▼         clock, output, notices, link, watch, libvirt's events
//!                     │        └──────► link ─► libvirt
//!                     ▼                  │         │ callbacks (native)
//!   stdout ◄─ output ◄── events ── world ◄─────────┘
//!                                  ▲  registry (pure): one event for each thing that happened
//!                  pidfds ── watch ┘
//! ```

mod calls;
mod desk;
mod emulators;
mod link;
mod log;
mod native;
mod output;
mod pidfd;
mod reap;
mod registry;
mod sizes;
mod unfinished;
mod watch;
mod world;

pub(crate) use log::log;

use belay_agent_libvirt::emulator::embed_root;
use belay_agent_libvirt::wire::{Line, Lines};
use belay_proto::agent::{Fault, FaultKind};
use calls::{Office, Prober};
use clap::Parser;
use desk::Desk;
use emulators::Emulators;
use link::Link;
use output::Output;
use reap::Reaper;
use std::io::BufReader;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use world::World;

const AFTER_HELP: &str = "\
It is started by belayd, one for each hypervisor, and speaks JSON lines (agents/PROTOCOL.md):
  calls on stdin, answers and events on stdout, words for people on stderr.

Try it by hand, without touching anything:
  echo '{\"id\":1,\"deadline_ms\":5000,\"what\":\"list\"}' | belay-agent-libvirt --uri test:///default

Exit codes: 0 stdin ended (domains run on), 1 it could not start, 2 wrong arguments, 3 stdout was closed,
4 the embedded hypervisor could not start (its reason is on stderr and in the last event).";

/// Belay's agent for one libvirt hypervisor.
#[derive(Parser, Debug)]
#[command(name = "belay-agent-libvirt", version, about, after_help = AFTER_HELP)]
struct Options {
    /// The hypervisor: qemu:///system, or qemu:///embed?root=DIR for a private one inside this process
    #[arg(long, value_name = "URI")]
    uri: String,
    /// Be the subreaper of an embedded hypervisor's emulators, so that a dead one leaves the process table at once and
    /// its domain can be started again without delay
    #[arg(long)]
    reap: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    // Before any thread: see `Reaper::new`.
    let reaper = if options.reap { Some(Reaper::new()?) } else { None };
    log::start();
    let output = Output::start(std::io::stdout(), || exit(3));
    output.hello(&options.uri);
    virt::error::clear_error_callback();
    native::start_event_loop()?;

    let (waker, sleeper) = watch::waker()?;
    let world = Arc::new(World::new(Emulators::of(&options.uri), Arc::clone(&output), waker));
    world.processes_alive();
    watch::start(Arc::clone(&world), sleeper, reaper);
    let link = Link::start(&options.uri, Arc::clone(&world), Arc::clone(&output));
    let cannot_migrate = embed_root(&options.uri).map(|_| {
        "an embedded hypervisor cannot migrate: libvirt allows one in a process, and has no way to another; stop the \
         domain here and start it there"
    });
    let office = Arc::new(Office { world, link, prober: Prober::default(), cannot_migrate });
    let desk = Desk::start(Arc::clone(&output));
    take_calls(&office, &desk, &output)?;
    desk.drain(Duration::from_secs(3));
    output.flush(Duration::from_millis(500));
    Ok(())
}

fn take_calls(office: &Arc<Office>, desk: &Arc<Desk>, output: &Output) -> anyhow::Result<()> {
    let mut lines = Lines::of(BufReader::new(std::io::stdin()));
    while let Some(line) = lines.next_line()? {
        match line {
            Line::Call(call) => {
                let office = Arc::clone(office);
                desk.take(call, move |what, ticket| office.carry_out(what, ticket));
            }
            Line::Bad(Some(id), message) => output.answer(id, Err(Fault { kind: FaultKind::BadCall, message })),
            Line::Bad(None, message) => log!("warning: a line from the daemon was ignored: {message}"),
        }
        output.wait_for_room();
    }
    Ok(())
}

/// Starts a thread; gives whether that worked. libvirt's calls run on these stacks, which are reserved, not resident.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let thread = thread::Builder::new().name(format!("belay-{name}")).stack_size(1024 * 1024).spawn(work);
    if let Err(error) = &thread {
        log!("error: no thread for {name}: {error}");
    }
    thread.is_ok()
}
