//! Starting agents so that none of them outlives the daemon.
//!
//! A daemon that is killed is replaced within moments, and the new one, or another member, runs agents of its own. One that
//! the dead daemon left would work beside them: its late `on` between the two `off` of a host with two power supplies would
//! make a proof of nothing. So the kernel is told to kill an agent when the thread that started it is gone. That does not
//! reach what the agent has started itself (`ipmitool`, `ssh`); those bear a mark, and the next daemon of this host ends
//! whatever bears it before it runs anything.

#![allow(unsafe_code)] // What a child does before it becomes another program has no safe wrapper.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The variable that agents and all they start bear.
const MARK: &str = "BELAY_FENCES_FOR";

struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<std::io::Result<Child>>,
}

/// The thread that starts agents. It lives as long as this: the kernel kills an agent with the *thread* that started it,
/// and those of the runtime come and go as it likes.
#[derive(Debug)]
pub(super) struct Starter {
    orders: mpsc::Sender<Order>,
    mark: Option<OsString>,
}

impl Starter {
    /// Starts the thread. First it ends what an earlier daemon with the same mark has left.
    pub(super) fn new(mark: Option<OsString>) -> Self {
        let (orders, waiting) = mpsc::channel::<Order>();
        let of_earlier = mark.clone();
        let started = std::thread::Builder::new().name("fence-agents".into()).spawn(move || {
            if let Some(mark) = of_earlier {
                end_leftovers(&mark);
            }
            for Order { mut command, runtime, reply } in waiting {
                let _runtime = runtime.enter();
                // Who asked may be gone: the child is then killed as it is dropped.
                let _ = reply.send(command.spawn());
            }
        });
        if let Err(error) = started {
            tracing::error!("no fence agent can be run: {error}");
        }
        Self { orders, mark }
    }

    /// Starts a program that ends with this daemon.
    pub(super) async fn start(&self, mut command: Command) -> std::io::Result<Child> {
        if let Some(mark) = &self.mark {
            command.env(MARK, mark);
        }
        let daemon = getpid();
        // SAFETY: between fork and exec only two system calls are made, and nothing is allocated or locked.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                // It died before the kernel was told.
                if getppid() == daemon { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let gone = || std::io::Error::other("the thread that starts fence agents is gone: restart belayd");
        let (reply, child) = oneshot::channel();
        self.orders.send(Order { command, runtime: Handle::current(), reply }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

fn end_leftovers(mark: &OsStr) {
    let wanted = [MARK.as_bytes(), b"=", mark.as_bytes()].concat();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut ended = 0_u32;
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // Should an agent be what starts daemons here, this one bears the mark too.
    for pid in pids.filter(|pid| Pid::from_raw(*pid) != getpid()) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
            && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        {
            ended += 1;
        }
    }
    if ended > 0 {
        tracing::warn!("ended {ended} processes of fence agents that an earlier belayd had begun");
    }
}
