//! The one table: `what | measured | budget | ratio`.

use crate::sample::{Sample, short};
use std::time::Duration;

/// The rows so far. Each is printed as soon as it is known: the whole run takes minutes.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

const HEAD: [&str; 4] = ["what", "measured (min / median / max)", "budget", "median / budget"];

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A duration, with a budget or without.
    pub fn time(&mut self, what: &str, sample: &Sample, budget: Option<Duration>) {
        let ratio = budget.map(|budget| sample.median().as_secs_f64() / budget.as_secs_f64());
        self.row(what, sample.to_string(), budget.map(short), ratio);
    }

    /// Any other number.
    pub fn number(&mut self, what: &str, value: f64, unit: &str, budget: Option<f64>) {
        let shown = |value: f64| format!("{value:.2} {unit}");
        self.row(what, shown(value), budget.map(shown), budget.map(|budget| value / budget));
    }

    fn row(&mut self, what: &str, measured: String, budget: Option<String>, ratio: Option<f64>) {
        eprintln!("  {what}: {measured}");
        let none = || "–".to_owned();
        let ratio = ratio.map_or_else(none, |ratio| format!("{ratio:.2}{}", if ratio > 1.0 { "  OVER" } else { "" }));
        self.rows.push([what.to_owned(), measured, budget.unwrap_or_else(none), ratio]);
    }

    /// The table as Markdown, columns aligned.
    #[must_use]
    pub fn text(&self) -> String {
        let head = HEAD.map(str::to_owned);
        let mut widths = [0; 4];
        for row in std::iter::once(&head).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String; 4]| {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let rule = widths.map(|width| "-".repeat(width));
        let mut text = line(&head) + &line(&rule);
        for row in &self.rows {
            text += &line(row);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_over_its_budget_is_marked_and_one_without_is_not() {
        let mut table = Table::new();
        table.number("memory", 70.0, "MiB", Some(64.0));
        table.number("noise", 3.0, "%", None);
        let text = table.text();
        assert!(text.contains("70.00 MiB") && text.contains("1.09  OVER"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.trim_end_matches([' ', '|']).ends_with('–')), "{text}");
    }
}
