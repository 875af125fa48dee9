//! The log: the systemd journal with structured fields, or standard error.
//!
//! Events of the cluster's history go to the journal with `BELAY_NODE=`, `BELAY_SERVICE=`, `BELAY_ENTRY=`,
//! `BELAY_CAUSE=` and a `MESSAGE_ID=` per kind, so that people can select and alert on them (systemd.journal-fields(7)).

use crate::settings::LogTo;
use belay_engine::node::Node;
use belay_proto::history::{EventKind, HistoryEvent, Severity};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static TO_JOURNAL: OnceLock<bool> = OnceLock::new();

/// Chooses where messages go. `RUST_LOG` narrows or widens them.
pub fn set_up(choice: Option<LogTo>) {
    // systemd sets JOURNAL_STREAM for services whose output goes to the journal (systemd.exec(5)).
    let journal = match choice {
        Some(LogTo::Journal) => true,
        Some(LogTo::Stderr) => false,
        None => std::env::var_os("JOURNAL_STREAM").is_some(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = if journal { tracing_journald::layer().ok() } else { None };
    let _ = TO_JOURNAL.set(layer.is_some());
    let registry = tracing_subscriber::registry().with(filter);
    let result = match layer {
        Some(layer) => registry.with(layer.with_field_prefix(Some("BELAY".to_owned()))).try_init(),
        None => {
            let colours = std::io::stderr().is_terminal();
            registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
        }
    };
    if let Err(error) = result {
        eprintln!("belayd: no log: {error}");
    }
}

/// Writes an event of the cluster's history.
pub(crate) fn write(node: &Node, event: &HistoryEvent) {
    if !TO_JOURNAL.get().copied().unwrap_or(false) {
        return log(event.severity, &plain(event));
    }
    let mut fields = vec![
        ("MESSAGE", plain(event)),
        ("PRIORITY", priority(event.severity).to_string()),
        ("MESSAGE_ID", message_id(event.kind).to_owned()),
        ("SYSLOG_IDENTIFIER", "belayd".to_owned()),
        ("BELAY_KIND", event.kind.word().to_owned()),
        ("BELAY_ENTRY", event.id.to_string()),
    ];
    if let Some(id) = event.node {
        fields.push(("BELAY_NODE", node.state().node_name(id)));
    }
    if let Some(service) = &event.service {
        fields.push(("BELAY_SERVICE", service.to_string()));
    }
    if let Some(cause) = event.cause {
        fields.push(("BELAY_CAUSE", cause.to_string()));
    }
    let lines: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let borrowed: Vec<&str> = lines.iter().map(String::as_str).collect();
    if systemd::journal::send(&borrowed).is_err() {
        log(event.severity, &plain(event));
    }
}

fn plain(event: &HistoryEvent) -> String {
    match &event.service {
        Some(service) => format!("{service} {}", event.text),
        None => event.text.clone(),
    }
}

/// Writes a message of this host alone.
pub(crate) fn log(severity: Severity, text: &str) {
    match severity {
        Severity::Critical | Severity::Error => tracing::error!("{text}"),
        Severity::Warning => tracing::warn!("{text}"),
        Severity::Notice | Severity::Info => tracing::info!("{text}"),
    }
}

/// syslog(3)'s number.
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::Error => 3,
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Info => 6,
    }
}

/// Chosen once and never changed, since alerts refer to them.
fn message_id(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Quorum => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c02",
        EventKind::Config => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c03",
        EventKind::Member => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c04",
        EventKind::Fence => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c05",
        EventKind::Request => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c06",
        EventKind::Observation => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c07",
        EventKind::Service => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c08",
        EventKind::Blocked => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c09",
        EventKind::Guard => "3f0c6d5f1d5b4a0b9a3e6a7f2f5d1c0a",
    }
}
