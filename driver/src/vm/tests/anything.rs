//! Events of any kind in any order.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Any {
    List(Vec<(u8, u8, u8)>),
    Answer(u8, u8),
    Up,
    Down,
    Wait(u16),
    Gone(u8),
}

fn any_event() -> impl Strategy<Value = Any> {
    prop_oneof![
        prop::collection::vec((0u8..4, 1u8..4, 0u8..5), 0..5).prop_map(Any::List),
        (0u8..8, 0u8..9).prop_map(|(call, how)| Any::Answer(call, how)),
        (0u8..8, 0u8..9).prop_map(|(call, how)| Any::Answer(call, how)),
        Just(Any::Up),
        Just(Any::Down),
        (0u16..20_000).prop_map(Any::Wait),
        (0u8..4).prop_map(Any::Gone),
    ]
}

fn any_reply(how: u8) -> Reply {
    match how {
        0 => defined(),
        1 => Reply::NotQuorate,
        2 => runs(),
        3 => ok(Answer::Stopped { destroyed: true }),
        4 => seen(&["vm0", "vm2"]),
        5 => seen(&[]),
        6 => fails(FaultKind::Failed),
        7 => fails(FaultKind::Unreachable),
        _ => ok(Answer::Migrated),
    }
}

proptest! {
    /// Whatever happens in whatever order: no panic, no start or migration without the question for quorum, nothing is
    /// said to be stopped that nobody has seen stopped, one report for each piece of work, and time goes on.
    #[test]
    fn whatever_happens_the_driver_keeps_its_promises(events in prop::collection::vec(any_event(), 0..60)) {
        let mut host = Host::new();
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        let mut listed: Vec<String> = Vec::new();
        for event in events {
            match event {
                Any::List(work) => {
                    let mut list: BTreeMap<u8, WorkKind> = BTreeMap::new();
                    for (name, epoch, kind) in work {
                        let work = vm_work(&format!("vm{name}"), epoch.into());
                        list.insert(name, match kind {
                            0 => WorkKind::Start(work),
                            1 => WorkKind::Stop(work),
                            2 => WorkKind::Look(work),
                            3 => WorkKind::StopStray(work),
                            _ => WorkKind::Migrate { vm: work, to: NodeId(2), to_name: "node2".into() },
                        });
                    }
                    // What leaves the list and comes back is new work.
                    outcomes.clear();
                    listed = list.values().map(|kind| format!("{kind:?}")).collect();
                    host.list(list.into_values().collect());
                }
                Any::Answer(call, how) if !host.calls.is_empty() => {
                    let call = host.calls.remove(usize::from(call) % host.calls.len());
                    let reply = any_reply(how);
                    let unknown = matches!(reply, Reply::Answer(Err(_)) | Reply::NotQuorate);
                    host.answer_to(call.id, reply);
                    if unknown {
                        let stopped = |report: &String| report.ends_with("Stopped");
                        prop_assert!(!host.reports.iter().any(stopped), "{:?}", host.reports);
                    }
                }
                Any::Answer(..) => {}
                Any::Up => host.up(),
                Any::Down => host.down(),
                Any::Wait(millis) => host.wait(Duration::from_millis(millis.into())),
                Any::Gone(name) => host.notice(NoticeKind::Event(AgentEvent::Gone {
                    name: format!("vm{name}"),
                    why: belay_proto::entry::GoneReason::Died,
                    pid: Some(7),
                    witness: belay_proto::agent::Witness::Pidfd,
                })),
            }
            for call in &host.calls {
                let acts =
                    matches!(call.question, Question::Agent(CallKind::Start { .. } | CallKind::Migrate { .. }));
                prop_assert_eq!(acts, call.needs_quorum);
            }
            for report in host.reported() {
                if !report.contains(" Unknown ") && !report.contains(" Gone ") {
                    *outcomes.entry(report).or_default() += 1;
                }
            }
            prop_assert!(outcomes.values().all(|times| *times == 1), "{:?} of {:?}", outcomes, listed);
        }
    }
}
