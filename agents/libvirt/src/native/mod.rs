//! The only place that speaks C to libvirt: its event loop, its domain events, and two calls that crate `virt` lacks.
//!
//! `virt` wraps libvirt's calls but not its domain events, so this module registers callbacks through `virt-sys`.
//! A callback runs on libvirt's own thread, possibly while libvirt holds its locks; therefore it copies what it is
//! given into owned data, puts that on a channel and returns. It calls nothing of libvirt, takes no lock of ours and
//! never unwinds into C.
//!
//! Crates `virt` and `virt-sys` are under the LGPL 2.1 and are linked into this program statically, libvirt itself
//! dynamically. That is why the agent is a program of its own: nothing else of Belay is linked with them, and whoever
//! has the sources (all of them are public) can build this one program against a changed `virt`.
#![allow(unsafe_code)]

mod events;
mod states;

pub(crate) use events::{Change, Notice, Stopped, Subscription, flush};
pub(crate) use states::{Row, abort_job, active_domains};

use std::thread;
use std::time::Duration;
use virt::error::Error;

/// Registers libvirt's default event loop and runs it in a thread of its own, for as long as the process lives. This
/// has to happen before the first connection is opened: a connection looks for the loop when it is made.
pub(crate) fn start_event_loop() -> Result<(), Error> {
    // SAFETY: has no preconditions; it is called once, before any other thread uses libvirt.
    if unsafe { virt_sys::virEventRegisterDefaultImpl() } < 0 {
        return Err(Error::last_error());
    }
    let turn = || loop {
        // SAFETY: the default implementation is registered, and this is the only thread that runs it.
        if unsafe { virt_sys::virEventRunDefaultImpl() } < 0 {
            crate::log!("warning: libvirt's event loop failed: {}", Error::last_error().message());
            // Without the pause a loop that fails at once would take a whole core.
            thread::sleep(Duration::from_millis(200));
        }
    };
    crate::spawn("events", turn);
    Ok(())
}
