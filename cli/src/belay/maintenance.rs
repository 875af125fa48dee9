//! `belay maintenance` and `belay standby`: a host is emptied while its VMs run, or put into service again. Emptying takes
//! its time, so the command stays with it, tells what is still there whenever that changes, and ends with what became of
//! it: the host is empty, or these VMs are in the way for these reasons.

use super::options::Host;
use super::request::{STILL_WORKING, report};
use super::{ask, no_member, refused};
use crate::client::Client;
use crate::console::{Console, Trouble};
use crate::names::member_meant;
use crate::submit::{Ended, Patience, submit_and_watch};
use belay_proto::control::{MemberStatus, Verdict};
use belay_proto::entry::{NodeMode, Request};
use belay_proto::{Code, NodeId, Span};
use std::ops::ControlFlow;
use std::path::Path;

pub(super) fn run(socket: &Path, wanted: NodeMode, host: &Host, console: &mut Console) -> Result<u8, Trouble> {
    let (client, status) = ask(socket, console)?;
    let member = member_meant(&status, &host.node).map_err(|text| no_member(&text))?;
    let mode = if host.off { NodeMode::Active } else { wanted };
    if host.off && member.mode != wanted && member.mode != NodeMode::Active {
        let is = member.mode.word();
        let text = format!("belay: {0} is in {is}: end that with: belay {is} {0} --off", member.name);
        return Err(Trouble::told(2, text));
    }
    let request = Request::SetMode { node: member.id, mode, reason: host.reason.clone().unwrap_or_default() };
    let mut patience = Patience::from_environment();
    patience.wait = host.wait.map(Into::into);
    let mut watch = Watch { socket, node: member.id, mode, told: String::new(), stay: !host.no_wait };
    let ended =
        submit_and_watch(client, socket, request.clone(), patience, &mut |console| watch.look(console), console);
    let (name, word) = (&member.name, mode.word());
    match ended.map_err(refused)? {
        Ended::Verdict(verdict) if verdict.code == Code::Success => {
            console.print(&done(name, mode, &verdict))?;
            Ok(0)
        }
        Ended::Verdict(verdict) if verdict.code == Code::Warning => {
            let text = format!(
                "belay: {name} is in {word}, but {}\nWhat can be moved later will be. To stop a VM and start it \
                 elsewhere: belay relocate SERVICE",
                verdict.reason
            );
            Err(Trouble::told(Code::Warning.exit_status(), text))
        }
        Ended::Verdict(verdict) => report(&format!("{} {name}", request.verb()), &verdict, false, &status, console),
        Ended::StillWorking(_) if host.no_wait => {
            console.print(&format!("{name} is in {word}; see what is still there with: belay status\n"))?;
            Ok(0)
        }
        Ended::StillWorking(_) => {
            let waited = patience.wait.map(|wait| Span::from(wait).to_string()).unwrap_or_default();
            let text = format!(
                "belay: {name} is in {word}, but is not empty after {waited}; its VMs go on leaving, see: belay status"
            );
            Err(Trouble::told(STILL_WORKING, text))
        }
    }
}

fn done(name: &str, mode: NodeMode, verdict: &Verdict) -> String {
    let because = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
    match mode {
        NodeMode::Active => format!("{name} is active again{because}\n"),
        NodeMode::Maintenance | NodeMode::Standby => format!("{name} is in {}{because}\n", mode.word()),
    }
}

/// Looks at the host now and then, while its request is not answered.
struct Watch<'a> {
    socket: &'a Path,
    node: NodeId,
    mode: NodeMode,
    told: String,
    stay: bool,
}

impl Watch<'_> {
    fn look(&mut self, console: &mut Console) -> ControlFlow<()> {
        // A look that fails shows nothing; that the request goes unanswered is told elsewhere.
        let Ok(status) = Client::connect(self.socket).and_then(|mut client| client.status()) else {
            return ControlFlow::Continue(());
        };
        let Some(member) = status.members.iter().find(|member| member.id == self.node) else {
            return ControlFlow::Continue(());
        };
        if member.mode != self.mode {
            return ControlFlow::Continue(());
        }
        if !self.stay {
            return ControlFlow::Break(());
        }
        self.tell(member, console);
        ControlFlow::Continue(())
    }

    fn tell(&mut self, member: &MemberStatus, console: &mut Console) {
        if !member.detail.is_empty() && member.detail != self.told {
            console.tell(&format!("{}: {}", member.name, member.detail));
            self.told.clone_from(&member.detail);
        }
    }
}
