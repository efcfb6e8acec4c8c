//! BPF programs at an interface as filters of a `clsact` queueing discipline: how kernels before 6.6, which have no tcx, run
//! programs on packets.
//!
//! Such a filter is the kernel's and needs no pin: it stays until it or the interface goes. The same priority and handle
//! always name the same filter, so writing it again puts a program in the place of another without a gap.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use crate::{Error, Netlink, Result};

/// Which way packets go, seen from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What the interface received.
    Ingress,
    /// What it is about to send.
    Egress,
}

/// A program at an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// Index of the interface.
    pub ifindex: u32,
    /// Which way packets go.
    pub way: Way,
    /// What the filter is called.
    pub name: String,
    /// The kernel's number of the program.
    pub program_id: u32,
}

/// Priority of our filters: "PL" in ASCII. Others that are there choose small numbers and come first.
pub const FILTER_PRIORITY: u16 = 0x504c;
const HANDLE: TcHandle = TcHandle { major: 0, minor: 1 };
const KIND: &str = "clsact";
/// ETH_P_ALL.
const ALL_PROTOCOLS: u16 = 3;

// === impl Way ===

impl Way {
    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: u16::MAX, minor }
    }

    /// `ingress` or `egress`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

// === impl Netlink ===

impl Netlink {
    /// Puts a program at an interface, in the place of the one that has our priority there.
    pub fn attach_filter(
        &mut self,
        program: BorrowedFd<'_>,
        name: &str,
        ifindex: u32,
        way: Way,
    ) -> Result<()> {
        self.add_clsact(ifindex)?;
        let mut message = filter_message(ifindex, way);
        message.header.handle = HANDLE;
        message.attributes = vec![
            TcAttribute::Kind(TcFilterBpf::KIND.into()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
                TcOption::Bpf(TcFilterBpfOption::ProgName(name.into())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ];
        let what = format!("attach {name} to link {ifindex}, tc {}", way.name());
        self.change(&what, RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
    }

    /// Takes our program off an interface, and the queueing discipline when nobody else's filter is there. `false` when
    /// there was none.
    pub fn detach_filter(&mut self, ifindex: u32, way: Way) -> Result<bool> {
        let what = format!("detach from link {ifindex}, tc {}", way.name());
        let message = filter_message(ifindex, way);
        match self.change(&what, RouteNetlinkMessage::DelTrafficFilter(message), 0) {
            // EINVAL: the interface has no such queueing discipline.
            Err(e) if e.is_not_found() || e.errno() == Some(EINVAL) => return Ok(false),
            other => other?,
        }
        for way in [Way::Ingress, Way::Egress] {
            if self.has_filters(ifindex, way)? {
                return Ok(true);
            }
        }
        let what = format!("remove {KIND} from link {ifindex}");
        match self.change(&what, RouteNetlinkMessage::DelQueueDiscipline(clsact_message(ifindex)), 0) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(true),
        }
    }

    /// Our filters at these interfaces. One that is gone has none.
    pub fn filters(&mut self, links: &[u32]) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        for ifindex in links {
            for way in [Way::Ingress, Way::Egress] {
                let ours = self.dump_filters(filter_message(*ifindex, way))?;
                filters.extend(ours.iter().filter_map(|message| from_message(message, way)));
            }
        }
        filters.sort();
        Ok(filters)
    }

    fn add_clsact(&mut self, ifindex: u32) -> Result<()> {
        let mut message = clsact_message(ifindex);
        message.attributes.push(TcAttribute::Kind(KIND.into()));
        let what = format!("add {KIND} to link {ifindex}");
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        match self.change(&what, message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(e) if e.is_exists() => Ok(()),
            other => other,
        }
    }

    /// The filters that `asked` names: those of a priority, or all of a hook. None for an interface that is gone.
    fn dump_filters(&mut self, asked: TcMessage) -> Result<Vec<TcMessage>> {
        let what = format!("list filters of link {}", asked.header.index);
        let answers = match self.dump(&what, RouteNetlinkMessage::GetTrafficFilter(asked)) {
            Err(e) if e.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let filter = |answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(message) => Some(message),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(filter).collect())
    }

    /// Whether anybody has a filter there. What can't be read is somebody's.
    fn has_filters(&mut self, ifindex: u32, way: Way) -> Result<bool> {
        let mut all = TcMessage::with_index(ifindex.cast_signed());
        all.header.parent = way.parent();
        match self.dump_filters(all) {
            Ok(filters) => Ok(!filters.is_empty()),
            Err(Error::Answer { .. }) => Ok(true),
            Err(e) => Err(e),
        }
    }
}

const EINVAL: i32 = 22;

/// Names our filter at one hook.
fn filter_message(ifindex: u32, way: Way) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = way.parent();
    message.header.info = u32::from(FILTER_PRIORITY) << 16 | u32::from(ALL_PROTOCOLS.to_be());
    message
}

fn clsact_message(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message
}

/// Our filter of an answer; the kernel also lists the head of each priority, which is none.
fn from_message(message: &TcMessage, way: Way) -> Option<Filter> {
    if message.header.info >> 16 != u32::from(FILTER_PRIORITY) || message.header.handle != HANDLE {
        return None;
    }
    let (mut name, mut program_id) = (None, None);
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name = Some(text.clone()),
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => program_id = Some(*id),
                _ => {}
            }
        }
    }
    let ifindex = message.header.index.cast_unsigned();
    Some(Filter { ifindex, way, name: name?, program_id: program_id? })
}
