//! Names and their records, and what to answer about a name. Pure.
//!
//! The cluster's zone follows the Kubernetes DNS specification 1.1.0; a static zone (an outside host's) has names only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Seconds a record may be kept, as kubeadm's Corefile has it.
const TTL: u32 = 30;

/// A zone: every name with records, and every name that exists at all.
#[derive(Debug, Default)]
pub struct Zone {
    /// Lower case, no trailing dot; empty for the root.
    domain: String,
    records: BTreeMap<String, Vec<RData>>,
    /// Names that exist without records of their own: parents of names that do.
    parents: BTreeSet<String>,
    /// Namespaces pods can be asked in.
    namespaces: BTreeSet<String>,
    /// Turns the order of answers, so that each address comes first in its turn.
    turn: AtomicUsize,
}

/// What to say about a question.
#[derive(Debug)]
pub enum Answer {
    /// These records, in this order.
    Records(Vec<Record<RData>>),
    /// An alias, and what it leads to.
    Alias {
        /// The CNAME record.
        record: Record<RData>,
        /// The name it points at.
        target: Name,
        /// What was asked.
        kind: RecordType,
    },
    /// The name exists, but nothing of this type. Carries the SOA record.
    Empty(Record<RData>),
    /// The name does not exist. Carries the SOA record.
    NoSuchName(Record<RData>),
    /// The name is of another zone.
    NotOurs,
}

// === impl Zone ===

impl Zone {
    /// A zone without names.
    #[must_use]
    pub fn empty(domain: &str) -> Self {
        let domain = domain.trim_matches('.').to_lowercase();
        Self { parents: BTreeSet::from([domain.clone()]), domain, ..Self::default() }
    }

    /// A zone of everything, holding only these names.
    #[must_use]
    pub fn of_names<'a>(names: impl IntoIterator<Item = (&'a String, &'a Vec<IpAddr>)>) -> Self {
        let mut zone = Self::empty("");
        for (name, addresses) in names {
            for address in addresses {
                zone.address(name, *address);
                zone.pointer(*address, name);
            }
        }
        zone
    }

    /// The zone's domain, lower case, without dots at its ends.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Makes pods of a namespace known, and the namespace itself.
    pub fn namespace(&mut self, namespace: &str) {
        self.namespaces.insert(namespace.to_owned());
        let (svc, pod) =
            (format!("{namespace}.svc.{}", self.domain), format!("{namespace}.pod.{}", self.domain));
        for name in [svc, pod] {
            self.parents.insert(name.clone());
            self.exists_above(&name);
        }
    }

    /// Adds an address to a full name.
    pub fn address(&mut self, name: &str, address: IpAddr) {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.add(name, data);
    }

    /// Makes a full name an alias of another.
    pub fn alias(&mut self, name: &str, target: &str) {
        if let Ok(target) = absolute(target) {
            self.add(name, RData::CNAME(CNAME(target)));
        }
    }

    /// Adds a service record (RFC 2782).
    pub fn service(&mut self, name: &str, port: u16, target: &str) {
        if let Ok(target) = absolute(target) {
            self.add(name, RData::SRV(SRV::new(0, 100, port, target)));
        }
    }

    /// Adds a text record.
    pub fn text(&mut self, name: &str, text: &str) {
        self.add(name, RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    /// Adds the name of an address, in the reverse tree.
    pub fn pointer(&mut self, address: IpAddr, name: &str) {
        if let Ok(target) = absolute(name) {
            let reverse = Name::from(address).to_ascii().trim_end_matches('.').to_lowercase();
            self.records.entry(reverse).or_default().push(RData::PTR(PTR(target)));
        }
    }

    fn add(&mut self, name: &str, data: RData) {
        let name = name.trim_end_matches('.').to_lowercase();
        self.exists_above(&name);
        let records = self.records.entry(name).or_default();
        if !records.contains(&data) {
            records.push(data);
        }
    }

    /// Notes every name between `name` and the domain as existing.
    fn exists_above(&mut self, name: &str) {
        let mut name = name;
        while let Some((_, above)) = name.split_once('.') {
            if !within(above, &self.domain) || !self.parents.insert(above.to_owned()) {
                return;
            }
            name = above;
        }
    }

    /// What to say about `query`.
    #[must_use]
    pub fn answer(&self, query: &Query) -> Answer {
        let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
        let kind = query.query_type();
        let known = self.records.get(&name);
        // The reverse tree is everybody's: names in it that aren't known here are asked upstream.
        if known.is_none() && !within(&name, &self.domain) {
            return Answer::NotOurs;
        }
        let record = |data: &RData| Record::from_rdata(query.name().clone(), TTL, data.clone());
        if let Some(known) = known {
            if let [data @ RData::CNAME(target)] = known.as_slice()
                && kind != RecordType::CNAME
            {
                return Answer::Alias { record: record(data), target: target.0.clone(), kind };
            }
            let mut found: Vec<_> = known
                .iter()
                .filter(|data| kind == RecordType::ANY || data.record_type() == kind)
                .map(record)
                .collect();
            if found.is_empty() {
                return Answer::Empty(self.soa());
            }
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            found.rotate_left(turn);
            return Answer::Records(found);
        }
        if let Some(address) = self.pod(&name) {
            return match (address, kind) {
                (IpAddr::V4(ip), RecordType::A) => Answer::Records(vec![record(&RData::A(A(ip)))]),
                (IpAddr::V6(ip), RecordType::AAAA) => Answer::Records(vec![record(&RData::AAAA(AAAA(ip)))]),
                _ => Answer::Empty(self.soa()),
            };
        }
        if name == self.domain && kind == RecordType::SOA && !self.domain.is_empty() {
            return Answer::Records(vec![self.soa()]);
        }
        if self.parents.contains(&name) { Answer::Empty(self.soa()) } else { Answer::NoSuchName(self.soa()) }
    }

    /// The address a pod's name spells: `10-0-0-1.NAMESPACE.pod.DOMAIN`.
    fn pod(&self, name: &str) -> Option<IpAddr> {
        let name = name.strip_suffix(&self.domain)?.strip_suffix(".pod.")?;
        let (address, namespace) = name.split_once('.')?;
        if !self.namespaces.contains(namespace) {
            return None;
        }
        Ipv4Addr::from_str(&address.replace('-', "."))
            .map(IpAddr::from)
            .or_else(|_| Ipv6Addr::from_str(&address.replace('-', ":")).map(IpAddr::from))
            .ok()
    }

    fn soa(&self) -> Record<RData> {
        let below = |label: &str| absolute(&format!("{label}.{}", self.domain)).unwrap_or_default();
        let soa = SOA::new(below("ns.dns"), below("hostmaster"), 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(absolute(&self.domain).unwrap_or_default(), TTL, RData::SOA(soa))
    }
}

/// Whether `name` is `domain` or below it.
fn within(name: &str, domain: &str) -> bool {
    domain.is_empty() || name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_str_relaxed(name)?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        let mut zone = Zone::empty("cluster.local.");
        zone.namespace("default");
        zone.address("svc.default.svc.cluster.local", "10.97.1.148".parse().expect("address"));
        zone.pointer("10.97.1.148".parse().expect("address"), "svc.default.svc.cluster.local");
        zone.service("_http._tcp.svc.default.svc.cluster.local", 80, "svc.default.svc.cluster.local");
        zone.alias("ext.default.svc.cluster.local", "outside.example");
        for last in 1..=3 {
            zone.address("many.default.svc.cluster.local", IpAddr::from([172, 16, 0, last]));
        }
        zone
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
        let query = Query::query(absolute(name).expect("name"), kind);
        match zone.answer(&query) {
            Answer::Records(records) => {
                records.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(" ")
            }
            Answer::Alias { target, .. } => format!("-> {target}"),
            Answer::Empty(_) => "empty".to_owned(),
            Answer::NoSuchName(_) => "no such name".to_owned(),
            Answer::NotOurs => "not ours".to_owned(),
        }
    }

    #[test]
    fn names_are_answered_as_the_specification_says() {
        let zone = zone();
        for (name, kind, answer) in [
            ("svc.default.svc.cluster.local", RecordType::A, "10.97.1.148"),
            ("SVC.Default.svc.cluster.local", RecordType::A, "10.97.1.148"),
            ("svc.default.svc.cluster.local", RecordType::AAAA, "empty"),
            (
                "_http._tcp.svc.default.svc.cluster.local",
                RecordType::SRV,
                "0 100 80 svc.default.svc.cluster.local.",
            ),
            ("_tcp.svc.default.svc.cluster.local", RecordType::A, "empty"),
            ("default.svc.cluster.local", RecordType::A, "empty"),
            ("svc.cluster.local", RecordType::A, "empty"),
            ("cluster.local", RecordType::A, "empty"),
            ("none.default.svc.cluster.local", RecordType::A, "no such name"),
            ("svc.other.svc.cluster.local", RecordType::A, "no such name"),
            ("148.1.97.10.in-addr.arpa", RecordType::PTR, "svc.default.svc.cluster.local."),
            ("1.1.97.10.in-addr.arpa", RecordType::PTR, "not ours"),
            ("172-16-0-9.default.pod.cluster.local", RecordType::A, "172.16.0.9"),
            ("172-16-0-9.default.pod.cluster.local", RecordType::AAAA, "empty"),
            ("172-16-0-9.other.pod.cluster.local", RecordType::A, "no such name"),
            ("ext.default.svc.cluster.local", RecordType::A, "-> outside.example."),
            ("outside.example", RecordType::A, "not ours"),
            ("notcluster.local", RecordType::A, "not ours"),
        ] {
            assert_eq!(ask(&zone, name, kind), answer, "{name} {kind}");
        }
    }

    #[test]
    fn every_address_comes_first_in_its_turn() {
        let zone = zone();
        let firsts: BTreeSet<String> = (0..3)
            .map(|_| {
                let all = ask(&zone, "many.default.svc.cluster.local", RecordType::A);
                all.split(' ').next().unwrap_or("").to_owned()
            })
            .collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn a_zone_of_names_knows_nothing_else() {
        let names = BTreeMap::from([("outside.example".to_owned(), vec![IpAddr::from([203, 0, 113, 10])])]);
        let zone = Zone::of_names(&names);
        assert_eq!(ask(&zone, "outside.example", RecordType::A), "203.0.113.10");
        assert_eq!(ask(&zone, "10.113.0.203.in-addr.arpa", RecordType::PTR), "outside.example.");
        assert_eq!(ask(&zone, "example", RecordType::A), "empty");
        assert_eq!(ask(&zone, "else.example", RecordType::A), "no such name");
    }
}
