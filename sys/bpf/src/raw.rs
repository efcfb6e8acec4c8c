//! The system call, and nothing else: every command we use as one safe function over descriptors and byte slices.
//!
//! Sizes are the caller's promise in the kernel's interface: it reads `key_size` bytes at the key's address whatever the
//! slice holds. That is why maps are only reached through [`crate::map::Map`], which knows the sizes from the kernel and
//! checks every slice against them.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{
    bpf_attr, bpf_cmd,
    bpf_cmd::{
        BPF_LINK_CREATE, BPF_LINK_UPDATE, BPF_MAP_DELETE_BATCH, BPF_MAP_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY,
        BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_BATCH, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET,
        BPF_OBJ_GET_INFO_BY_FD, BPF_OBJ_PIN, BPF_PROG_LOAD, BPF_PROG_TEST_RUN,
    },
    bpf_link_info, bpf_map_info, bpf_prog_info,
};

/// Attributes of no command yet: all bits zero, which the kernel reads as "not given".
fn attr() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain integers; all zero is a value of each of its members.
    unsafe { zeroed() }
}

fn fd_of(fd: BorrowedFd<'_>) -> u32 {
    // A descriptor that is open is not negative.
    fd.as_raw_fd().cast_unsigned()
}

fn addr<T>(slice: &[T]) -> u64 {
    slice.as_ptr().addr() as u64
}

fn addr_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr().addr() as u64
}

/// One call. The pointers inside `attr` must be good for the command; every function of this file sees to that.
fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a live bpf_attr of the size given. Pointers in it come from slices that outlive this call, and
    // the callers of this private function pass slices of the sizes the kernel will access.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_int, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that answer a new descriptor.
fn bpf_fd(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Pins `fd` at `at`, a path in bpffs.
pub fn obj_pin(fd: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let at = path(at)?;
    let mut attr = attr();
    attr.__bindgen_anon_4.pathname = at.as_ptr().addr() as u64;
    attr.__bindgen_anon_4.bpf_fd = fd_of(fd);
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Opens what is pinned at `at`.
pub fn obj_get(at: &Path) -> io::Result<OwnedFd> {
    let at = path(at)?;
    let mut attr = attr();
    attr.__bindgen_anon_4.pathname = at.as_ptr().addr() as u64;
    bpf_fd(BPF_OBJ_GET, &mut attr)
}

/// An info record of the kernel: plain integers, so that any bytes are a value.
///
/// # Safety
/// Implemented only for C structs of integers.
pub unsafe trait Info: Copy {}
// SAFETY: generated C structs of integers and unions of such.
unsafe impl Info for bpf_map_info {}
// SAFETY: as above.
unsafe impl Info for bpf_prog_info {}
// SAFETY: as above.
unsafe impl Info for bpf_link_info {}

/// What the kernel tells of `fd`. The caller chooses the record that belongs to the kind of `fd`; another one gives
/// meaningless numbers, never bad memory, because no pointer is passed inside.
pub fn info<T: Info>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: `Info` is implemented only for structs for which all zero is a value.
    let mut info: T = unsafe { zeroed() };
    let mut attr = attr();
    attr.info.bpf_fd = fd_of(fd);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = (&raw mut info).addr() as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// An interface of this thread's network namespace.
    Interface(u32),
    /// A cgroup2 directory.
    Cgroup(BorrowedFd<'a>),
}

/// Attaches `prog`; `attach_type` is a number of `enum bpf_attach_type`.
pub fn link_create(prog: BorrowedFd<'_>, target: Target<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attr = attr();
    attr.link_create.__bindgen_anon_1.prog_fd = fd_of(prog);
    match target {
        Target::Interface(index) => attr.link_create.__bindgen_anon_2.target_ifindex = index,
        Target::Cgroup(fd) => attr.link_create.__bindgen_anon_2.target_fd = fd_of(fd),
    }
    attr.link_create.attach_type = attach_type;
    bpf_fd(BPF_LINK_CREATE, &mut attr)
}

/// Puts `prog` in the place of the program of `link`, without a gap.
pub fn link_update(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_update.link_fd = fd_of(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = fd_of(prog);
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Sizes of a map's records as the kernel copies them, checked against every slice below.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value; for per-CPU maps those of all CPUs together.
    pub value: usize,
}

fn check(slice: &[u8], size: usize) -> io::Result<()> {
    if slice.len() == size { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Reads one value into `value`; `false` when there is none.
pub fn map_lookup(map: BorrowedFd<'_>, sizes: Sizes, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    check(key, sizes.key)?;
    check(value, sizes.value)?;
    let mut attr = attr();
    attr.__bindgen_anon_2.map_fd = fd_of(map);
    attr.__bindgen_anon_2.key = addr(key);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = addr_mut(value);
    found(bpf(BPF_MAP_LOOKUP_ELEM, &mut attr))
}

/// Writes one row.
pub fn map_update(map: BorrowedFd<'_>, sizes: Sizes, key: &[u8], value: &[u8]) -> io::Result<()> {
    check(key, sizes.key)?;
    check(value, sizes.value)?;
    let mut attr = attr();
    attr.__bindgen_anon_2.map_fd = fd_of(map);
    attr.__bindgen_anon_2.key = addr(key);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = addr(value);
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Removes one row; `false` when there is none.
pub fn map_delete(map: BorrowedFd<'_>, sizes: Sizes, key: &[u8]) -> io::Result<bool> {
    check(key, sizes.key)?;
    let mut attr = attr();
    attr.__bindgen_anon_2.map_fd = fd_of(map);
    attr.__bindgen_anon_2.key = addr(key);
    found(bpf(BPF_MAP_DELETE_ELEM, &mut attr))
}

/// The key after `key` (the first, without one) into `next`; `false` at the end.
pub fn map_next_key(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    check(next, sizes.key)?;
    if let Some(key) = key {
        check(key, sizes.key)?;
    }
    let mut attr = attr();
    attr.__bindgen_anon_2.map_fd = fd_of(map);
    attr.__bindgen_anon_2.key = key.map_or(0, addr);
    attr.__bindgen_anon_2.__bindgen_anon_1.next_key = addr_mut(next);
    found(bpf(BPF_MAP_GET_NEXT_KEY, &mut attr))
}

fn found(result: io::Result<libc::c_long>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads rows from `cursor` on (`None`: from the start) into `keys` and `values`, which hold room for `count` rows.
/// Answers how many were read and whether that was the end. `out` takes the cursor for the next call; it is as long as
/// a key and at least 4 bytes, which hash maps use for a bucket number.
pub fn map_lookup_batch(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    cursor: Option<&[u8]>,
    out: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    check(keys, sizes.key * count as usize)?;
    check(values, sizes.value * count as usize)?;
    check(out, sizes.key.max(4))?;
    if let Some(cursor) = cursor {
        check(cursor, sizes.key.max(4))?;
    }
    let mut attr = attr();
    attr.batch.in_batch = cursor.map_or(0, addr);
    attr.batch.out_batch = addr_mut(out);
    attr.batch.keys = addr_mut(keys);
    attr.batch.values = addr_mut(values);
    attr.batch.count = count;
    attr.batch.map_fd = fd_of(map);
    let end = !found(bpf(BPF_MAP_LOOKUP_BATCH, &mut attr))?;
    // SAFETY: the kernel has filled the count in, at the end too.
    Ok((unsafe { attr.batch.count }, end))
}

/// Writes `count` rows. Answers how many were written, with the error that stopped it, if any.
pub fn map_update_batch(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> (u32, Option<io::Error>) {
    if let Err(e) = check(keys, sizes.key * count as usize).and(check(values, sizes.value * count as usize)) {
        return (0, Some(e));
    }
    let mut attr = attr();
    attr.batch.keys = addr(keys);
    attr.batch.values = addr(values);
    attr.batch.count = count;
    attr.batch.map_fd = fd_of(map);
    match bpf(BPF_MAP_UPDATE_BATCH, &mut attr) {
        Ok(_) => (count, None),
        Err(e) => (done(&attr, count), Some(e)),
    }
}

/// Removes `count` rows. Answers how many were removed, with the error that stopped it, if any.
pub fn map_delete_batch(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    keys: &[u8],
    count: u32,
) -> (u32, Option<io::Error>) {
    if let Err(e) = check(keys, sizes.key * count as usize) {
        return (0, Some(e));
    }
    let mut attr = attr();
    attr.batch.keys = addr(keys);
    attr.batch.count = count;
    attr.batch.map_fd = fd_of(map);
    match bpf(BPF_MAP_DELETE_BATCH, &mut attr) {
        Ok(_) => (count, None),
        Err(e) => (done(&attr, count), Some(e)),
    }
}

/// How far a batch got. A kernel that refused the command as a whole leaves the count as it was.
fn done(attr: &bpf_attr, asked: u32) -> u32 {
    // SAFETY: the member was written before the call, and by the kernel in it.
    let count = unsafe { attr.batch.count };
    if count >= asked { 0 } else { count }
}

/// What a run of a program without a wire (BPF_PROG_TEST_RUN) answers.
#[derive(Clone, Debug)]
pub struct TestRun {
    /// The program's return value.
    pub retval: u32,
    /// The packet as the program left it.
    pub data: Vec<u8>,
    /// Mean nanoseconds of one run.
    pub duration_ns: u32,
}

/// Runs `prog` over the packet `data` (from the Ethernet header on), `repeat` times. `ctx` is the program type's context
/// (`struct __sk_buff` for tcx), or empty.
pub fn prog_test_run(prog: BorrowedFd<'_>, data: &[u8], ctx: &[u8], repeat: u32) -> io::Result<TestRun> {
    // Room for what encapsulation may add.
    let mut out = vec![0u8; data.len() + 256];
    let mut attr = attr();
    attr.test.prog_fd = fd_of(prog);
    attr.test.data_in = addr(data);
    attr.test.data_size_in = data.len() as u32;
    attr.test.data_out = addr_mut(&mut out);
    attr.test.data_size_out = out.len() as u32;
    attr.test.ctx_in = if ctx.is_empty() { 0 } else { addr(ctx) };
    attr.test.ctx_size_in = ctx.len() as u32;
    attr.test.repeat = repeat;
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has filled this member in.
    let test = unsafe { attr.test };
    out.truncate(test.data_size_out as usize);
    Ok(TestRun { retval: test.retval, data: out, duration_ns: test.duration })
}

/// Loads a program given as raw instructions, 8 bytes each. For reference programs of benches.
pub fn prog_load(prog_type: u32, name: &str, insns: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = attr();
    attr.__bindgen_anon_3.prog_type = prog_type;
    attr.__bindgen_anon_3.insn_cnt = insns.len() as u32;
    attr.__bindgen_anon_3.insns = addr(insns);
    attr.__bindgen_anon_3.license = license.as_ptr().addr() as u64;
    // SAFETY: the array was zeroed with the union; this takes a reference to initialised bytes.
    let field = unsafe { &mut attr.__bindgen_anon_3.prog_name };
    for (to, from) in field.iter_mut().take(15).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    bpf_fd(BPF_PROG_LOAD, &mut attr)
}

/// Where and what a link is, as far as we compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its id.
    pub id: u32,
    /// Id of its program.
    pub prog_id: u32,
    /// Place.
    pub place: Place,
}

/// Where a link is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// tcx on an interface; index 0 when the interface is gone.
    Tcx {
        /// Index of the interface.
        ifindex: u32,
        /// `enum bpf_attach_type`.
        attach_type: u32,
    },
    /// A cgroup; id 0 when it is gone.
    Cgroup {
        /// Inode number of the cgroup's directory.
        cgroup_id: u64,
        /// `enum bpf_attach_type`.
        attach_type: u32,
    },
    /// Something we do not attach.
    Other,
}

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_TCX` (kernel commit e420bed02507, 6.6).
const LINK_TCX: u32 = 11;

/// What the kernel tells of a link.
pub fn link_facts(link: BorrowedFd<'_>) -> io::Result<LinkFacts> {
    let info: bpf_link_info = info(link)?;
    let place = match info.type_ {
        LINK_TCX => {
            // SAFETY: `type_` says which member the kernel has filled in.
            let tcx = unsafe { info.__bindgen_anon_1.tcx };
            Place::Tcx { ifindex: tcx.ifindex, attach_type: tcx.attach_type }
        }
        LINK_CGROUP => {
            // SAFETY: `type_` says which member the kernel has filled in.
            let cgroup = unsafe { info.__bindgen_anon_1.cgroup };
            Place::Cgroup { cgroup_id: cgroup.cgroup_id, attach_type: cgroup.attach_type }
        }
        _ => Place::Other,
    };
    Ok(LinkFacts { id: info.id, prog_id: info.prog_id, place })
}
