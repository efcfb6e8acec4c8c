//! Precedence, and what is refused.

use std::io::Write as _;

use super::*;

fn load(args: &[&str], file: Option<&str>) -> anyhow::Result<Config> {
    let mut temp = tempfile::NamedTempFile::new()?;
    let mut argv = vec!["pleopod-agent".to_owned()];
    if let Some(text) = file {
        temp.write_all(text.as_bytes())?;
        argv.push("--config".into());
        argv.push(temp.path().display().to_string());
    }
    argv.extend(args.iter().map(|s| (*s).to_owned()));
    let matches = <Cli as clap::CommandFactory>::command().try_get_matches_from(argv)?;
    Config::from_matches(&matches)
}

fn source(config: &Config, key: &str) -> (String, &'static str) {
    let item = config.items.iter().find(|i| i.key == key).expect("a known key");
    (item.value.clone(), item.source)
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let config = load(&["--mtu", "1400"], Some("mtu: 1300\nuplinks: [ens5, ens6]\nnode-name: k8s-s\n"))
        .expect("valid");
    assert_eq!(config.mtu, Some(1400));
    assert_eq!(config.uplinks, ["ens5", "ens6"]);
    assert_eq!(source(&config, "mtu"), ("1400".into(), "flag"));
    assert_eq!(source(&config, "uplinks"), ("ens5,ens6".into(), "file"));
    assert_eq!(source(&config, "run-dir"), ("/run/pleopod".into(), "default"));
}

#[test]
fn what_is_said_of_services() {
    let standard = load(&[], None).expect("valid");
    assert_eq!(standard.services, ServiceOptions::default());
    assert_eq!(source(&standard, "nodeport-addresses"), ("primary".into(), "default"));
    assert_eq!(source(&standard, "lb-algorithm"), ("random".into(), "default"));

    let text = "nodeport-addresses: [192.168.10.7/24, fd00::/64]\nnodeport-localhost: false\ncluster-ips-outside: false\n\
                lb-algorithm: source-hash\n";
    let config = load(&["--lb-algorithm", "round-robin"], Some(text)).expect("valid");
    let prefixes = ["192.168.10.0/24", "fd00::/64"].map(|net| net.parse().expect("a prefix"));
    let want = ServiceOptions {
        node_port_addresses: NodePortAddresses::Within(prefixes.to_vec()),
        node_port_localhost: false,
        cluster_ips_outside: false,
        balancing: Balancing::RoundRobin,
    };
    assert_eq!(config.services, want);
    assert_eq!(source(&config, "nodeport-addresses"), ("192.168.10.7/24,fd00::/64".into(), "file"));
    assert_eq!(source(&config, "lb-algorithm"), ("round-robin".into(), "flag"));

    for text in ["nodeport-addresses: primary\n", "nodeport-addresses: [primary]\n"] {
        let config = load(&[], Some(text)).expect("valid");
        assert_eq!(config.services.node_port_addresses, NodePortAddresses::Primary, "{text}");
    }
    let one = load(&[], Some("nodeport-addresses: 10.0.0.0/8\n")).expect("valid");
    assert_eq!(source(&one, "nodeport-addresses"), ("10.0.0.0/8".into(), "file"));
}

#[test]
fn every_flag_is_in_config_view_with_its_description() {
    let config = load(&[], None).expect("valid");
    let flags: Vec<String> = <Cli as clap::CommandFactory>::command()
        .get_arguments()
        .filter_map(|a| a.get_long().map(str::to_owned))
        .filter(|f| f != "config" && f != "help" && f != "version")
        .collect();
    for flag in &flags {
        let item = config.items.iter().find(|i| i.key == flag);
        assert!(item.is_some_and(|i| !i.description.is_empty()), "{flag} is not in config view");
    }
    assert_eq!(flags.len(), config.items.len());
}

#[test]
fn bad_values_name_the_key_and_what_to_give() {
    for (args, want) in [
        (&["--mtu", "100"][..], "mtu is 100; give 1280 to 65535"),
        (&["--routing", "ipip"], "routing is \"ipip\""),
        (&["--flow-ring", "0"], "flow-ring is 0"),
        (&["--run-dir", "x"], "run-dir is x; give an absolute path"),
        (&["--uplinks", "a-name-much-too-long"], "uplinks has"),
        (
            &["--nodeport-addresses", "10.0.0.1"],
            "nodeport-addresses has \"10.0.0.1\", which is no prefix; give",
        ),
        (
            &["--nodeport-addresses", "10.0.0.0/8,primary"],
            "nodeport-addresses has \"primary\", beside a prefix",
        ),
    ] {
        let error = load(args, None).expect_err("refused").to_string();
        assert!(error.contains(want), "{error}");
    }
    let error = format!("{:#}", load(&[], Some("mtuu: 9001\n")).expect_err("refused"));
    assert!(error.contains("mtuu"), "{error}");
}
