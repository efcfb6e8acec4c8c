//! Links: make, find, change, remove.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage, State,
};

use crate::{Error, MacBytes, Netlink, Result};

/// A link as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias (`ip link set alias`); empty when it has none.
    pub alias: String,
    /// Its kind (`veth`, `bridge`, ...); empty for loopback and hardware.
    pub kind: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacBytes>,
    /// Largest network-layer packet, bytes.
    pub mtu: u32,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Able to carry packets now: up, and its lower layer (cable, other end of a pair) too (`IFF_LOWER_UP`).
    pub running: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether neighbours on it are asked for their Ethernet address (not `IFF_NOARP`).
    pub resolves: bool,
    /// Index of the link below or of the other end of a pair, in that one's namespace.
    pub peer_index: Option<u32>,
    /// Index of the bridge or bond it belongs to.
    pub controller: Option<u32>,
}

/// How a link is named in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By its number.
    Index(u32),
    /// By its name.
    Name(&'a str),
}

/// One end of a pair of links to be made.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// Name, at most 15 bytes.
    pub name: &'a str,
    /// Ethernet address; the kernel picks one when absent.
    pub mac: Option<MacBytes>,
    /// Namespace to make it in; the handle's own when absent.
    pub netns: Option<BorrowedFd<'a>>,
}

/// A veth pair to be made.
#[derive(Clone, Debug)]
pub struct VethSpec<'a> {
    /// The near end.
    pub near: End<'a>,
    /// The far end.
    pub far: End<'a>,
    /// MTU of both.
    pub mtu: u32,
    /// Alias of the near end; empty for none.
    pub alias: &'a str,
}

/// A link of any other kind, by the name the kernel knows the kind by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A learning bridge.
    Bridge,
}

/// What to change on a link; absent fields stay.
#[derive(Clone, Debug, Default)]
pub struct LinkChange<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// MTU, bytes.
    pub mtu: Option<u32>,
    /// Ethernet address.
    pub mac: Option<MacBytes>,
    /// Name.
    pub name: Option<&'a str>,
    /// Alias.
    pub alias: Option<&'a str>,
    /// Bridge or bond to belong to; 0 for none.
    pub controller: Option<u32>,
    /// Namespace to move to.
    pub netns: Option<BorrowedFd<'a>>,
    /// Whether IPv6 gives the link a link-local address by itself.
    pub ipv6_auto_address: Option<bool>,
    /// Whether neighbours are asked for their Ethernet address. Off (`IFF_NOARP`): packets leave with the link's own.
    pub resolve: Option<bool>,
}

/// Links to be deleted together are gathered in this group (`IFLA_GROUP`).
const DOOMED_GROUP: u32 = 0x706c_656f;

// === impl Netlink ===

impl Netlink {
    /// Makes a veth pair in one request: names, addresses, MTU and namespaces of both ends. Both are left down.
    pub fn create_veth(&mut self, spec: &VethSpec<'_>) -> Result<()> {
        let mut far = end(&spec.far, spec.mtu);
        far.header.interface_family = Default::default();
        let mut near = end(&spec.near, spec.mtu);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let what = format!("create veth pair {} and {}", spec.near.name, spec.far.name);
        self.change(&what, RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)?;
        if !spec.alias.is_empty() && spec.near.netns.is_none() {
            let change = LinkChange { alias: Some(spec.alias), ..LinkChange::default() };
            self.change_link(Target::Name(spec.near.name), &change)?;
        }
        Ok(())
    }

    /// Makes a link that needs nothing but a kind and a name.
    pub fn create_link(&mut self, name: &str, kind: Kind) -> Result<()> {
        let mut message = LinkMessage::default();
        let kind = match kind {
            Kind::Bridge => InfoKind::Bridge,
        };
        message.attributes =
            vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])];
        self.change(
            &format!("create link {name}"),
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// The link, or `None` when there is no such link.
    pub fn link(&mut self, target: Target<'_>) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        target.write(&mut message);
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let what = format!("get link {target}");
        match self.get(&what, RouteNetlinkMessage::GetLink(message))? {
            None => Ok(None),
            Some(RouteNetlinkMessage::NewLink(message)) => Ok(Some(Link::from_message(&message))),
            Some(_) => Err(Error::Answer { what, detail: "not a link".into() }),
        }
    }

    /// Every link of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.dump("list links", RouteNetlinkMessage::GetLink(message))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(message)),
                _ => None,
            })
            .collect())
    }

    /// Changes a link.
    pub fn change_link(&mut self, target: Target<'_>, change: &LinkChange<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        target.write(&mut message);
        if let (Target::Index(_), Some(name)) = (target, change.name) {
            message.attributes.push(LinkAttribute::IfName(name.into()));
        }
        let flags = [(change.up, LinkFlags::Up), (change.resolve.map(|resolve| !resolve), LinkFlags::Noarp)];
        for (wanted, flag) in flags {
            if let Some(on) = wanted {
                message.header.change_mask |= flag;
                message.header.flags.set(flag, on);
            }
        }
        let attributes = [
            change.mtu.map(LinkAttribute::Mtu),
            change.mac.map(|mac| LinkAttribute::Address(mac.to_vec())),
            change.alias.map(|alias| LinkAttribute::IfAlias(alias.into())),
            change.controller.map(LinkAttribute::Controller),
            change.netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())),
            change.ipv6_auto_address.map(|auto| {
                let mode = if auto { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
                LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)])])
            }),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        self.change(&format!("change link {target}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets a link up.
    pub fn set_up(&mut self, target: Target<'_>) -> Result<()> {
        self.change_link(target, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Removes a link, and with it the other end of a pair. Waits for the kernel (about 20 ms): see
    /// [`Self::delete_links`]. `false` when there is no such link.
    pub fn delete_link(&mut self, target: Target<'_>) -> Result<bool> {
        let mut message = LinkMessage::default();
        target.write(&mut message);
        match self.change(&format!("delete link {target}"), RouteNetlinkMessage::DelLink(message), 0) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Removes several links under one grace period, so that removing a hundred holds the kernel's link lock hardly
    /// longer than removing one. Links that are gone already are passed over. Gives how many were there.
    pub fn delete_links(&mut self, indices: &[u32]) -> Result<usize> {
        if let [index] = *indices {
            return self.delete_link(Target::Index(index)).map(usize::from);
        }
        let mut gathered = 0;
        for &index in indices {
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.attributes.push(LinkAttribute::Group(DOOMED_GROUP));
            match self.change(&format!("doom link {index}"), RouteNetlinkMessage::SetLink(message), 0) {
                Ok(()) => gathered += 1,
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        if gathered == 0 {
            return Ok(0);
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(DOOMED_GROUP));
        match self.change("delete doomed links", RouteNetlinkMessage::DelLink(message), 0) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(gathered),
        }
    }
}

fn end(end: &End<'_>, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(end.name.into()), LinkAttribute::Mtu(mtu)];
    if let Some(mac) = end.mac {
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    if let Some(netns) = end.netns {
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    }
    message
}

// === impl Target ===

impl Target<'_> {
    fn write(self, message: &mut LinkMessage) {
        match self {
            Self::Index(index) => message.header.index = index,
            Self::Name(name) => message.attributes.push(LinkAttribute::IfName(name.into())),
        }
    }
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

// === impl Link ===

impl Link {
    pub(crate) fn from_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            resolves: !flags.contains(LinkFlags::Noarp),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Link(index) => link.peer_index = Some(*index),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::OperState(State::Down | State::LowerLayerDown | State::NotPresent) => {
                    link.running = false;
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = kind.to_string();
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}
