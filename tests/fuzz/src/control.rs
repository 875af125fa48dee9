//! The control socket, from both ends.

use crate::commands::console;
use belay_cli::fuzzing::{belay_prints, clustat_prints, heard};
use belay_proto::control::{EventsReply, Status, Verdict, WhyReply};
use serde_json::Value;

/// What a client may send is answered by whole messages, each with one NUL, at its end.
pub(crate) fn calls(bytes: &[u8]) {
    for reply in belayd::control::fuzzing::replies(bytes).expect("a runtime") {
        let (end, message) = reply.split_last().expect("a reply is not empty");
        assert!(*end == 0 && !message.contains(&0), "one NUL, at the end");
        let message: Value = serde_json::from_slice(message).expect("a reply is JSON");
        assert!(message.get("parameters").is_some_and(Value::is_object), "{message}");
    }
}

/// What a daemon may answer is printed, or said to be strange.
pub(crate) fn replies(bytes: &[u8]) {
    let _ = heard::<Verdict>(bytes);
    let status = heard::<Status>(bytes);
    let rest = bytes.iter().position(|byte| *byte == 0).map_or(&[][..], |end| &bytes[end + 1..]);
    let (why, events) = (heard::<WhyReply>(rest), heard::<EventsReply>(rest));
    let Ok((status, _)) = status else { return };
    for width in [0, 10, 80, 200] {
        let mut console = console();
        console.width = width;
        let service = status.services.first().map_or("vm:a", |service| service.name.as_str());
        let member = status.members.first().map_or("one", |member| member.name.as_str());
        for arguments in
            [&["-l"][..], &["-x"], &[], &["-s", service], &["-xs", service], &["-ls", service], &["-m", member]]
        {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let _ = clustat_prints(&status, &arguments, &mut console);
        }
        let (why, events) = (why.as_ref().ok(), events.as_ref().ok());
        let _ = belay_prints(&status, why.map(|why| &why.0), events.map(|events| &events.0), &mut console);
    }
}
