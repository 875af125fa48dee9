//! A hypervisor that hangs. A stopped emulator does not answer its monitor, so libvirt waits for it without end.

use crate::agent::{PATIENCE, gone, stop};
use crate::embedded::{Embedded, kill};
use crate::guest::Guest;
use belay_proto::agent::{Answer, CallKind, FaultKind};
use std::time::{Duration, Instant};

#[test]
fn one_hung_emulator_holds_up_no_other_domain() {
    let world = Embedded::new();
    let mut agent = world.agent();
    let hung = agent.start_domain("web1", &world.definition("web1", Guest::Idle));
    agent.start_domain("web2", &world.definition("web2", Guest::Idle));
    kill(hung, "STOP");

    // More calls than there are places inside libvirt.
    let begun = Instant::now();
    let ids: Vec<u64> = (0..40).map(|_| agent.send(stop("web1", 60_000, false), Duration::from_secs(2))).collect();
    let listed = agent.list();
    assert_eq!(listed.len(), 2, "a list is answered meanwhile");
    for id in ids {
        let fault = agent.answer(id).expect_err("it hangs");
        assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before their time");
    assert_eq!(agent.list().len(), 2, "what hangs is not stopped");

    let other = agent.send(stop("web2", 0, true), PATIENCE);
    let start = CallKind::Start { name: "web3".into(), xml: world.definition("web3", Guest::Idle) };
    assert!(matches!(agent.call(start), Ok(Answer::Started { already: false, .. })));
    assert_eq!(agent.answer(other), Ok(Answer::Stopped { destroyed: true }));
    agent.expect("end of web2", gone);

    // Destroying needs no answer from the emulator.
    assert_eq!(agent.call(stop("web1", 500, true)), Ok(Answer::Stopped { destroyed: true }));
    agent.expect("end of web1", gone);
    assert_eq!(agent.list().len(), 1);
}
