//! Prints facts: aligned columns for people, JSON and YAML for programs.

use std::io::{self, Write};

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::args::Format;
use crate::failure::{Failure, Result};

/// Rows under headings. A cell may hold several lines.
pub struct Columns {
    table: Table,
}

// === impl Columns ===

impl Columns {
    /// An empty table with these headings.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.into_iter().map(Cell::new).collect::<Vec<_>>());
        Self { table }
    }

    /// Adds one row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.table.add_row(cells.into_iter().map(|cell| Cell::new(cell.into())).collect::<Vec<_>>());
    }

    /// The table as text, without spaces at the ends of lines.
    pub fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let mut text: String = self.table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        if text.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// Prints `facts` as asked; `columns` makes the table.
pub fn facts<T: Serialize>(format: Format, facts: &T, columns: impl FnOnce() -> Columns) -> Result<()> {
    match format {
        Format::Table => text(&columns().text()),
        _ => document(format, facts),
    }
}

/// Prints `facts` as JSON or YAML.
pub fn document<T: Serialize>(format: Format, facts: &T) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| Failure::failed(format!("cannot print the answer: {error}"));
    match format {
        Format::Yaml => text(&serde_saphyr::to_string(facts).map_err(|e| broken(&e))?),
        _ => text(&(serde_json::to_string_pretty(facts).map_err(|e| broken(&e))? + "\n")),
    }
}

/// Prints text as it is.
pub fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A time for people: UTC, to the second. Empty for 0.
pub fn time(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return String::new();
    }
    match jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => nanoseconds.to_string(),
    }
}
