//! Prints flows: compact, dict, json, table.

use std::io::{self, BufWriter, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pleopod_api::flow::{Endpoint, Flow, LostEvent, Service, Verdict, layer4::Protocol};
use pleopod_api::observer::GetFlowsResponse;
use pleopod_api::observer::get_flows_response::ResponseTypes;
use pleopod_api::words;

use crate::args::observe::{Color, Observe, ObserveFormat, TimeFormat};
use crate::failure::{Failure, Result};
use crate::print::Columns;

#[cfg(test)]
mod tests;

/// Prints messages of the observer to standard output.
pub struct Printer {
    out: BufWriter<io::Stdout>,
    output: ObserveFormat,
    style: Style,
    follow: bool,
    count: u64,
    table: Vec<[String; 7]>,
}

/// How one flow is worded.
struct Style {
    time: TimeFormat,
    zone: TimeZone,
    node: bool,
    numeric: bool,
    color: bool,
}

/// The parts of a printed flow, with the requesting side first where it is known.
struct Parts {
    time: String,
    left: String,
    left_identity: String,
    arrow: &'static str,
    right: String,
    right_identity: String,
    event: String,
    verdict: String,
    summary: String,
}

// === impl Printer ===

impl Printer {
    /// A printer for these flags.
    pub fn new(flags: &Observe) -> Self {
        let color = match flags.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        };
        Self {
            out: BufWriter::new(io::stdout()),
            output: flags.output,
            style: Style {
                time: flags.time_format,
                zone: TimeZone::system(),
                node: flags.print_node_name,
                numeric: flags.numeric,
                color,
            },
            follow: flags.follow,
            count: 0,
            table: Vec::new(),
        }
    }

    /// Prints one message.
    pub fn print(&mut self, message: &GetFlowsResponse) -> Result<()> {
        let first = self.count == 0;
        self.count += 1;
        if self.output == ObserveFormat::Json {
            return self.json(message);
        }
        let flow = match &message.response_types {
            Some(ResponseTypes::Flow(flow)) => flow,
            Some(ResponseTypes::LostEvents(lost)) => {
                let line = self.style.lost(message, lost);
                return Ok(writeln!(self.out, "{line}")?);
            }
            _ => return Ok(()),
        };
        match self.output {
            ObserveFormat::Dict => {
                if !first {
                    writeln!(self.out, "------------")?;
                }
                for (name, value) in self.style.dict(flow) {
                    writeln!(self.out, "{name:>11}: {value}")?;
                }
            }
            // Columns can only be aligned when the last flow is known.
            ObserveFormat::Table if !self.follow => self.table.push(self.style.row(flow)),
            ObserveFormat::Table => {
                let [time, node, source, destination, event, verdict, summary] = self.style.row(flow);
                let node = if self.style.node { format!("{node:<12}   ") } else { String::new() };
                writeln!(
                    self.out,
                    "{time:<19}   {node}{source:<40}   {destination:<40}   {event:<14}   {verdict:<10}   {summary}"
                )?;
            }
            _ => {
                let line = self.style.compact(flow);
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Prints what is left.
    pub fn end(&mut self) -> Result<()> {
        if self.output == ObserveFormat::Table && !self.follow {
            let headings = ["TIMESTAMP", "NODE", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];
            let shown = |at: &usize| self.style.node || *at != 1;
            let mut columns = Columns::new((0..headings.len()).filter(shown).map(|at| headings[at]));
            for row in &self.table {
                columns.row((0..row.len()).filter(shown).map(|at| row[at].clone()));
            }
            self.out.write_all(columns.text().as_bytes())?;
        }
        self.flush()
    }

    /// Makes everything visible that was printed.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<()> {
        let mut value = serde_json::to_value(value)
            .map_err(|error| Failure::failed(format!("cannot print the flow: {error}")))?;
        zulu(&mut value);
        Ok(writeln!(self.out, "{value}")?)
    }
}

/// Writes times as Hubble's client does: UTC as `Z`.
fn zulu(value: &mut serde_json::Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for (name, value) in fields {
        match value {
            serde_json::Value::String(text) if name == "time" => {
                if let Some(utc) = text.strip_suffix("+00:00") {
                    *text = format!("{utc}Z");
                }
            }
            value if name == "flow" => zulu(value),
            _ => {}
        }
    }
}

// === impl Style ===

impl Style {
    /// `TIME: LEFT (ID) -> RIGHT (ID) EVENT VERDICT (SUMMARY)`
    fn compact(&self, flow: &Flow) -> String {
        let p = self.parts(flow);
        let node = if self.node { format!(" [{}]", flow.node_name) } else { String::new() };
        format!(
            "{}{node}: {} {} {} {} {} {} {} ({})",
            p.time,
            p.left,
            p.left_identity,
            p.arrow,
            p.right,
            p.right_identity,
            p.event,
            p.verdict,
            p.summary
        )
    }

    fn dict(&self, flow: &Flow) -> Vec<(&'static str, String)> {
        let [time, node, source, destination, event, verdict, summary] = self.row(flow);
        let mut fields = vec![("TIMESTAMP", time)];
        if self.node {
            fields.push(("NODE", node));
        }
        fields.extend([
            ("SOURCE", source),
            ("DESTINATION", destination),
            ("TYPE", event),
            ("VERDICT", verdict),
            ("SUMMARY", summary),
        ]);
        fields
    }

    fn row(&self, flow: &Flow) -> [String; 7] {
        let p = self.parts(flow);
        let (source, destination) = self.ends(flow);
        [p.time, flow.node_name.clone(), source.0, destination.0, p.event, p.verdict, p.summary]
    }

    fn parts(&self, flow: &Flow) -> Parts {
        let (mut left, mut right) = self.ends(flow);
        let arrow = match flow.is_reply.as_ref().map(|known| known.value) {
            None => "<>",
            Some(false) => "->",
            Some(true) => {
                std::mem::swap(&mut left, &mut right);
                "<-"
            }
        };
        Parts {
            time: flow.time.as_ref().map(|time| self.time(time)).unwrap_or_default(),
            left: left.0,
            left_identity: left.1,
            arrow,
            right: right.0,
            right_identity: right.1,
            event: words::event(flow),
            verdict: self.verdict(flow.verdict()),
            summary: words::summary(flow.l4.as_ref()),
        }
    }

    /// Name and identity of source and destination.
    fn ends(&self, flow: &Flow) -> ((String, String), (String, String)) {
        let (sport, dport) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
            Some(Protocol::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
            Some(Protocol::Udp(udp)) => (udp.source_port, udp.destination_port),
            Some(Protocol::Sctp(sctp)) => (sctp.source_port, sctp.destination_port),
            _ => (0, 0),
        };
        let (source, destination) =
            flow.ip.as_ref().map_or(("", ""), |ip| (ip.source.as_str(), ip.destination.as_str()));
        let mac = flow.ethernet.as_ref().map_or(("", ""), |e| (e.source.as_str(), e.destination.as_str()));
        (
            self.end(
                flow.source.as_ref(),
                flow.source_service.as_ref(),
                &flow.source_names,
                source,
                mac.0,
                sport,
            ),
            self.end(
                flow.destination.as_ref(),
                flow.destination_service.as_ref(),
                &flow.destination_names,
                destination,
                mac.1,
                dport,
            ),
        )
    }

    fn end(
        &self,
        endpoint: Option<&Endpoint>,
        service: Option<&Service>,
        names: &[String],
        ip: &str,
        mac: &str,
        port: u32,
    ) -> (String, String) {
        let pod = endpoint.filter(|e| !e.pod_name.is_empty() && !self.numeric);
        let service = service.filter(|s| !s.name.is_empty() && !self.numeric);
        let host = if let Some(pod) = pod {
            qualified(&pod.namespace, &pod.pod_name)
        } else if let Some(service) = service {
            qualified(&service.namespace, &service.name)
        } else if !names.is_empty() && !self.numeric {
            names.join(",")
        } else if ip.is_empty() {
            // A socket that has no address yet.
            if mac.is_empty() { "unknown".to_owned() } else { mac.to_owned() }
        } else {
            ip.to_owned()
        };
        let identity = self.paint("35", &words::identity(endpoint.map_or(0, |e| e.identity)));
        let host = match port {
            0 => self.paint("36", &host),
            _ if host.contains(':') => format!("{}:{port}", self.paint("36", &format!("[{host}]"))),
            _ => format!("{}:{}", self.paint("36", &host), self.paint("33", &port.to_string())),
        };
        (host, identity)
    }

    fn verdict(&self, verdict: Verdict) -> String {
        let color = match verdict {
            Verdict::Forwarded | Verdict::Redirected => "32",
            Verdict::Dropped | Verdict::Error => "31",
            Verdict::Audit | Verdict::Traced | Verdict::Translated => "33",
            Verdict::Unknown => "0",
        };
        self.paint(color, verdict.as_str_name())
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn lost(&self, message: &GetFlowsResponse, lost: &LostEvent) -> String {
        let time = message.time.as_ref().map(|time| self.time(time) + ": ").unwrap_or_default();
        let cpu = lost.cpu.as_ref().map(|cpu| format!("CPU({}) ", cpu.value)).unwrap_or_default();
        format!("{time}EVENTS LOST: {} {cpu}{}", lost.source().as_str_name(), lost.num_events_lost)
    }

    fn time(&self, time: &pleopod_api::Timestamp) -> String {
        let Ok(time) = Timestamp::new(time.seconds, time.nanos) else { return "invalid time".to_owned() };
        if self.time == TimeFormat::StampMilli {
            return time.to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S.%3f").to_string();
        }
        let format = match self.time {
            TimeFormat::Rfc3339Milli => "%Y-%m-%dT%H:%M:%S.%3fZ",
            TimeFormat::Rfc3339Micro => "%Y-%m-%dT%H:%M:%S.%6fZ",
            TimeFormat::Rfc3339Nano => "%Y-%m-%dT%H:%M:%S.%9fZ",
            _ => "%Y-%m-%dT%H:%M:%SZ",
        };
        time.strftime(format).to_string()
    }
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
