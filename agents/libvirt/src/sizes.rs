//! How big the host and its domains are, which placement has to know.
//!
//! libvirt answers from the domain's definition, without asking the emulator. It takes a call for each domain all the
//! same: so each is asked once in its life and then now and then, and no list waits long for that.

use crate::native::Row;
use belay_proto::{HostFacts, Size};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::error::Error;

/// How long one list may ask for sizes; what it does not get to is asked with the next ones.
const PER_LIST: Duration = Duration::from_millis(200);
/// Memory and CPUs can be plugged in while a domain runs.
const FRESH_FOR: Duration = Duration::from_secs(600);

/// The sizes of one hypervisor's domains, by UUID.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// libvirt's number for this life of the domain.
    life: Option<u32>,
    size: Size,
    asked: Instant,
}

impl Sizes {
    /// Adds to a list's rows how big each domain is, as far as that is known.
    pub(crate) fn fill(&self, connect: &Connect, rows: &mut [Row]) {
        let begun = Instant::now();
        self.fill_by(rows, begun, |uuid| if begun.elapsed() < PER_LIST { ask(connect, uuid) } else { None });
    }

    fn fill_by(&self, rows: &mut [Row], now: Instant, mut ask: impl FnMut(&str) -> Option<Size>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows.iter_mut() {
            let before = known.get(&row.uuid).filter(|before| before.life == row.life);
            let fresh = before.filter(|before| now.saturating_duration_since(before.asked) < FRESH_FOR);
            if fresh.is_none()
                && let Some(size) = ask(&row.uuid)
            {
                known.insert(row.uuid.clone(), Known { life: row.life, size, asked: now });
            }
            row.size = known.get(&row.uuid).filter(|known| known.life == row.life).map(|known| known.size);
        }
        let listed: BTreeSet<&str> = rows.iter().map(|row| row.uuid.as_str()).collect();
        known.retain(|uuid, _| listed.contains(uuid.as_str()));
    }
}

fn ask(connect: &Connect, uuid: &str) -> Option<Size> {
    // One that is gone again, or that libvirt cannot tell about, has no size for now; the list is right without it.
    let domain = connect.lookup_domain_by_uuid_string(uuid).ok()?;
    let info = domain.info().ok()?;
    let most = domain.max_vcpus().ok().and_then(|most| u32::try_from(most).ok());
    Some(Size { memory_mib: info.max_mem.div_ceil(1024), vcpus: most.unwrap_or(info.nr_virt_cpu) })
}

/// What the host offers.
pub(crate) fn host(connect: &Connect) -> Result<HostFacts, Error> {
    let info = connect.node_info()?;
    Ok(HostFacts { memory_mib: info.memory / 1024, cpus: info.cpus })
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_proto::agent::DomainState;

    fn row(uuid: &str, life: u32) -> Row {
        Row { name: uuid.into(), uuid: uuid.into(), state: DomainState::Running, life: Some(life), size: None }
    }

    fn size(memory_mib: u64) -> Size {
        Size { memory_mib, vcpus: 1 }
    }

    #[test]
    fn a_domain_is_asked_once_in_its_life_and_again_after_a_while() {
        let (sizes, begun) = (Sizes::default(), Instant::now());
        let mut asked = Vec::new();
        for (life, seconds, grown) in [(1, 0, 10), (1, 30, 20), (2, 60, 30), (2, 700, 40)] {
            let mut rows = [row("a", life)];
            let now = begun + Duration::from_secs(seconds);
            sizes.fill_by(&mut rows, now, |_| {
                asked.push(seconds);
                Some(size(grown))
            });
            let expected = if seconds == 30 { 10 } else { grown };
            assert_eq!(rows[0].size, Some(size(expected)), "after {seconds} s");
        }
        assert_eq!(asked, [0, 60, 700]);
    }

    #[test]
    fn what_cannot_be_asked_keeps_its_size_and_another_life_has_none() {
        let (sizes, begun) = (Sizes::default(), Instant::now());
        sizes.fill_by(&mut [row("a", 1)], begun, |_| Some(size(10)));
        let later = begun + FRESH_FOR * 2;
        let mut rows = [row("a", 1), row("b", 2)];
        sizes.fill_by(&mut rows, later, |_| None);
        assert_eq!((rows[0].size, rows[1].size), (Some(size(10)), None));
        let mut rows = [row("a", 3)];
        sizes.fill_by(&mut rows, later, |_| None);
        assert_eq!(rows[0].size, None);
    }
}
