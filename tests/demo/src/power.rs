//! The power supply of the demo hosts: starts a host's supervisor when its switch says `on`, and cuts its power.
//!
//! The fence agent throws the same switch (the file `power` in the host's folder) and ends the host's processes; so may a
//! person, with `echo off`. A host whose supervisor is gone and whose switch says `on` has power at once and then boots
//! for a while, which stands for the minutes that a real one takes. Whatever it left running is ended before: a machine
//! that lost its power runs nothing.

use crate::host::CUT_LIMIT;
use crate::layout::{HOST_VARIABLE, Host, Run};
use crate::process;
use crate::reaper::Reaper;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a host takes to boot after a power cut. When the demo starts, all of them have just booted.
const BOOT_TIME: Duration = Duration::from_secs(4);

/// A host whose switch somebody threw by hand loses its power after this long. The fence agent needs much less to end
/// the host itself: that what it confirms is its own work, and not this supply's, is left visible by the delay.
const BY_HAND: Duration = Duration::from_secs(1);

/// The power supply of all hosts of a run.
#[derive(Clone)]
pub struct PowerSupply {
    run: Run,
    programs: PathBuf,
    reaper: Reaper,
    outlets: Arc<Mutex<Vec<Outlet>>>,
}

struct Outlet {
    host: Host,
    /// The running supervisor. Its standard input is the power line.
    supervisor: Option<Child>,
    /// Since when the switch says off while the host still runs.
    off_since: Option<Instant>,
    boots: u32,
}

impl PowerSupply {
    /// A supply with all hosts off and all switches on; it works from [`PowerSupply::switch_on`] on.
    ///
    /// # Errors
    /// When a host's folder cannot be written.
    pub fn new(run: &Run, programs: &Path, reaper: &Reaper) -> Result<Self> {
        let mut outlets = Vec::new();
        for host in run.hosts() {
            std::fs::write(host.power(), "on\n")?;
            outlets.push(Outlet { host, supervisor: None, off_since: None, boots: 0 });
        }
        let outlets = Arc::new(Mutex::new(outlets));
        Ok(Self { run: run.clone(), programs: programs.to_owned(), reaper: reaper.clone(), outlets })
    }

    /// Boots all hosts, and from then on whichever was off and has its switch on.
    ///
    /// # Errors
    /// When a host cannot be started.
    pub fn switch_on(&self) -> Result<()> {
        self.look_after()?;
        let supply = self.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(25));
                if let Err(error) = supply.look_after() {
                    eprintln!("belay-demo: the power supply: {error:#}");
                }
            }
        });
        Ok(())
    }

    /// Ends every host for good: no host boots after this.
    ///
    /// # Errors
    /// When some process cannot be ended.
    pub fn shut_down(&self) -> Result<usize> {
        let mut outlets = self.outlets();
        // Without an outlet the thread has nothing to start any more.
        outlets.clear();
        process::kill_below(&self.run.dir, CUT_LIMIT)
    }

    /// How often the host has booted.
    #[must_use]
    pub fn boots(&self, id: u32) -> u32 {
        self.outlets().iter().find(|outlet| outlet.host.id == id).map_or(0, |outlet| outlet.boots)
    }

    fn outlets(&self) -> MutexGuard<'_, Vec<Outlet>> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_after(&self) -> Result<()> {
        for outlet in self.outlets().iter_mut() {
            let ended = outlet.supervisor.as_ref().is_some_and(|supervisor| {
                i32::try_from(supervisor.id()).is_ok_and(|pid| self.reaper.ended(pid).is_some())
            });
            if ended {
                outlet.supervisor = None;
            }
            if outlet.supervisor.is_none() || switch_is_on(&outlet.host) {
                outlet.off_since = None;
            } else if outlet.off_since.get_or_insert_with(Instant::now).elapsed() > BY_HAND {
                process::kill_below(&outlet.host.dir, CUT_LIMIT)?;
            }
            if outlet.supervisor.is_none() && switch_is_on(&outlet.host) {
                self.boot(outlet)?;
            }
        }
        Ok(())
    }

    fn boot(&self, outlet: &mut Outlet) -> Result<()> {
        let host = &outlet.host;
        process::kill_below(&host.dir, CUT_LIMIT)?;
        let boot_time = if outlet.boots == 0 { Duration::ZERO } else { BOOT_TIME };
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let mut command = Command::new(self.programs.join("belay-demo-host"));
        command
            .arg("--run")
            .arg(&self.run.dir)
            .arg("--programs")
            .arg(&self.programs)
            .args(["--host", &host.id.to_string(), "--boot-seconds", &boot_time.as_secs().to_string()])
            .env(HOST_VARIABLE, &host.dir)
            // Fence agents are found through PATH.
            .env("PATH", format!("{}:{path}", self.run.bin().display()))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let child = self.reaper.spawn(&mut command).with_context(|| format!("cannot power on {}", host.name))?;
        outlet.supervisor = Some(child);
        outlet.boots += 1;
        Ok(())
    }
}

fn switch_is_on(host: &Host) -> bool {
    std::fs::read_to_string(host.power()).is_ok_and(|text| text.trim() == "on")
}
