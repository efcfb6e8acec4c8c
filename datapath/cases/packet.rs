//! Packets as text, and back. Shared by the two runners of the cases; no code of the datapath is used here, so that a mistake
//! there is not made here, too.
//!
//! Layers stand from the outside in, parted by ` | `:
//!
//! ```text
//! eth SOURCE > DESTINATION            MACs by their last byte: `02:00:00:00:` goes before `XX:YY`
//! arp
//! ip SOURCE > DESTINATION ttl N [options N] [df] [frag ID OFFSET[+]]    either family; `+`: more fragments follow
//! hop-by-hop | destination N | fragment ID OFFSET[+]                    IPv6 extension headers
//! tcp SPORT > DPORT FLAGS             flags by their first letters, S SA A PA FA R RA
//! udp SPORT > DPORT [nosum]
//! icmp TYPE/CODE [id N]               of the family of the header before it
//! proto N                             a protocol without anything known about it
//! data N                              N bytes
//! cut N                               the packet ends after N bytes
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Builds the bytes of a packet.
pub fn build(text: &str) -> Vec<u8> {
    let mut layers: Vec<&str> = text.split('|').map(str::trim).collect();
    let cut = layers.last().and_then(|l| l.strip_prefix("cut ")).map(number::<usize>);
    if cut.is_some() {
        layers.pop();
    }
    let ethernet: Vec<&str> = layers[0].split(' ').collect();
    assert_eq!((ethernet[0], ethernet[2]), ("eth", ">"), "{text}");
    let mut bytes = mac(ethernet[3]).to_vec();
    bytes.extend(mac(ethernet[1]));
    let inner = &layers[1..];
    let kind: u16 = match inner.first() {
        Some(&"arp") => 0x0806,
        Some(l) if l.starts_with("ip ") => {
            if l.contains(':') {
                0x86dd
            } else {
                0x0800
            }
        }
        _ => 0x88cc,
    };
    bytes.extend(kind.to_be_bytes());
    match inner.first() {
        Some(&"arp") => bytes.extend([0; 28]),
        Some(l) if l.starts_with("ip ") => bytes.extend(network(inner)),
        _ => bytes.extend([0; 50]),
    }
    if let Some(cut) = cut {
        bytes.truncate(cut);
    }
    bytes
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn mac(text: &str) -> [u8; 6] {
    let (a, b) = text.split_once(':').unwrap_or_else(|| panic!("not a MAC: {text}"));
    [2, 0, 0, 0, number(a), number(b)]
}

/// An IP header and all behind it.
fn network(layers: &[&str]) -> Vec<u8> {
    let words: Vec<&str> = layers[0].split(' ').collect();
    let (src, dst): (IpAddr, IpAddr) = (number(words[1]), number(words[3]));
    let after = |name: &str| words.iter().position(|w| *w == name).map(|i| &words[i + 1..]);
    let ttl: u8 = number(after("ttl").expect("ttl")[0]);
    let (first, payload) = payload(&layers[1..], src, dst);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let options: usize = after("options").map_or(0, |w| number(w[0]));
            let (id, mut fragment) = after("frag").map_or((1, 0), fragment_words);
            if words.contains(&"df") {
                fragment |= 0x4000;
            }
            let mut h = vec![0x45 + options as u8 / 4, 0];
            h.extend((20 + options as u16 + payload.len() as u16).to_be_bytes());
            h.extend((id as u16).to_be_bytes());
            h.extend(fragment.to_be_bytes());
            h.extend([ttl, first, 0, 0]);
            h.extend(src.octets());
            h.extend(dst.octets());
            h.extend(vec![1; options]);
            let sum = checksum(&h, 0).to_be_bytes();
            h[10..12].copy_from_slice(&sum);
            h.extend(payload);
            h
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut h = vec![0x60, 0, 0, 0];
            h.extend((payload.len() as u16).to_be_bytes());
            h.extend([first, ttl]);
            h.extend(src.octets());
            h.extend(dst.octets());
            h.extend(payload);
            h
        }
        _ => panic!("two families in {}", layers[0]),
    }
}

/// `ID OFFSET[+]` to the identification and the IPv4 fragment field.
fn fragment_words(words: &[&str]) -> (u32, u16) {
    let more = words[1].ends_with('+');
    let offset: u16 = number(words[1].trim_end_matches('+'));
    (number(words[0]), (offset / 8) | if more { 0x2000 } else { 0 })
}

/// Protocol number of the first layer, and the bytes of all of them.
fn payload(layers: &[&str], src: IpAddr, dst: IpAddr) -> (u8, Vec<u8>) {
    let Some(layer) = layers.first() else { return (253, Vec::new()) };
    let words: Vec<&str> = layer.split(' ').collect();
    let rest = &layers[1..];
    let port = |n: usize| number::<u16>(words[n]).to_be_bytes();
    match words[0] {
        // In a later fragment it may be the middle of an extension header.
        "data" => {
            let next = words.iter().position(|w| *w == "of").map_or(17, |i| number(words[i + 1]));
            (next, vec![0xaa; number(words[1])])
        }
        "proto" => (number(words[1]), payload(rest, src, dst).1),
        "hop-by-hop" | "destination" => {
            let (next, after) = payload(rest, src, dst);
            let units: usize = words.get(1).map_or(0, |w| number(w));
            let mut h = vec![next, units as u8];
            h.resize(8 * (units + 1), 0);
            h.extend(after);
            (if words[0] == "destination" { 60 } else { 0 }, h)
        }
        "fragment" => {
            let (next, after) = payload(rest, src, dst);
            let (id, field) = fragment_words(&words[1..]);
            let mut h = vec![next, 0];
            h.extend((((field & 0x1fff) << 3) | ((field >> 13) & 1)).to_be_bytes());
            h.extend(id.to_be_bytes());
            h.extend(after);
            (44, h)
        }
        "tcp" => {
            let mut h = Vec::new();
            h.extend(port(1));
            h.extend(port(3));
            h.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags(words[4]), 1, 0, 0, 0, 0, 0]);
            h.extend(payload(rest, src, dst).1);
            let sum = checksum(&h, pseudo(src, dst, 6, h.len())).to_be_bytes();
            h[16..18].copy_from_slice(&sum);
            (6, h)
        }
        "udp" => {
            let after = payload(rest, src, dst).1;
            let mut h = Vec::new();
            h.extend(port(1));
            h.extend(port(3));
            h.extend((8 + after.len() as u16).to_be_bytes());
            h.extend([0, 0]);
            h.extend(after);
            if !words.contains(&"nosum") {
                let sum = checksum(&h, pseudo(src, dst, 17, h.len())).to_be_bytes();
                h[6..8].copy_from_slice(&sum);
            }
            (17, h)
        }
        "icmp" => {
            let (kind, code) = words[1].split_once('/').expect("TYPE/CODE");
            let id: u16 = words.iter().position(|w| *w == "id").map_or(0, |i| number(words[i + 1]));
            let mut h = vec![number(kind), number(code), 0, 0];
            h.extend(id.to_be_bytes());
            h.extend([0, 0]);
            match rest.first() {
                Some(l) if l.starts_with("ip ") => h.extend(network(rest)),
                _ => h.extend(payload(rest, src, dst).1),
            }
            let (proto, seed) = if src.is_ipv4() { (1, 0) } else { (58, pseudo(src, dst, 58, h.len())) };
            let sum = checksum(&h, seed).to_be_bytes();
            h[2..4].copy_from_slice(&sum);
            (proto, h)
        }
        other => panic!("no such layer: {other}"),
    }
}

const FLAGS: [(char, u8); 6] = [('F', 1), ('S', 2), ('R', 4), ('P', 8), ('A', 16), ('U', 32)];

fn flags(text: &str) -> u8 {
    text.chars().map(|c| FLAGS.iter().find(|f| f.0 == c).unwrap_or_else(|| panic!("no flag {c}")).1).sum()
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]))).sum()
}

fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> u32 {
    let address = |ip| match ip {
        IpAddr::V4(ip) => sum(&Ipv4Addr::octets(&ip)),
        IpAddr::V6(ip) => sum(&Ipv6Addr::octets(&ip)),
    };
    address(src) + address(dst) + u32::from(proto) + len as u32
}

fn checksum(bytes: &[u8], seed: u32) -> u16 {
    let mut all = sum(bytes) + seed;
    while all >> 16 != 0 {
        all = (all & 0xffff) + (all >> 16);
    }
    !(all as u16)
}

/// Writes the bytes of a packet as text; wrong checksums are told.
pub fn render(bytes: &[u8]) -> String {
    let m = |b: &[u8]| format!("{}:{}", b[4], b[5]);
    let mut text = format!("eth {} > {}", m(&bytes[6..12]), m(&bytes[..6]));
    match u16::from_be_bytes([bytes[12], bytes[13]]) {
        0x0800 | 0x86dd => render_network(&bytes[14..], &mut text, false),
        0x0806 => text += " | arp",
        _ => {}
    }
    text
}

fn render_network(b: &[u8], text: &mut String, quoted: bool) {
    let v4 = b[0] >> 4 == 4;
    let (src, dst, ttl, mut proto, mut at): (IpAddr, IpAddr, _, _, usize) = if v4 {
        let octets = |i: usize| -> [u8; 4] { b[i..i + 4].try_into().unwrap() };
        (octets(12).into(), octets(16).into(), b[8], b[9], usize::from(b[0] & 15) * 4)
    } else {
        let octets = |i: usize| -> [u8; 16] { b[i..i + 16].try_into().unwrap() };
        (octets(8).into(), octets(24).into(), b[7], b[6], 40)
    };
    *text += &format!(" | ip {src} > {dst} ttl {ttl}");
    let mut later = false;
    if v4 {
        if at > 20 {
            *text += &format!(" options {}", at - 20);
        }
        let field = u16::from_be_bytes([b[6], b[7]]);
        if field & 0x4000 != 0 {
            *text += " df";
        }
        if field & 0x3fff != 0 {
            let id = u16::from_be_bytes([b[4], b[5]]);
            *text +=
                &format!(" frag {id} {}{}", (field & 0x1fff) * 8, if field & 0x2000 != 0 { "+" } else { "" });
        }
        later = field & 0x1fff != 0;
        if checksum(&b[..at], 0) != 0 {
            *text += " WRONG-HEADER-SUM";
        }
    }
    while !v4 && [0, 60, 44].contains(&proto) && !later {
        let next = b[at];
        if proto == 44 {
            let field = u16::from_be_bytes([b[at + 2], b[at + 3]]);
            let id = u32::from_be_bytes(b[at + 4..at + 8].try_into().unwrap());
            *text += &format!(" | fragment {id} {}{}", field & 0xfff8, if field & 1 != 0 { "+" } else { "" });
            later = field & 0xfff8 != 0;
            at += 8;
        } else {
            let units = usize::from(b[at + 1]);
            *text += if proto == 0 { " | hop-by-hop" } else { " | destination" };
            if units > 0 {
                *text += &format!(" {units}");
            }
            at += 8 * (units + 1);
        }
        proto = next;
    }
    let whole = !later && !quoted && !text.contains("frag");
    render_transport(&b[at..], proto, (src, dst), whole && !later, later, text);
}

fn render_transport(
    b: &[u8],
    proto: u8,
    ends: (IpAddr, IpAddr),
    whole: bool,
    later: bool,
    text: &mut String,
) {
    if later {
        *text += &format!(" | data {}", b.len());
        if proto == 60 {
            *text += " of 60";
        }
        return;
    }
    let port = |i: usize| u16::from_be_bytes([b[i], b[i + 1]]);
    let data;
    let seed = if proto == 1 { 0 } else { pseudo(ends.0, ends.1, proto, b.len()) };
    let mut wrong = checksum(b, seed) != 0;
    match proto {
        6 => {
            let set: String = FLAGS.iter().rev().filter(|f| b[13] & f.1 != 0).map(|f| f.0).collect();
            // Written as people do: SA, PA, FA, RA, A.
            let (rest, ack): (String, String) = set.chars().partition(|c| *c != 'A');
            *text += &format!(" | tcp {} > {} {rest}{ack}", port(0), port(2));
            data = b.len() - 20;
        }
        17 => {
            *text += &format!(" | udp {} > {}", port(0), port(2));
            if b[6..8] == [0, 0] {
                *text += " nosum";
                wrong = false;
            }
            data = b.len() - 8;
        }
        1 | 58 => {
            *text += &format!(" | icmp {}/{}", b[0], b[1]);
            if port(4) != 0 {
                *text += &format!(" id {}", port(4));
            }
            let error = if proto == 1 { [3, 4, 5, 11, 12].contains(&b[0]) } else { b[0] < 5 };
            if error {
                if whole && wrong {
                    *text += " WRONG-SUM";
                }
                return render_network(&b[8..], text, true);
            }
            data = b.len() - 8;
        }
        other => {
            *text += &format!(" | proto {other}");
            wrong = false;
            data = b.len();
        }
    }
    if whole && wrong {
        *text += " WRONG-SUM";
    }
    if data > 0 {
        *text += &format!(" | data {data}");
    }
}
