//! Chapter five: an administrator moves a VM.

use super::{Stage, forming};
use crate::report::millis;
use crate::screen::seconds;
use anyhow::{Context, Result};
use belay_proto::NodeId;
use std::time::Instant;

pub(super) const ABOUT: &str = "An administrator sends web1 to another host: it is stopped here and started there. (A \
    live migration, in which the guest does not notice, needs a libvirtd on each host, which these three folders do \
    not have.)";

const VM: &str = "web1";

pub(super) fn on_request(stage: &mut Stage) -> Result<()> {
    let from = forming::owner(stage, 1, VM)?;
    let seen = stage.sampler.seen();
    let hosts = stage.run.hosts();
    // To the emptiest of the others: the one that just came back.
    let to = hosts.iter().filter(|host| host.id != from).min_by_key(|host| seen.on_host(host.id).len());
    let to = to.context("no other host")?;
    let epoch = stage.epoch(1, VM)?;
    stage.screen.event(&format!("{VM} runs on node{from}"));
    let start = Instant::now();
    stage.show_success(1, &["clusvcadm", "-r", &format!("vm:{VM}"), "-m", &to.name])?;
    stage.wait("web1 to run on the other host", || {
        Ok(stage.running(1, VM, epoch)?.filter(|copy| NodeId(copy.host) == NodeId(to.id)))
    })?;
    let took = start.elapsed();
    stage.report.relocation_ms = millis(took);
    stage.screen.event(&format!("{VM} runs on {}, {} after the request", to.name, seconds(took)));
    Ok(())
}
