//! The witness of the one thing that must never happen: a VM that runs twice.
//!
//! It reads this machine's own process table, in which the QEMU processes of all hosts appear, and asks nobody's
//! opinion: not libvirt's, not Belay's. A process belongs to a host by its process id namespace, so that QEMU processes
//! of other people on the machine do not count.

use crate::lab::Lab;
use crate::power::pid_namespace;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(20);

/// What is old and no QEMU is looked at only this often: on a busy machine a child may be its parent for long.
const LATER: Duration = Duration::from_secs(1);

/// One QEMU process of one VM, from its first to its last sight.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The VM.
    pub vm: String,
    /// The host it runs on.
    pub host: String,
    /// Its process id on this machine.
    pub pid: i32,
    /// Started to receive a migration.
    pub incoming: bool,
    /// When it was first seen.
    pub first: Instant,
    /// When it was last seen.
    pub last: Instant,
    /// Whether it is there now.
    pub alive: bool,
}

#[derive(Default)]
struct Seen {
    copies: Vec<Copy>,
    /// The most copies of each VM seen at once.
    most: BTreeMap<String, usize>,
    /// The same while one of them was receiving a migration from the other.
    migrating: BTreeSet<String>,
    violations: Vec<String>,
    samples: u64,
}

/// Looks at the process table for as long as it lives.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (notes, done, asker) = (Arc::clone(&seen), Arc::clone(&stop), lab.keeper().asker());
        let thread = std::thread::Builder::new().name("lab-watch".to_owned()).spawn(move || {
            let mut worlds = BTreeMap::new();
            let mut others = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let found = look(&mut others, |namespace| {
                    if !worlds.contains_key(&namespace) {
                        worlds = asker.ask(|machines| Ok(machines.worlds())).unwrap_or_default();
                    }
                    worlds.get(&namespace).cloned()
                });
                note(&mut lock(&notes), found);
                std::thread::sleep(PERIOD);
            }
        })?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Allows a VM to have a second process that receives its migration, until [`Watch::migrated`].
    pub fn migrating(&self, vm: &str) {
        lock(&self.seen).migrating.insert(vm.to_owned());
    }

    /// From now on one process again.
    pub fn migrated(&self, vm: &str) {
        lock(&self.seen).migrating.remove(vm);
    }

    /// The process of a VM, if there is exactly one.
    #[must_use]
    pub fn running(&self, vm: &str) -> Option<Copy> {
        let seen = lock(&self.seen);
        let mut alive = seen.copies.iter().filter(|copy| copy.alive && copy.vm == vm);
        let only = alive.next()?;
        alive.next().is_none().then(|| only.clone())
    }

    /// Every process a VM ever had, in order.
    #[must_use]
    pub fn history(&self, vm: &str) -> Vec<Copy> {
        lock(&self.seen).copies.iter().filter(|copy| copy.vm == vm).cloned().collect()
    }

    /// The VMs whose process is on a host now.
    #[must_use]
    pub fn on(&self, host: &str) -> Vec<Copy> {
        lock(&self.seen).copies.iter().filter(|copy| copy.alive && copy.host == host).cloned().collect()
    }

    /// The most copies of any VM seen at once, a process that receives a migration aside.
    #[must_use]
    pub fn most(&self) -> usize {
        lock(&self.seen).most.values().copied().max().unwrap_or(0)
    }

    /// What was seen of VMs that ran twice; empty if all is well.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.seen).violations.clone()
    }

    /// How often it has looked.
    #[must_use]
    pub fn samples(&self) -> u64 {
        lock(&self.seen).samples
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Found {
    vm: String,
    host: String,
    pid: i32,
    incoming: bool,
}

fn look(others: &mut BTreeMap<i32, Instant>, mut host_of: impl FnMut(u64) -> Option<String>) -> Vec<Found> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids: BTreeSet<i32> =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    others.retain(|pid, seen| pids.contains(pid) && seen.elapsed() < LATER);
    let mut found = Vec::new();
    for &pid in &pids {
        if others.contains_key(&pid) {
            continue;
        }
        match qemu(pid) {
            Kind::Guest { vm, incoming } => {
                if let Some(host) = pid_namespace(pid).ok().and_then(&mut host_of) {
                    found.push(Found { vm, host, pid, incoming });
                }
            }
            // Not remembered as something else while it is young: libvirtd's child becomes QEMU a moment later.
            Kind::Young => {}
            Kind::Other => {
                others.insert(pid, Instant::now());
            }
        }
    }
    found
}

enum Kind {
    Guest { vm: String, incoming: bool },
    Young,
    Other,
}

fn qemu(pid: i32) -> Kind {
    // A process that is dead but not reaped has an empty command line; it runs no guest.
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = arguments.split(|&byte| byte == 0).collect();
    if !words[0].ends_with(b"qemu-system-x86_64") {
        return if age(pid) < 2.0 { Kind::Young } else { Kind::Other };
    }
    let name = words.iter().find_map(|word| word.strip_prefix(b"guest="));
    let Some(name) = name else { return Kind::Young };
    let name = name.split(|&byte| byte == b',').next().unwrap_or(name);
    Kind::Guest { vm: String::from_utf8_lossy(name).into_owned(), incoming: words.contains(&b"-incoming".as_slice()) }
}

/// Seconds since a process was created; 0 when that cannot be told.
fn age(pid: i32) -> f64 {
    let born = || -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks: f64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
        Some(uptime - ticks / 100.0)
    };
    born().unwrap_or(0.0)
}

fn note(seen: &mut Seen, found: Vec<Found>) {
    let now = Instant::now();
    seen.samples += 1;
    for copy in seen.copies.iter_mut().filter(|copy| copy.alive) {
        copy.alive = false;
    }
    for Found { vm, host, pid, incoming } in found {
        match seen.copies.iter_mut().find(|copy| copy.pid == pid && copy.vm == vm && copy.host == host) {
            Some(known) => (known.alive, known.last) = (true, now),
            None => seen.copies.push(Copy { vm, host, pid, incoming, first: now, last: now, alive: true }),
        }
    }
    let mut running: BTreeMap<String, Vec<&Copy>> = BTreeMap::new();
    for copy in seen.copies.iter().filter(|copy| copy.alive) {
        running.entry(copy.vm.clone()).or_default().push(copy);
    }
    for (vm, copies) in running {
        let receiving = seen.migrating.contains(&vm) && copies.iter().any(|copy| copy.incoming);
        let count = copies.len() - usize::from(receiving && copies.len() > 1);
        if count > 1 {
            let places: Vec<String> = copies.iter().map(|copy| format!("{} (pid {})", copy.host, copy.pid)).collect();
            seen.violations.push(format!("{vm} runs on {}", places.join(" and on ")));
        }
        let most = seen.most.entry(vm).or_default();
        *most = (*most).max(count);
    }
}
