//! What a restart of the agent does to maps, links and programs, on a bpffs of the test's own.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use pleopod_abi::Config;
use pleopod_abi::endpoint::{EndpointKey, EndpointValue};
use pleopod_abi::maps;
use pleopod_abi::{Addr16, LAYOUT};
use pleopod_sys_bpf::{Attached, Direction, Links, LoadOptions, Loaded, Place, Reuse, TypedMap, mount};

/// A bpffs that is unmounted when the test ends, however it ends.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pleo-t-{}-{name}", std::process::id()));
        assert!(mount::ensure_bpffs(&path).expect("mount"), "a fresh mount");
        assert!(!mount::ensure_bpffs(&path).expect("mount"), "nothing to do the second time");
        Self(path)
    }

    fn pins(&self) -> PathBuf {
        self.0.join("pleopod")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let path = std::ffi::CString::new(self.0.display().to_string()).expect("a path");
        // SAFETY: the path ends in zero.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        std::fs::remove_dir(&self.0).ok();
    }
}

/// Runs `f` on a thread with a network namespace of its own, where interface 1 is `lo`.
fn in_own_netns(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: plain system call; only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "unshare: {}", io::Error::last_os_error());
        f();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn load(pins: &Path, ct: u32) -> Loaded {
    let options =
        LoadOptions { pins: pins.into(), config: Config::STANDARD, max_entries: vec![("pleo_ct", ct)] };
    Loaded::load(&options).unwrap_or_else(|e| panic!("{e}"))
}

fn endpoints(loaded: &Loaded) -> TypedMap<EndpointKey, EndpointValue> {
    loaded.typed("pleo_endpoints").expect("the map")
}

fn row(n: u16) -> (EndpointKey, EndpointValue) {
    let addr = Addr16::from_v4_octets([172, 16, (n >> 8) as u8, n as u8]);
    (EndpointKey { addr }, EndpointValue { id: n, ..EndpointValue::default() })
}

#[test]
fn rows_survive_and_come_back_whole_whatever_their_number() {
    let bpffs = Bpffs::new("rows");
    let first = load(&bpffs.pins(), 4096);
    assert!(first.reuse().iter().all(|(_, r)| *r == Reuse::Created), "{:?}", first.reuse());
    let rows: Vec<_> = (0..3000).map(row).collect();
    assert!(endpoints(&first).write(&rows).is_empty());
    drop(first);
    let second = load(&bpffs.pins(), 4096);
    assert!(second.reuse().iter().all(|(_, r)| *r == Reuse::Reused), "{:?}", second.reuse());
    let map = endpoints(&second);
    let mut found = map.rows().expect("rows");
    found.sort_by_key(|(_, v)| v.id);
    assert_eq!(found, rows);
    // Every other one goes, twice, with one that never was in the middle.
    let gone: Vec<_> = rows.iter().step_by(2).map(|(k, _)| *k).chain([row(9999).0]).collect();
    assert!(map.delete(&gone).is_empty());
    assert!(map.delete(&gone).is_empty());
    assert_eq!(map.rows().expect("rows").len(), 1500);
    assert_eq!(map.get(&rows[1].0).expect("read"), Some(rows[1].1));
    assert_eq!(map.get(&rows[0].0).expect("read"), None);
}

#[test]
fn a_full_map_fails_the_rows_that_found_no_room_and_no_others() {
    let bpffs = Bpffs::new("full");
    let loaded = load(&bpffs.pins(), 4096);
    let rows: Vec<_> = (0..maps::size::ENDPOINTS as u16 + 10).map(row).collect();
    let failed = endpoints(&loaded).write(&rows);
    assert_eq!(failed.len(), 10);
    assert!(failed.iter().all(|(_, e)| e.raw_os_error() == Some(libc::E2BIG)), "{failed:?}");
}

#[test]
fn a_pinned_map_of_another_shape_is_replaced_and_told() {
    let bpffs = Bpffs::new("shape");
    let first = load(&bpffs.pins(), 4096);
    endpoints(&first).set(&row(1).0, &row(1).1).expect("write");
    drop(first);
    let second = load(&bpffs.pins(), 8192);
    let replaced: Vec<_> =
        second.reuse().iter().filter(|(_, r)| matches!(r, Reuse::Replaced { .. })).map(|(n, _)| *n).collect();
    assert_eq!(replaced, ["pleo_ct"]);
    assert_eq!(endpoints(&second).rows().expect("rows").len(), 1, "the others keep their rows");
    drop(second);
    // Pins that an older or newer version left: nothing of them is believed.
    let pins = bpffs.pins();
    std::fs::remove_dir(pins.join(format!("layout-{LAYOUT}"))).expect("the mark");
    std::fs::create_dir(pins.join(format!("layout-{}", LAYOUT + 1))).expect("a mark");
    let third = load(&pins, 8192);
    assert!(third.reuse().iter().all(|(_, r)| matches!(r, Reuse::Replaced { .. })), "{:?}", third.reuse());
    assert!(endpoints(&third).rows().expect("rows").is_empty());
}

#[test]
fn links_stay_when_the_process_goes_and_take_the_next_program_in_place() {
    in_own_netns(|| {
        let bpffs = Bpffs::new("links");
        let links = |loaded: &Loaded| Links::open(loaded.pins()).expect("links");
        let first = load(&bpffs.pins(), 4096);
        let attach = |loaded: &Loaded| {
            let program = loaded.program("from_pod").expect("program");
            links(loaded).attach_tcx(program, "from_pod", "lo", 1, Direction::Ingress).expect("attach")
        };
        assert_eq!(attach(&first), Attached::Created);
        let before = links(&first).list().expect("list");
        assert_eq!(before.len(), 1);
        assert_eq!(before[0].facts.place, Place::Tcx { ifindex: 1, attach_type: 46 });
        drop(first);
        let second = load(&bpffs.pins(), 4096);
        assert_eq!(links(&second).list().expect("list"), before, "the program serves on without us");
        assert_eq!(attach(&second), Attached::Updated);
        let after = links(&second).list().expect("list");
        assert_eq!(after[0].facts.id, before[0].facts.id, "the same link");
        assert_ne!(after[0].facts.prog_id, before[0].facts.prog_id, "another program");
        assert_eq!(after[0].facts.prog_id, second.program_facts("from_pod").expect("facts").id);
        // A pin that belongs to another interface of the same name is not taken for ours.
        let program = second.program("from_pod").expect("program");
        let error = links(&second).attach_tcx(program, "from_pod", "lo", 4242, Direction::Ingress);
        assert!(error.is_err_and(|e| e.to_string().contains("attaching from_pod to lo tcx/ingress")));
        pleopod_sys_bpf::link::uninstall(second.pins()).expect("uninstall");
        assert!(!bpffs.pins().exists());
    });
}

#[test]
fn links_of_interfaces_that_are_gone_are_swept() {
    let bpffs = Bpffs::new("sweep");
    let loaded = load(&bpffs.pins(), 4096);
    let pins = bpffs.pins();
    let program =
        loaded.program("from_pod").expect("program").as_fd().try_clone_to_owned().expect("a descriptor");
    in_own_netns(move || {
        let links = Links::open(&pins).expect("links");
        links.attach_tcx(program.as_fd(), "from_pod", "lo", 1, Direction::Ingress).expect("attach");
    });
    // The namespace and its `lo` went with the thread; the kernel takes a moment to do so.
    let links = Links::open(&bpffs.pins()).expect("links");
    let gone = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        links.sweep().ok().filter(|swept| !swept.is_empty())
    });
    assert_eq!(gone, Some(vec!["lo-ingress".to_owned()]));
    assert!(links.list().expect("list").is_empty());
}
