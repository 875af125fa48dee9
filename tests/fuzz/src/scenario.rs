//! Scenario files.

use belay_sim::scenario::Scenario;

/// Any text.
pub(crate) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Scenario::read("x.scenario", text) {
        Ok(scenario) => assert!(!scenario.steps.is_empty()),
        Err(mistake) => {
            assert!(!mistake.message.is_empty() && !mistake.help.is_empty(), "{mistake}");
            assert!(mistake.line >= 1 && mistake.line <= text.lines().count().max(1), "{mistake} is in the file");
        }
    }
}
