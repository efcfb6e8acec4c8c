//! `pleopod bpf TABLE list`: what the kernel holds right now, decoded by the agent.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::Result;
use crate::print::{self, Columns};

/// Tables that can be dumped.
pub const TABLES: [&str; 8] = ["endpoint", "ipcache", "ct", "lb", "nat", "frag", "metrics", "config"];

/// Runs `bpf ...`.
pub async fn run(agent: &mut Agent, command: args::Bpf) -> Result<ExitCode> {
    let (table, args::List::List(flags)) = match command {
        args::Bpf::Endpoint(list) => ("endpoint", list),
        args::Bpf::Ipcache(list) => ("ipcache", list),
        args::Bpf::Ct(list) => ("ct", list),
        args::Bpf::Lb(list) => ("lb", list),
        args::Bpf::Nat(list) => ("nat", list),
        args::Bpf::Frag(list) => ("frag", list),
        args::Bpf::Metrics(list) => ("metrics", list),
        args::Bpf::Config(list) => ("config", list),
    };
    let dump = get(agent, table).await?;
    match flags.output {
        Format::Table => print::facts(Format::Table, &dump, || columns(&dump))?,
        format => print::document(format, &objects(&dump))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One table.
pub async fn get(agent: &mut Agent, table: &str) -> Result<agent::DumpBpfReply> {
    let answer = agent.client.dump_bpf(agent::DumpBpfRequest { table: table.to_owned() }).await;
    agent.answer(&format!("read bpf table {table}"), answer)
}

/// The table of `bpf ... list`.
pub fn columns(dump: &agent::DumpBpfReply) -> Columns {
    let headings: Vec<_> = dump.columns.iter().map(|c| c.replace('_', " ").to_uppercase()).collect();
    let mut columns = Columns::new(headings.iter().map(String::as_str));
    for row in &dump.rows {
        columns.row(row.cells.iter().cloned());
    }
    columns
}

/// Each row as an object under the column names.
pub fn objects(dump: &agent::DumpBpfReply) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let object = |row: &agent::BpfRow| {
        let cells = row.cells.iter().map(|cell| serde_json::Value::from(cell.as_str()));
        dump.columns.iter().cloned().zip(cells).collect()
    };
    dump.rows.iter().map(object).collect()
}
