//! The keeper: one thread with a network and a mount namespace of its own, which starts everything the lab runs.
//!
//! It has to be one thread that lives as long as the lab: `PR_SET_PDEATHSIG` fires when the *thread* that started a
//! process ends, and namespaces entered by `unshare` belong to a thread. Others hand it closures.

use crate::power::Machines;
use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Where the lab lies, in the keeper's own view of the file system.
pub const BASE: &str = "/run/belay-lab";

type Errand = Box<dyn FnOnce(&mut Machines) + Send>;

/// A handle on the keeper thread. The last one dropped ends it, and with it every process of the lab.
pub struct Keeper {
    errands: Sender<Errand>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Keeper {
    /// Starts the thread and builds its empty world: a tmpfs for all disks, and no network but `lo`.
    ///
    /// # Errors
    /// When the namespaces or the tmpfs cannot be made, as without root.
    pub fn start() -> Result<Self> {
        let (errands, inbox) = channel::<Errand>();
        let (ready, started) = channel();
        let thread = std::thread::Builder::new().name("lab-keeper".to_owned()).spawn(move || {
            let entered = enter_own_world();
            let failed = entered.is_err();
            let _ = ready.send(entered);
            if !failed {
                serve(&inbox);
            }
        })?;
        let tid = started.recv().context("the keeper thread died")??;
        Ok(Self { errands, thread: Some(thread), tid })
    }

    /// Runs a closure in the keeper's thread, which is to say in its namespaces, and waits for the result.
    ///
    /// # Errors
    /// When the closure fails, or the keeper is gone.
    pub fn ask<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&mut Machines) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        ask(&self.errands, errand)
    }

    /// A way to ask from another thread.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker(self.errands.clone())
    }

    /// A path below [`BASE`] as any other thread of this process can open it.
    #[must_use]
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        let base = BASE.trim_start_matches('/');
        Path::new(&format!("/proc/self/task/{}/root/{base}", self.tid)).join(below)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.ask(|machines| {
            machines.close();
            Ok(())
        });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks the keeper; it does not keep the keeper alive for longer than the lab's [`Keeper`] lets it.
#[derive(Clone)]
pub struct Asker(Sender<Errand>);

impl Asker {
    /// As [`Keeper::ask`].
    ///
    /// # Errors
    /// When the closure fails, or the keeper is gone.
    pub fn ask<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&mut Machines) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        ask(&self.0, errand)
    }
}

fn ask<T: Send + 'static>(
    errands: &Sender<Errand>,
    errand: impl FnOnce(&mut Machines) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (answer, answered) = channel();
    let boxed: Errand = Box::new(move |machines| {
        let _ = answer.send(errand(machines));
    });
    errands.send(boxed).map_err(|_| anyhow!("the lab is closed"))?;
    answered.recv().context("the lab is closed")?
}

fn serve(inbox: &Receiver<Errand>) {
    let mut machines = Machines::default();
    // Closed rather than "no sender left": the BMCs hold a sender each, and they wait in `accept`.
    while !machines.closed()
        && let Ok(errand) = inbox.recv()
    {
        errand(&mut machines);
    }
}

fn enter_own_world() -> Result<i32> {
    let step = "cannot build the lab's namespaces; the lab needs root";
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context(step)?;
    let none: Option<&str> = None;
    // Slave: what is mounted here stays here, or a killed run would leave its overlays on the machine.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context(step)?;
    // The one thing that outlives a killed lab: empty control groups.
    crate::cgroup::sweep()?;
    std::fs::create_dir_all(BASE)?;
    mount(Some("belay-lab"), BASE, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=3g")).context(step)?;
    Ok(gettid().as_raw())
}
