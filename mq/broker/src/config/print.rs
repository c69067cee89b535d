//! Prints settings: for people who ask what is in force, for RocketMQ's tools, and as a reference.

use super::{Loaded, ROWS, Settings};
use std::fmt::Write;

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// `key=value` lines of everything (`-p`).
    All,
    /// `key=value` lines of what RocketMQ calls important (`-m`).
    Important,
    /// Everything with where it came from (`--print-config`).
    Sources,
}

/// The text for `mqbroker -p`, `-m` and `--print-config`.
pub fn print(loaded: &Loaded, what: Print) -> String {
    let mut out = String::new();
    let widths = ROWS
        .iter()
        .map(|row| row.name.len() + loaded.settings.show(row.name).map_or(0, |text| text.len()) + 1);
    let width = widths.max().unwrap_or(0).min(60);
    for row in ROWS.iter().filter(|row| what != Print::Important || row.important) {
        let line = format!("{}={}", row.name, loaded.settings.show(row.name).unwrap_or_default());
        let _ = match what {
            Print::Sources => {
                let origin = loaded.origins.get(row.name).map_or("default", String::as_str);
                writeln!(out, "{line:width$}  # {origin}")
            }
            _ => writeln!(out, "{line}"),
        };
    }
    out
}

impl Settings {
    /// `key=value` lines of everything, the body of GET_BROKER_CONFIG (26).
    pub fn properties(&self) -> String {
        ROWS.iter()
            .map(|row| format!("{}={}\n", row.name, self.show(row.name).unwrap_or_default()))
            .collect()
    }
}

/// A Markdown table of all settings.
pub fn reference() -> String {
    let mut out = String::from("| setting | default | kind | live | what it is for |\n|---|---|---|---|---|\n");
    for row in ROWS {
        let kind = match row.range {
            Some((lo, hi)) => format!("{} {lo}..={hi}", row.kind),
            None => row.kind.to_owned(),
        };
        let default = if row.default.is_empty() {
            "–".to_owned()
        } else {
            format!("`{}`", row.default)
        };
        let live = if row.change == super::Change::Live { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "| `{}` | {default} | {kind} | {live} | {} |",
            row.name,
            row.doc.trim()
        );
    }
    out
}
