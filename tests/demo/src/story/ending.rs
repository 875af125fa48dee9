//! The last chapter: what the cluster says of itself, to the people who have to answer for it.

use super::Stage;
use crate::world::{GUIDE_VM, VMS};
use anyhow::{Result, bail};

pub(super) const ABOUT: &str = "clustat shows who is there and what runs where. belay why tells the chain of causes \
    that brought a VM where it is.";

pub(super) fn explain(stage: &mut Stage) -> Result<()> {
    stage.show_success(1, &["clustat"])?;
    stage.show_success(1, &["belay", "why", &format!("vm:{GUIDE_VM}")])?;
    let seen = stage.sampler.seen();
    for vm in VMS {
        let copies = seen.running(vm).len();
        if copies != 1 {
            bail!("in the end {copies} copies of {vm} run");
        }
    }
    Ok(())
}
