//! What whoever looks at the cluster has to know first.

use crate::times::rough;
use belay_proto::control::Status;

/// That the cluster is disarmed, while it is.
pub(crate) fn disarmed(status: &Status) -> Option<String> {
    let disarmed = status.disarmed.as_ref()?;
    Some(format!(
        "The cluster is DISARMED for another {} by {}: nothing is fenced or recovered ({})",
        rough(disarmed.until.since(status.time)),
        disarmed.by,
        disarmed.reason
    ))
}
