//! Flags to Hubble's flow filters.
//!
//! A flag about "either end" makes two filters, one for each end; a flag about one end goes into both. Of two equal
//! filters one is dropped.

use pleopod_api::flow::{
    EventTypeFilter, FlowFilter, IpVersion, TraceObservationPoint, TrafficDirection, Workload,
};
use pleopod_api::words;

use crate::args::observe::{Direction, Filter};
use crate::failure::{Failure, Result};

#[cfg(test)]
mod tests;

/// The filters that the flags ask for, one of which has to match; none when no flag is given.
pub fn filters(flags: &Filter) -> Result<Vec<FlowFilter>> {
    check(flags)?;
    let common = common(flags)?;
    // `left` has what concerns either end as the source, `right` as the destination.
    let (mut left, mut right) = (common.clone(), common);

    let pods = within(&flags.pod, &flags.namespace);
    let namespaces = if flags.pod.is_empty() { spaces(&flags.namespace) } else { Vec::new() };
    left.source_pod.extend(pods.iter().chain(&namespaces).cloned());
    right.destination_pod.extend(pods.into_iter().chain(namespaces));
    for (either, from, to, pick) in [
        (&flags.ip, &flags.from_ip, &flags.to_ip, ips as Pick),
        (&flags.service, &flags.from_service, &flags.to_service, services),
        (&flags.label, &flags.from_label, &flags.to_label, labels),
    ] {
        pick(&mut left).0.extend(either.iter().cloned());
        pick(&mut right).1.extend(either.iter().cloned());
        for side in [&mut left, &mut right] {
            pick(side).0.extend(from.iter().cloned());
            pick(side).1.extend(to.iter().cloned());
        }
    }
    left.source_port.extend(flags.port.iter().map(u16::to_string));
    right.destination_port.extend(flags.port.iter().map(u16::to_string));
    left.source_identity.extend(&flags.identity);
    right.destination_identity.extend(&flags.identity);
    left.source_workload.extend(flags.workload.iter().map(|w| workload(w)));
    right.destination_workload.extend(flags.workload.iter().map(|w| workload(w)));
    for side in [&mut left, &mut right] {
        side.source_pod.extend(within(&flags.from_pod, &flags.from_namespace));
        side.destination_pod.extend(within(&flags.to_pod, &flags.to_namespace));
        if flags.from_pod.is_empty() {
            side.source_pod.extend(spaces(&flags.from_namespace));
        }
        if flags.to_pod.is_empty() {
            side.destination_pod.extend(spaces(&flags.to_namespace));
        }
        side.source_port.extend(flags.from_port.iter().map(u16::to_string));
        side.destination_port.extend(flags.to_port.iter().map(u16::to_string));
        side.source_identity.extend(&flags.from_identity);
        side.destination_identity.extend(&flags.to_identity);
        side.source_workload.extend(flags.from_workload.iter().map(|w| workload(w)));
        side.destination_workload.extend(flags.to_workload.iter().map(|w| workload(w)));
    }

    Ok(if left != right {
        vec![left, right]
    } else if left == FlowFilter::default() {
        Vec::new()
    } else {
        vec![left]
    })
}

type Pick = fn(&mut FlowFilter) -> (&mut Vec<String>, &mut Vec<String>);

fn ips(filter: &mut FlowFilter) -> (&mut Vec<String>, &mut Vec<String>) {
    (&mut filter.source_ip, &mut filter.destination_ip)
}

fn services(filter: &mut FlowFilter) -> (&mut Vec<String>, &mut Vec<String>) {
    (&mut filter.source_service, &mut filter.destination_service)
}

fn labels(filter: &mut FlowFilter) -> (&mut Vec<String>, &mut Vec<String>) {
    (&mut filter.source_label, &mut filter.destination_label)
}

/// Fields that are about no end.
fn common(flags: &Filter) -> Result<FlowFilter> {
    let direction = |d: &Direction| match d {
        Direction::Ingress => TrafficDirection::Ingress.into(),
        Direction::Egress => TrafficDirection::Egress.into(),
    };
    let mut ip_version = Vec::new();
    if flags.ipv4 {
        ip_version.push(IpVersion::IPv4.into());
    }
    if flags.ipv6 {
        ip_version.push(IpVersion::IPv6.into());
    }
    Ok(FlowFilter {
        uuid: flags.uuid.clone(),
        protocol: flags.protocol.iter().map(|p| p.to_lowercase()).collect(),
        verdict: flags.verdict.clone(),
        drop_reason_desc: flags.drop_reason_desc.clone(),
        event_type: flags.event_type.iter().map(|text| event_type(text)).collect::<Result<_>>()?,
        tcp_flags: flags.tcp_flags.clone(),
        traffic_direction: flags.traffic_direction.iter().map(direction).collect(),
        reply: flags.reply.into_iter().collect(),
        ip_version,
        node_name: flags.node_name.clone(),
        trace_id: flags.trace_id.clone(),
        ..Default::default()
    })
}

/// Refuses an "either end" flag together with a flag for one end of the same kind: what it would mean is unclear.
fn check(flags: &Filter) -> Result<()> {
    let f = flags;
    for (name, either, one) in [
        ("pod", f.pod.len(), f.from_pod.len() + f.to_pod.len()),
        ("namespace", f.namespace.len(), f.from_namespace.len() + f.to_namespace.len()),
        ("ip", f.ip.len(), f.from_ip.len() + f.to_ip.len()),
        ("port", f.port.len(), f.from_port.len() + f.to_port.len()),
        ("service", f.service.len(), f.from_service.len() + f.to_service.len()),
        ("label", f.label.len(), f.from_label.len() + f.to_label.len()),
        ("identity", f.identity.len(), f.from_identity.len() + f.to_identity.len()),
        ("workload", f.workload.len(), f.from_workload.len() + f.to_workload.len()),
    ] {
        if either > 0 && one > 0 {
            return Err(Failure::usage(format!(
                "--{name} cannot be combined with --from-{name} or --to-{name}: --{name} already means either end"
            )));
        }
    }
    for ip in f.ip.iter().chain(&f.from_ip).chain(&f.to_ip) {
        let (address, length) = ip.split_once('/').map_or((ip.as_str(), None), |(a, l)| (a, Some(l)));
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(address) => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
            Err(_) => return Err(Failure::usage(format!("{ip} is not an address or CIDR"))),
        };
        if length.is_some_and(|length| length.parse::<u8>().map_or(true, |length| length > most)) {
            return Err(Failure::usage(format!("{ip} is not a CIDR: the length goes from 0 to {most}")));
        }
    }
    Ok(())
}

/// Pods within the namespaces that were named beside them.
fn within(pods: &[String], namespaces: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for pod in pods {
        if pod.contains('/') || namespaces.is_empty() {
            all.push(pod.clone());
        } else {
            all.extend(namespaces.iter().map(|namespace| format!("{namespace}/{pod}")));
        }
    }
    all
}

fn spaces(namespaces: &[String]) -> Vec<String> {
    namespaces.iter().map(|namespace| format!("{namespace}/")).collect()
}

fn workload(text: &str) -> Workload {
    let (kind, name) = text.split_once('/').unwrap_or(("", text));
    Workload { kind: kind.to_owned(), name: name.to_owned() }
}

/// `trace`, `drop:133`, `trace:to-endpoint`.
fn event_type(text: &str) -> Result<EventTypeFilter> {
    let (kind, sub) = text.split_once(':').map_or((text, None), |(kind, sub)| (kind, Some(sub)));
    let Some(number) = words::EVENT_NAMES
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, n)| *n)
        .or_else(|| kind.parse().ok())
    else {
        let names: Vec<_> = words::EVENT_NAMES.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(format!(
            "no event type {kind}: expected {} or a number",
            names.join(", ")
        )));
    };
    let Some(sub) = sub else {
        return Ok(EventTypeFilter { r#type: number, ..Default::default() });
    };
    let point = || {
        (1..=101)
            .filter_map(|n| TraceObservationPoint::try_from(n).ok())
            .find(|p| words::observation_point(*p) == sub)
    };
    let Some(sub_type) = sub.parse().ok().or_else(|| match point()? {
        // The kernel's number, which Hubble keeps in `sub_type`.
        TraceObservationPoint::ToEndpoint => Some(0),
        point => Some(point as i32),
    }) else {
        return Err(Failure::usage(format!(
            "no sub type {sub} of {kind}: expected a name such as to-endpoint, or a number"
        )));
    };
    Ok(EventTypeFilter { r#type: number, match_sub_type: true, sub_type })
}
