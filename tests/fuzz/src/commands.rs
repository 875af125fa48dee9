//! Command lines. The arguments are separated by NULs, as in `/proc/PID/cmdline`; the first is the name.

use belay_cli::console::Console;
use belay_cli::fuzzing::{belay_understands, clustat_prints, clusvcadm_asks_for};
use belay_proto::control::{MemberState, MemberStatus, Phase, ServiceStatus, Status};
use belay_proto::{Index, NodeId, NodeMode, OwnershipEpoch, ServiceState, Term, Timestamp};
use jiff::tz::TimeZone;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A terminal that nobody looks at.
pub(crate) fn console() -> Console {
    Console {
        out: Box::new(std::io::sink()),
        err: Box::new(std::io::sink()),
        input: Box::new(std::io::empty()),
        width: 80,
        terminal: true,
        hints: true,
        colour: true,
        zone: TimeZone::UTC,
        now: || Timestamp(1_331_028_902_000),
    }
}

/// Any command line.
pub(crate) fn read(bytes: &[u8]) {
    let arguments: Vec<OsString> =
        bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let status = status();
    if let Some(request) = clusvcadm_asks_for(&status, &words, &mut console()) {
        let known = request.service().is_none_or(|service| service.as_str().contains(':'));
        assert!(known, "{request:?} is about a service with a full name");
    }
    let printed = clustat_prints(&status, &words, &mut console());
    assert!(printed.is_ok(), "what is printed into nothing is printed");
    let _ = belay_understands(&arguments);
}

fn status() -> Status {
    let member = |id, name: &str| MemberStatus {
        id: NodeId(id),
        name: name.to_owned(),
        online: id == 1,
        local: id == 1,
        configured: true,
        state: if id == 1 { MemberState::Online } else { MemberState::Lost },
        mode: NodeMode::Active,
        detail: String::new(),
    };
    let service = |name: &str| ServiceStatus {
        name: name.parse().unwrap(),
        state: ServiceState::Started,
        frozen: true,
        partial: false,
        owner: Some(NodeId(1)),
        last_owner: Some(NodeId(2)),
        restarts: 1,
        transition: Some(Timestamp(1_331_028_902_000)),
        epoch: OwnershipEpoch(3),
        waiting: None,
        copies: Vec::new(),
        guarded: None,
    };
    Status {
        cluster: "c".into(),
        config_version: 1,
        node: NodeId(1),
        phase: Phase::Working,
        quorate: true,
        term: Term(1),
        index: Index(9),
        committed: Index(9),
        time: Timestamp(1_331_028_902_000),
        age_ms: 0,
        locked: false,
        disarmed: None,
        members: vec![member(1, "node1.example.com"), member(2, "node2.example.com"), member(3, "ö€😀")],
        services: vec![service("vm:web1"), service("vm:db")],
        alarms: Vec::new(),
    }
}
