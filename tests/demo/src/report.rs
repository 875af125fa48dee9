//! What was measured, for people at the end of the story and for machines in `report.json`.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that was measured. Times are in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether every step happened.
    pub complete: bool,
    /// The steps that happened, in order, with how long each took.
    pub steps: Vec<Step>,
    /// From the power-on of three hosts to a quorate cluster of three.
    pub forming_ms: u64,
    /// From the kill of a VM's process to the moment its replacement runs in the same place: the slowest of all tries.
    pub vm_death_to_running_ms: u64,
    /// Each try.
    pub vm_death_to_running_each_ms: Vec<u64>,
    /// The same until the new guest itself says that it is up.
    pub vm_death_to_guest_up_each_ms: Vec<u64>,
    /// From the third kill to the moment it runs on another host.
    pub vm_third_death_to_other_host_ms: u64,
    /// From the moment a host goes silent to the last of its VMs running elsewhere.
    pub host_death_to_running_ms: u64,
    /// How that time is made up.
    pub host_death_phases_ms: Phases,
    /// How many VMs were recovered.
    pub host_death_vms: usize,
    /// From the request to the VM running on the other host.
    pub relocation_ms: u64,
    /// The most copies of one VM that ran at the same time, by the process table, from start to end.
    pub max_copies_seen: usize,
    /// How often the process table was read, and the longest time between two readings.
    pub samples: u64,
    /// The longest time between two readings of the process table.
    pub longest_sample_gap_ms: u64,
    /// Resident memory of belayd and its agent together, in KiB, by host.
    pub resident_kib: BTreeMap<String, u64>,
    /// CPU that belayd and its agent took together while nothing happened, in percent of one core, by host.
    pub idle_cpu_percent: BTreeMap<String, f64>,
    /// What was aimed at.
    pub budget: Budget,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Its title.
    pub title: String,
    /// How long it took.
    pub ms: u64,
}

/// How the recovery of a silent host's VMs is made up.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Phases {
    /// Until the survivors agree that the host is lost.
    pub detect: u64,
    /// From then until fencing is confirmed.
    pub fence: u64,
    /// From then until the last VM runs.
    pub start: u64,
}

/// What was aimed at on a test machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Budget {
    /// For [`Report::vm_death_to_running_ms`].
    pub vm_death_to_running_ms: u64,
    /// For [`Report::host_death_to_running_ms`].
    pub host_death_to_running_ms: u64,
    /// For [`Report::resident_kib`].
    pub resident_kib: u64,
    /// For [`Report::max_copies_seen`]: not a wish, a promise.
    pub max_copies_seen: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            vm_death_to_running_ms: 1000,
            host_death_to_running_ms: 4000,
            resident_kib: 64 * 1024,
            max_copies_seen: 1,
        }
    }
}

impl Report {
    /// The table at the end of the story.
    #[must_use]
    pub fn table(&self) -> String {
        let resident = self.resident_kib.values().max().copied().unwrap_or(0);
        let idle = self.idle_cpu_percent.values().copied().fold(0.0, f64::max);
        let phases = self.host_death_phases_ms;
        let moved = self.host_death_vms;
        let rows: Vec<[String; 3]> = vec![
            [
                "a VM's process is killed -> it runs again".into(),
                ms(self.vm_death_to_running_ms),
                within(self.vm_death_to_running_ms, self.budget.vm_death_to_running_ms, ms),
            ],
            [
                format!("a host goes silent -> its {moved} VMs run elsewhere"),
                ms(self.host_death_to_running_ms),
                within(self.host_death_to_running_ms, self.budget.host_death_to_running_ms, ms),
            ],
            ["    its silence is noticed".into(), ms(phases.detect), String::new()],
            ["    its power is cut and that is confirmed".into(), ms(phases.fence), String::new()],
            ["    the last of its VMs runs".into(), ms(phases.start), String::new()],
            ["the most copies of one VM at any moment".into(), self.max_copies_seen.to_string(), "must be 1".into()],
            [
                "belayd and its agent, memory on one host".into(),
                mib(resident),
                within(resident, self.budget.resident_kib, mib),
            ],
            ["belayd and its agent, CPU while nothing happens".into(), format!("{idle:.1} %"), "next to none".into()],
        ];
        let mut text = format!("{:<50} {:>9}   {}\n", "", "measured", "aimed at");
        for [what, measured, aim] in rows {
            text += format!("{what:<50} {measured:>9}   {aim}").trim_end();
            text.push('\n');
        }
        text
    }
}

fn within(value: u64, limit: u64, show: fn(u64) -> String) -> String {
    let word = if value <= limit { "" } else { "  MISSED" };
    format!("<= {}{word}", show(limit))
}

fn ms(value: u64) -> String {
    format!("{:.2} s", Duration::from_millis(value).as_secs_f64())
}

fn mib(kib: u64) -> String {
    format!("{} MiB", kib.div_ceil(1024))
}

/// A duration in whole milliseconds, for the report.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
