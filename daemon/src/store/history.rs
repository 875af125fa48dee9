//! The history: what happened and why, kept apart from the entries, which disappear into snapshots.

use super::WriteError;
use super::error::StoreError;
use super::row::{EVENT_COLUMNS, RawEvent, column, word};
use belay_proto::ServiceName;
use belay_proto::history::{EventFilter, EventId, HistoryEvent};
use rusqlite::{Connection, Params, ToSql, Transaction, params, params_from_iter};
use std::path::Path;

/// Which events to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Which ones.
    pub events: EventFilter,
    /// At most this many, the newest.
    pub last: u32,
}

/// Adds an event. One of the same id is replaced: it belongs to a history that was given up for a peer's.
pub(super) fn insert(tx: &Transaction<'_>, event: &HistoryEvent) -> Result<(), WriteError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO events \
         (idx, part, time_ms, kind, severity, node, service, text, cause_idx, cause_part) VALUES (?,?,?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        column(event.id.index.0)?,
        event.id.part,
        column(event.time.0)?,
        event.kind.word(),
        word(&event.severity)?,
        event.node.map(|node| node.0),
        event.service.as_ref().map(ServiceName::as_str),
        event.text,
        event.cause.map(|cause| column(cause.index.0)).transpose()?,
        event.cause.map(|cause| cause.part),
    ])?;
    Ok(())
}

/// Drops the oldest events beyond the limit. Numbers that replaced events left behind make it a little fewer.
pub(super) fn prune(tx: &Transaction<'_>, limit: u64) -> Result<(), WriteError> {
    tx.prepare_cached("DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?")?
        .execute([column(limit)?])?;
    Ok(())
}

/// The newest events that pass the filter, oldest first.
pub(super) fn read(conn: &Connection, file: &Path, filter: &HistoryFilter) -> Result<Vec<HistoryEvent>, StoreError> {
    let EventFilter { service, node, since } = &filter.events;
    // A condition only for what is asked: the services' index is of no use to `? IS NULL OR service = ?`.
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    if let Some(service) = service {
        conditions.push("service = ?");
        values.push(Box::new(service.as_str().to_owned()));
    }
    if let Some(node) = node {
        conditions.push("node = ?");
        values.push(Box::new(node.0));
    }
    if let Some(since) = since {
        conditions.push("time_ms >= ?");
        values.push(Box::new(i64::try_from(since.0).unwrap_or(i64::MAX)));
    }
    values.push(Box::new(filter.last));
    let rest = format!("WHERE {} ORDER BY seq DESC LIMIT ?", conditions.join(" AND "));
    let mut events = select(conn, file, &rest, params_from_iter(values))?;
    events.reverse();
    Ok(events)
}

/// The event and what led to it, oldest first, at most `limit` steps back or as far as the history still reaches.
pub(super) fn chain(conn: &Connection, file: &Path, id: EventId, limit: u32) -> Result<Vec<HistoryEvent>, StoreError> {
    let mut chain = Vec::new();
    let mut next = Some(id);
    for _ in 0..limit {
        let Some(EventId { index, part }) = next else { break };
        let Ok(index) = column(index.0) else { break };
        let Some(event) = select(conn, file, "WHERE idx = ? AND part = ?", params![index, part])?.pop() else { break };
        next = event.cause;
        chain.push(event);
    }
    chain.reverse();
    Ok(chain)
}

fn select(conn: &Connection, file: &Path, rest: &str, with: impl Params) -> Result<Vec<HistoryEvent>, StoreError> {
    let failed = |e: rusqlite::Error| StoreError::from_sqlite(file, &e);
    let mut statement = conn.prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM events {rest}")).map_err(failed)?;
    let rows = statement.query_map(with, RawEvent::read).map_err(failed)?;
    rows.map(|row| {
        row.map_err(failed)?.check().map_err(|detail| StoreError::Damaged {
            file: file.to_owned(),
            detail: format!("an event of the history: {detail}"),
        })
    })
    .collect()
}
