//! The ring buffer of events, read where it lies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use aya::maps::{Map as AyaMap, MapData, RingBuf};

use crate::Error;

/// The reading end of a ring buffer. There must be one reader.
pub struct Ring {
    ring: RingBuf<MapData>,
}

// === impl Ring ===

impl Ring {
    /// Opens the pinned ring buffer `name` under `pins` (`<bpffs>/pleopod`).
    pub fn open(pins: &Path, name: &str) -> Result<Self, Error> {
        let path = pins.join("maps").join(name);
        let refused = |e: &dyn std::fmt::Display| Error::Load(format!("ring buffer {name}: {e}"));
        let data = MapData::from_pin(&path).map_err(|e| refused(&e))?;
        let ring = RingBuf::try_from(AyaMap::RingBuf(data)).map_err(|e| refused(&e))?;
        Ok(Self { ring })
    }

    /// Calls `f` for at most `most` records that wait. Answers how many there were.
    pub fn drain(&mut self, most: usize, mut f: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < most {
            let Some(record) = self.ring.next() else { break };
            f(&record);
            count += 1;
        }
        count
    }
}

impl AsRawFd for Ring {
    /// Readable when records wait, for epoll.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl AsFd for Ring {
    /// As [`AsRawFd`], for safe polling.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
