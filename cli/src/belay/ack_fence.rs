//! `belay ack-fence`: a person's word in place of fencing's proof. It is the one command that can destroy data, so it
//! says what it needs and asks for a word that nobody types by habit.

use super::request::carry_out;
use super::{ask, no_member};
use crate::console::{Console, Trouble};
use crate::names::member_meant;
use crate::submit::Patience;
use belay_proto::entry::Request;
use std::path::Path;

pub(super) fn run(socket: &Path, node: &str, sure: bool, console: &mut Console) -> Result<u8, Trouble> {
    let (client, status) = ask(socket, console)?;
    let member = member_meant(&status, node).map_err(|text| no_member(&text))?;
    if member.online {
        let text = format!("belay: {} is online: there is nothing to acknowledge", member.name);
        return Err(Trouble::told(1, text));
    }
    if !sure {
        console.print_now(&format!(
            "About to override fencing for {}.\n\
             What it ran is started elsewhere at once. If it still runs there, its disks are\n\
             destroyed: go and see that the host is off, or cut from its storage, before you\n\
             go on.\n\n\
             Continue [NO/absolutely]? ",
            member.name
        ))?;
        let mut answer = String::new();
        console.input.read_line(&mut answer)?;
        if answer.trim() != "absolutely" {
            console.print("Aborted.\n")?;
            return Ok(1);
        }
    }
    let request = Request::AcknowledgeFence { node: member.id };
    carry_out(client, socket, request, Patience::from_environment(), &status, console)
}
