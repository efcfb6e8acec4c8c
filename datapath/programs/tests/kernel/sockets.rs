//! The socket hooks on a cgroup, with the sockets of a real process. The process is this test binary again ([`child`]).

use crate::{loaded, nets::addr16};
use aya::{
    Ebpf,
    maps::RingBuf,
    programs::{CgroupAttachMode, CgroupSockAddr},
};
use pleopod_abi::{
    Be16, Config,
    event::{SockEvent, kind},
    lb::{LbBackend, LbFrontendKey, LbFrontendValue, LbRegion, LbReverseKey, LbReverseValue},
    maps::{PROGRAMS, ProgramKind},
    metrics::{Direction, counter, metric_index},
    proto,
    reason::XlatePoint,
};
use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
};
use zerocopy::FromBytes as _;

const CHILD: &str = "PLEO_TEST_CHILD_CGROUP";
const SERVICE: &str = "10.96.0.10:80";
const SERVICE6: &str = "[fd96::10]:80";
const EMPTY: &str = "10.96.0.11:80";
/// A Service whose backend listens only after the first try.
const LATE: &str = "10.96.0.12:80";
const LATE_BACKEND: &str = "127.0.0.1:29184";
/// Below the range of ports that sockets get by themselves.
const FIRST: u16 = 29180;

/// A cgroup that goes with the test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                Some((words.next()?, words.next()?))
            })
            .find_map(|(at, kind)| (kind == "cgroup2").then_some(at))
            .expect("a cgroup2 mount");
        let path = PathBuf::from(root).join(
            format!("pleo-t-{}-{:?}", std::process::id(), std::thread::current().id())
                .replace(['(', ')'], ""),
        );
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn attach(ebpf: &mut Ebpf, cgroup: &Cgroup) {
    let file = fs::File::open(&cgroup.0).unwrap();
    for (name, kind) in PROGRAMS {
        if *kind == ProgramKind::SockAddr {
            let program: &mut CgroupSockAddr = loaded::sock(ebpf, name);
            program.attach(&file, CgroupAttachMode::Single).expect(name);
        }
    }
}

fn service(ebpf: &mut Ebpf, id: u32, protocol: u8, at: &str, backends: &[SocketAddr]) {
    let at: SocketAddr = at.parse().unwrap();
    let region = LbRegion { at: id * 8, len: backends.len() as u32 };
    for (place, backend) in (region.at..).zip(backends) {
        let value = LbBackend {
            addr: backend.ip().into(),
            port: Be16::new(backend.port()),
            proto: protocol,
            flags: 0,
            backend_id: place,
        };
        loaded::set(ebpf, "pleo_lb_table", place, &place);
        loaded::set(ebpf, "pleo_lb_be", place, &value);
    }
    let key = LbFrontendKey { addr: at.ip().into(), port: Be16::new(at.port()), proto: protocol, _pad: 0 };
    let value = LbFrontendValue {
        service_id: id,
        inside: region,
        flags: pleopod_abi::lb::frontend_flags::CLUSTER_IP,
        ..LbFrontendValue::default()
    };
    loaded::put(ebpf, "pleo_lb_fe", &key, &value);
}

fn backends(host: &str) -> Vec<SocketAddr> {
    (0..2).map(|n| format!("{host}:{}", FIRST + n).parse().unwrap()).collect()
}

#[test]
fn sockets_choose_a_backend_and_still_see_the_service() {
    let cgroup = Cgroup::new();
    let mut ebpf = loaded::object(&Config::STANDARD);
    attach(&mut ebpf, &cgroup);
    service(&mut ebpf, 7, proto::TCP, SERVICE, &backends("127.0.0.1"));
    service(&mut ebpf, 8, proto::UDP, SERVICE, &backends("127.0.0.1"));
    service(&mut ebpf, 9, proto::TCP, SERVICE6, &backends("[::1]"));
    service(&mut ebpf, 10, proto::TCP, EMPTY, &[]);
    service(&mut ebpf, 11, proto::TCP, LATE, &[LATE_BACKEND.parse().unwrap()]);
    for at in [SERVICE, SERVICE6] {
        let addr = at.parse::<SocketAddr>().unwrap().ip();
        let any = LbFrontendKey::any_port(addr.into());
        loaded::put(&mut ebpf, "pleo_lb_fe", &any, &LbFrontendValue::default());
    }

    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sockets::child", "--nocapture"])
        .env(CHILD, &cgroup.0)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && text.contains("1 passed"), "{text}");

    assert_eq!(loaded::metric(&ebpf, metric_index(counter::NO_BACKEND, Direction::Egress)), 10);
    let entries = loaded::dump::<LbReverseKey, LbReverseValue, 32, 24>(&ebpf, "pleo_lb_rev");
    assert!(
        entries.iter().all(|(k, v)| k.cookie != 0 && [7, 8, 9, 11].contains(&v.service_id)),
        "{entries:?}"
    );
    assert!(entries.iter().any(|(_, v)| v.addr == addr16("fd96::10") && v.port.get() == 80));

    let mut ring = RingBuf::try_from(ebpf.map_mut("pleo_events").unwrap()).unwrap();
    let mut points = [0u32; 5];
    while let Some(item) = ring.next() {
        assert_eq!(item[0], kind::SOCK);
        let event = SockEvent::read_from_bytes(&item).unwrap();
        assert_ne!((event.socket_cookie, event.netns_cookie, event.pid), (0, 0, 0));
        assert_eq!(event.src_identity, pleopod_abi::identity::HOST);
        points[usize::from(event.point)] += 1;
        if event.point == XlatePoint::PostForward as u8 {
            assert!((FIRST..FIRST + 2).contains(&event.dport.get()), "{event:?}");
        }
    }
    let lost = loaded::metric(&ebpf, metric_index(counter::SOCK_EVENT_LOST, Direction::Unknown));
    assert_eq!(points[1], points[2], "before and after come in pairs");
    assert!(points[1] >= 204 || lost > 0, "{points:?}, {lost} lost");
    assert!(points[4] >= 4 || lost > 0, "{points:?}, {lost} lost");
}

/// The sockets, in a process of its own that has moved into the cgroup.
#[test]
fn child() {
    let Some(cgroup) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();

    // TCP: each backend sends its number.
    let mut counts = [0u32; 2];
    let listeners: Vec<_> = backends("127.0.0.1").iter().map(|a| TcpListener::bind(a).unwrap()).collect();
    for (n, listener) in listeners.into_iter().enumerate() {
        answer(listener, n as u8);
    }
    let asked: SocketAddr = SERVICE.parse().unwrap();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(asked).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), asked);
        let mut number = [0];
        stream.read_exact(&mut number).unwrap();
        counts[usize::from(number[0])] += 1;
    }
    // 200 tosses of a coin: six standard deviations are 43.
    assert!(counts.iter().all(|c| (57..=143).contains(c)), "{counts:?}");

    // The same service through an IPv6 socket, by its mapped address.
    let mapped: SocketAddr = "[::ffff:10.96.0.10]:80".parse().unwrap();
    assert_eq!(TcpStream::connect(mapped).unwrap().peer_addr().unwrap(), mapped);

    // IPv6.
    let listeners: Vec<_> = backends("[::1]").iter().map(|a| TcpListener::bind(a).unwrap()).collect();
    let asked6: SocketAddr = SERVICE6.parse().unwrap();
    assert_eq!(TcpStream::connect(asked6).unwrap().peer_addr().unwrap(), asked6);
    drop(listeners);

    // UDP without connect: one socket keeps its backend, and answers come from the service.
    let servers: Vec<_> = backends("127.0.0.1").iter().map(|a| UdpSocket::bind(a).unwrap()).collect();
    for server in servers {
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((n, from)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..n], from);
            }
        });
    }
    let mut buffer = [0; 64];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    for _ in 0..3 {
        socket.send_to(b"hello", asked).unwrap();
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (5, asked));
    }
    // UDP with connect.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    socket.connect(asked).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), asked);
    socket.send(b"hello").unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
    // Connected again to a backend itself: the service is forgotten.
    for backend in backends("127.0.0.1") {
        socket.connect(backend).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), backend);
    }

    // A TCP socket that is refused by the Service may go on to a backend itself: the Service is forgotten, too.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let late: SocketAddr = LATE_BACKEND.parse().unwrap();
    let asked_late: SocketAddr = LATE.parse().unwrap();
    assert_eq!(rustix::net::connect(&socket, &asked_late), Err(rustix::io::Errno::CONNREFUSED));
    let _listener = TcpListener::bind(late).unwrap();
    rustix::net::connect(&socket, &late).unwrap();
    assert_eq!(TcpStream::from(socket).peer_addr().unwrap(), late);
    assert_eq!(TcpStream::connect(asked_late).unwrap().peer_addr().unwrap(), asked_late);

    // No backend: refused, as a closed port would be.
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    };
    refused(TcpStream::connect(EMPTY).map(drop));
    // So is a port that the Service has not: nothing else has its address.
    for at in ["10.96.0.10:81", "[fd96::10]:81", "[::ffff:10.96.0.10]:81"] {
        refused(TcpStream::connect(at).map(drop));
        let local = if at.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(local).unwrap();
        refused(socket.connect(at));
        refused(socket.send_to(b"hello", at).map(drop));
    }
}

fn answer(listener: TcpListener, number: u8) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), &[number]);
        }
    });
}

const TIMED: &str = "PLEO_TEST_TIMED_CGROUP";

/// What the hooks add to connect(), by UDP sockets, whose connect sends nothing. Prints numbers, asserts none.
#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_connect() {
    if let Some(cgroup) = std::env::var_os(TIMED).map(PathBuf::from) {
        fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            for (what, to) in [("a service", SERVICE), ("an address", "127.0.0.1:29185")] {
                let to: SocketAddr = to.parse().unwrap();
                let begin = std::time::Instant::now();
                for _ in 0..300_000 {
                    // Without the hooks there is no route to a service.
                    let _ = socket.connect(to);
                }
                eprintln!("connect to {what}: {:?}", begin.elapsed() / 300_000);
            }
        }
        return;
    }
    use pleopod_abi::config::config_flags;
    for flags in [0, config_flags::SOCKET_LB, config_flags::SOCKET_LB | config_flags::SOCK_EVENTS] {
        let cgroup = Cgroup::new();
        let mut ebpf = loaded::object(&Config { flags, ..Config::STANDARD });
        attach(&mut ebpf, &cgroup);
        service(&mut ebpf, 8, proto::UDP, SERVICE, &backends("127.0.0.1"));
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sockets::speed_of_connect", "--nocapture", "--ignored"])
            .env(TIMED, &cgroup.0)
            .output()
            .unwrap();
        eprintln!("flags {flags}\n{}", String::from_utf8_lossy(&out.stderr));
    }
}
