//! What has to be there before the loop can run: a valid configuration, this host's place in it, and the state as the
//! store has it. Whatever is missing is said in one sentence, and the daemon does not start.

use crate::ring::Ring;
use crate::ring::corosync::{CorosyncRing, CorosyncSettings};
use crate::ring::local::{LocalRing, LocalSettings, SEGMENT_BYTES};
use crate::settings::{RingKind, Settings};
use crate::store::{Identity as StoreIdentity, Loaded, Store};
use anyhow::{Context, Result, anyhow, bail};
use belay_config::{Severity, Validated};
use belay_engine::node::Identity;
use belay_engine::state::State;
use belay_proto::{BootId, Term};
use std::io::IsTerminal;
use std::path::Path;

/// What the loop starts with.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) identity: Identity,
    pub(super) config: Validated,
    pub(super) file: (u64, String),
    pub(super) store: Store,
    pub(super) state: State,
    pub(super) promised: Term,
}

/// Reads and checks everything.
pub(super) fn prepare(settings: &Settings) -> Result<Host> {
    let (config, version, text) = read_config(&settings.config)?;
    let name = host_name(settings)?;
    let node = config.node_named(&name).ok_or_else(|| {
        let known: Vec<&str> = config.nodes.values().map(|node| node.name.as_str()).collect();
        anyhow!(BadConfiguration(format!(
            "this host is '{name}', which {} does not name (it names {}): add it there, or say --node NAME",
            settings.config.display(),
            known.join(", ")
        )))
    })?;
    let boot = boot_id(settings)?;
    let (mut store, loaded) = Store::open(&settings.state_dir)?;
    store.claim(&StoreIdentity { cluster: config.name.clone(), node: node.id })?;
    let identity = Identity {
        node: node.id,
        boot,
        incarnation: loaded.incarnation,
        software: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let state = replay(&loaded).with_context(|| format!("the state in {}", store.file().display()))?;
    Ok(Host {
        name: node.name.clone(),
        identity,
        file: (version, text),
        config,
        store,
        state,
        promised: loaded.promised,
    })
}

/// The configuration is at fault, or this host's place in it: starting again changes nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfiguration(String);

/// Reads `cluster.conf`; warnings go to the log, an error is an error.
pub(super) fn read_config(path: &Path) -> Result<(Validated, u64, String)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = path.display().to_string();
    let reading = belay_config::read_bytes(&file, &bytes);
    for finding in &reading.diagnostics {
        match finding.severity {
            Severity::Error => tracing::error!("{finding}"),
            Severity::Warning => tracing::warn!("{finding}"),
            Severity::Info => tracing::info!("{finding}"),
        }
    }
    let errors = reading.of(Severity::Error).count();
    if errors > 0 && std::io::stderr().is_terminal() {
        eprintln!("{}", reading.render(true));
    }
    let first = reading.of(Severity::Error).next().map(ToString::to_string).unwrap_or_default();
    let Some(config) = reading.cluster else {
        bail!(BadConfiguration(format!("{file} has {errors} error(s); the first is: {first}")));
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{file} is not UTF-8"))?;
    let version = config.version;
    Ok((config, version, text))
}

fn host_name(settings: &Settings) -> Result<String> {
    if let Some(name) = &settings.node {
        return Ok(name.clone());
    }
    let name = nix::unistd::gethostname().context("cannot learn the host's name; say --node NAME")?;
    Ok(name.to_string_lossy().into_owned())
}

fn boot_id(settings: &Settings) -> Result<BootId> {
    let text = match &settings.boot_id {
        Some(id) => id.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot learn the boot id")?,
    };
    Ok(text.trim().parse()?)
}

/// The state at the last entry that is on disk: the snapshot, and what was applied after it.
fn replay(loaded: &Loaded) -> Result<State> {
    let mut state = match &loaded.snapshot {
        Some(row) => State::restore(&row.json)?,
        None => State::new(),
    };
    let mut odd = 0;
    for stored in &loaded.entries {
        state.apply(&stored.entry);
        if state.index() != stored.index {
            bail!("entry {} does not follow {}", stored.index, state.index());
        }
        odd += usize::from(state.chain() != stored.hash);
    }
    if odd > 0 {
        // Another build wrote them. Peers compare states when this host joins, so nothing rests on this.
        tracing::warn!("{odd} stored entries have another hash than this build gives them");
    }
    Ok(state)
}

/// Joins the ring the settings name.
pub(super) async fn join_ring(settings: &Settings, identity: &Identity, config: &Validated) -> Result<Box<dyn Ring>> {
    match settings.ring {
        RingKind::Local => {
            let local = LocalSettings {
                dir: settings.ring_dir.clone(),
                node: identity.node,
                incarnation: identity.incarnation,
                votes: config.nodes.iter().map(|(id, node)| (*id, node.votes)).collect(),
                quorum: config.quorum(),
                token: settings.ring_token.into(),
                segment_bytes: SEGMENT_BYTES,
            };
            // It may wait for a former daemon's lock.
            let ring = tokio::task::spawn_blocking(move || LocalRing::join(local)).await??;
            Ok(Box::new(ring))
        }
        RingKind::Corosync => {
            let corosync = CorosyncSettings { group: format!("belay:{}", config.name), node: Some(identity.node) };
            Ok(Box::new(CorosyncRing::join(corosync)?))
        }
    }
}
