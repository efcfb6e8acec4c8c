//! The life of a namespace, in the running kernel. Needs root.

use std::fs;

use pleopod_sys_netns::{Guard, Netns, create, current_cookie, delete, exists, list};

#[test]
fn a_namespace_is_made_named_entered_and_removed() {
    let name;
    {
        let guard = Guard::new("life").unwrap();
        name = guard.name().to_owned();
        assert!(exists(&name));
        assert!(list().unwrap().contains(&name));

        let here = Netns::current().unwrap();
        assert_ne!(here.id().unwrap(), guard.id().unwrap());
        let inside = guard.run(|| Netns::current().unwrap().id().unwrap()).unwrap();
        assert_eq!(inside, guard.id().unwrap());
        assert_eq!(here.id().unwrap(), Netns::current().unwrap().id().unwrap(), "the caller has not moved");

        let again = create(&name).unwrap_err();
        assert_eq!(again.io().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
    }
    assert!(!exists(&name));
    assert!(Netns::open_named(&name).unwrap_err().is_not_found());
    delete(&name).unwrap();
}

#[test]
fn what_is_not_a_namespace_is_refused_and_not_waited_for() {
    let path = std::env::temp_dir().join(format!("pleo-t-{}-fifo", std::process::id()));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (done, wait) = std::sync::mpsc::channel();
    let fifo = path.clone();
    std::thread::spawn(move || done.send(Netns::open(fifo).and_then(|netns| netns.run(|| ())).is_err()));
    let refused = wait.recv_timeout(std::time::Duration::from_secs(5));
    fs::remove_file(&path).unwrap();
    assert_eq!(refused, Ok(true));
}

#[test]
fn cookies_tell_namespaces_apart_and_stay() {
    let a = Guard::new("a").unwrap();
    let b = Guard::new("b").unwrap();
    assert_ne!(a.cookie().unwrap(), b.cookie().unwrap());
    assert_ne!(a.cookie().unwrap(), current_cookie().unwrap());
    assert_eq!(a.cookie().unwrap(), Netns::open_named(a.name()).unwrap().cookie().unwrap());
}

#[test]
fn sysctls_written_inside_stay_inside() {
    let guard = Guard::new("sysctl").unwrap();
    let path = "/proc/sys/net/ipv4/conf/lo/rp_filter";
    let before = fs::read_to_string(path).unwrap();
    guard.run(|| fs::write(path, "2").unwrap()).unwrap();
    assert_eq!(guard.run(|| fs::read_to_string(path).unwrap()).unwrap().trim(), "2");
    assert_eq!(fs::read_to_string(path).unwrap(), before);
}

#[test]
fn a_leftover_file_without_a_mount_is_used_again() {
    let name = format!("pleo-t-{}-leftover", std::process::id());
    fs::create_dir_all("/run/netns").unwrap();
    fs::write(format!("/run/netns/{name}"), "").unwrap();
    assert!(!exists(&name));
    let made = create(&name);
    let removed = delete(&name);
    made.unwrap();
    removed.unwrap();
}

#[test]
fn names_that_are_not_file_names_are_refused() {
    for bad in ["", ".", "..", "a/b", "a\0b"] {
        assert!(create(bad).is_err(), "{bad:?}");
    }
}
