//! Words: each line of an input is tried as everything that one word can be.

use belay_proto::{BootId, RequestId, ServiceName, Span};
use std::str::FromStr;

/// Any text.
pub(crate) fn read(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).split('\n') {
        if let Ok(span) = line.parse::<Span>() {
            assert_eq!(span.to_string().parse(), Ok(span), "{line:?} is written as {span}");
        }
        same_text::<ServiceName>(line, |name| name.to_string());
        same_text::<RequestId>(line, |id| id.to_string());
        same_text::<BootId>(line, |id| id.to_string());
        if let Ok(name) = line.parse::<ServiceName>() {
            assert!(name.as_str().len() <= ServiceName::MAX_BYTES);
            assert_eq!(format!("{}:{}", name.kind(), name.name()), name.as_str());
        }
        let quoted = serde_json::to_string(line).unwrap();
        assert_eq!(serde_json::from_str::<ServiceName>(&quoted).is_ok(), line.parse::<ServiceName>().is_ok());
        in_a_configuration(line);
    }
}

/// What is accepted is written as it was read, and read again.
fn same_text<T: FromStr + PartialEq + std::fmt::Debug>(text: &str, write: fn(&T) -> String) {
    if let Ok(read) = text.parse::<T>() {
        assert!(write(&read).ends_with(text), "{text:?} is written {}", write(&read));
        assert_eq!(write(&read).parse::<T>().ok(), Some(read));
    }
}

/// As an amount of memory, a number, a length of time, a switch.
fn in_a_configuration(value: &str) {
    let escaped = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let text = format!(
        "<cluster name=\"c\" config_version=\"1\"><clusternodes><clusternode name=\"n\" nodeid=\"1\" memory=\"{escaped}\" \
         cpus=\"{escaped}\"/></clusternodes><rm><vm name=\"a\" path=\"/v\" autostart=\"{escaped}\" memory=\"{escaped}\" \
         restart_expire_time=\"{escaped}\" max_restarts=\"{escaped}\" priority=\"{escaped}\" depend=\"{escaped}\"/></rm></cluster>"
    );
    let reading = belay_config::read("cluster.conf", &text);
    assert_eq!(reading.cluster.is_none(), reading.has_errors());
    let _ = reading.render(false);
}
