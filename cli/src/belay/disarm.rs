//! `belay disarm` and `belay arm`: for a time nothing is fenced, and what a host that vanishes ran is not started
//! elsewhere. Everybody who uses `belay` meanwhile is told so.

use super::refused;
use super::request::report;
use crate::console::{Console, Trouble};
use crate::submit::{Ended, Patience, submit};
use belay_proto::entry::Request;
use belay_proto::{Code, Span};
use std::path::Path;

pub(super) fn disarm(socket: &Path, span: Span, reason: &str, console: &mut Console) -> Result<u8, Trouble> {
    if reason.trim().is_empty() {
        return Err(Trouble::told(
            2,
            "belay: give a reason: everybody is shown it for as long as nothing is protected",
        ));
    }
    let request = Request::Disarm { span, reason: reason.trim().to_owned() };
    let text = format!("disarmed for {span}: nothing is fenced or recovered; end it early with: belay arm\n");
    carry_out(socket, request, "disarm the cluster", &text, console)
}

pub(super) fn arm(socket: &Path, console: &mut Console) -> Result<u8, Trouble> {
    carry_out(
        socket,
        Request::Arm {},
        "arm the cluster",
        "armed: lost hosts are fenced and their VMs recovered\n",
        console,
    )
}

fn carry_out(socket: &Path, request: Request, what: &str, done: &str, console: &mut Console) -> Result<u8, Trouble> {
    let (client, status) = super::connect(socket)?;
    match submit(client, socket, request, Patience::from_environment(), console).map_err(refused)? {
        Ended::Verdict(verdict) if verdict.code == Code::Success => {
            console.print(done)?;
            Ok(0)
        }
        Ended::Verdict(verdict) => report(what, &verdict, false, &status, console),
        // There is no limit to the patience.
        Ended::StillWorking(id) => Err(Trouble::told(1, format!("belay: {what}: no outcome yet (id {id})"))),
    }
}
