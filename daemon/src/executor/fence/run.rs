//! One run of an agent for the driver: found, run, logged, and told about in words without secrets.

use super::FenceSettings;
use super::mask::Mask;
use super::program::{self, Ended, ProgramError};
use super::starter::Starter;
use crate::ring::QuorumProbe;
use belay_driver::fence::{Purpose, Run, RunEnd, input_text};
use std::time::Instant;
use tokio::sync::watch;

/// How much of what an agent said goes into a reason.
const WORDS_CHARS: usize = 300;

/// Runs it to its end.
pub(super) async fn run(
    run: Run,
    settings: &FenceSettings,
    starter: &Starter,
    quorate: QuorumProbe,
    mut cancelled: watch::Receiver<bool>,
) -> RunEnd {
    match attempt(&run, settings, starter, quorate, &mut cancelled).await {
        Ok(how) => how,
        Err(error) => RunEnd::Failed { why: error.to_string() },
    }
}

async fn attempt(
    run: &Run,
    settings: &FenceSettings,
    starter: &Starter,
    quorate: QuorumProbe,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<RunEnd, ProgramError> {
    let agent = program::find(&run.agent, settings.path.as_deref())?;
    // Here and not when the driver asked for it: a task may have to wait before it runs.
    if run.needs_quorum && !quorate() {
        return Ok(RunEnd::NotQuorate);
    }
    if *cancelled.borrow() {
        return Ok(RunEnd::Cancelled);
    }
    let (victim, name) = (&run.victim_name, &run.agent);
    if let Purpose::Fence { method, device } = &run.purpose {
        tracing::info!(belay_node = %victim, attempt = run.attempt, %method, %device, agent = %name, "fencing {victim} with {name}");
    }
    if let Purpose::SwitchOn { device } = &run.purpose {
        tracing::info!(belay_node = %victim, attempt = run.attempt, %device, agent = %name, "switching {victim} on with {name}");
    }
    let begun = Instant::now();
    let input = input_text(&run.arguments);
    let (ended, captured) = program::run(starter, &agent, input, run.within, settings.kill_grace, cancelled).await?;
    let output = Mask::new(&run.arguments).apply(&captured);
    if let Purpose::Fence { device, .. } | Purpose::SwitchOn { device } = &run.purpose {
        tracing::info!(
            belay_node = %victim, attempt = run.attempt, %device, agent = %name, result = %ended,
            took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), discarded = captured.discarded(),
            output = %output, "{name} for {victim}: {ended}"
        );
    }
    Ok(match ended {
        // What others print may hold secrets and is read by nobody.
        Ended::Success if run.purpose == Purpose::Metadata => RunEnd::Succeeded { output: captured.text() },
        Ended::Success => RunEnd::Succeeded { output: String::new() },
        Ended::Cancelled => RunEnd::Cancelled,
        ended => RunEnd::Failed { why: format!("{ended}{}", last_words(&output)) },
    })
}

/// The last lines of an agent's output, where the reason is, in one line.
pub(super) fn last_words(output: &str) -> String {
    let lines: Vec<_> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" / ");
    if last.is_empty() {
        return ", and said nothing".to_owned();
    }
    let skip = last.chars().count().saturating_sub(WORDS_CHARS);
    let words: String = last.chars().skip(skip).filter(|c| !c.is_control()).collect();
    format!(", saying '{words}'")
}
