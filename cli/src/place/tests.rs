use super::*;

/// A run root with these sockets (plain files stand for them; nothing connects here).
fn root(sockets: &[&str]) -> (tempfile::TempDir, args::Place) {
    let dir = tempfile::tempdir().unwrap();
    for socket in sockets {
        let path = dir.path().join(socket);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let place =
        args::Place { node: None, socket: None, lab: None, lab_root: None, run_root: dir.path().to_owned() };
    (dir, place)
}

#[test]
fn the_agent_of_this_machine_comes_first() {
    let (_dir, place) = root(&["pleopod/agent.sock", "pleopod-lab/lab/k8s-s/agent.sock"]);
    assert!(find(&place).unwrap().socket.ends_with("pleopod/agent.sock"));
    assert_eq!(find_all(&place).unwrap().len(), 1);
}

#[test]
fn the_first_node_of_the_only_lab_is_the_default() {
    let (_dir, mut place) = root(&["pleopod-lab/w4/k8s-w1/agent.sock", "pleopod-lab/w4/k8s-s/agent.sock"]);
    assert_eq!(find(&place).unwrap().node.as_deref(), Some("k8s-s"));
    assert_eq!(find_all(&place).unwrap().len(), 2);
    place.node = Some("k8s-w1".into());
    assert!(find(&place).unwrap().socket.ends_with("w4/k8s-w1/agent.sock"));
    assert_eq!(find_all(&place).unwrap().len(), 1);
    place.node = Some("k8s-w9".into());
    assert_eq!(
        find(&place).unwrap_err().to_string(),
        "no node k8s-w9 with an agent in lab w4: there are k8s-s, k8s-w1"
    );
}

#[test]
fn several_labs_need_a_choice() {
    let (dir, mut place) = root(&["pleopod-lab/a/n/agent.sock", "pleopod-lab/b/n/agent.sock"]);
    let error = find(&place).unwrap_err();
    assert!(matches!(error, Failure::Usage(_)));
    assert_eq!(error.to_string(), "several labs run here (a, b): choose one with --lab or PLEOPOD_LAB");
    place.lab = Some("b".into());
    assert!(find(&place).unwrap().socket.ends_with("b/n/agent.sock"));
    let default = dir.path().join("pleopod-lab/default/n");
    fs::create_dir_all(&default).unwrap();
    fs::write(default.join("agent.sock"), "").unwrap();
    place.lab = None;
    assert!(find(&place).unwrap().socket.ends_with("default/n/agent.sock"));
    place.lab = Some("c".into());
    assert!(find(&place).unwrap_err().to_string().ends_with("running: a, b, default"));
}

#[test]
fn nothing_found_says_what_was_tried() {
    let (dir, place) = root(&[]);
    let text = find(&place).unwrap_err().to_string();
    let root = dir.path().display();
    assert!(text.contains(&format!("{root}/pleopod/agent.sock does not exist")), "{text}");
    assert!(text.contains(&format!("no lab runs under {root}/pleopod-lab")), "{text}");
}

#[test]
fn the_control_plane_comes_first() {
    let (dir, mut place) =
        root(&["pleopod-lab/l/a/agent.sock", "pleopod-lab/l/b/agent.sock", "pleopod-lab/l/c/agent.sock"]);
    let lab = dir.path().join("pleopod-lab/l");
    fs::write(lab.join("topology.yaml"), "nodes:\n- name: c\n- name: b\n  control-plane: true\n- name: a\n")
        .unwrap();
    assert_eq!(find(&place).unwrap().node.as_deref(), Some("b"));
    let all: Vec<_> = find_all(&place).unwrap().into_iter().filter_map(|f| f.node).collect();
    assert_eq!(all, ["b", "c", "a"]);
    fs::write(lab.join("topology.yaml"), "nodes: [").unwrap();
    assert_eq!(find(&place).unwrap().node.as_deref(), Some("a"));
    (place.lab_root, place.run_root) = (Some(dir.path().join("pleopod-lab")), "/nonexistent".into());
    assert_eq!(find(&place).unwrap().node.as_deref(), Some("a"));
}

#[test]
fn a_lab_without_agents_is_told_from_none() {
    let (dir, mut place) = root(&[]);
    fs::create_dir_all(dir.path().join("pleopod-lab/young")).unwrap();
    place.lab = Some("young".into());
    assert!(find(&place).unwrap_err().to_string().starts_with("no agent runs in lab young (yet)"));
    assert!(find_all(&place).is_err());
    place.node = Some("a".into());
    assert!(find(&place).unwrap_err().to_string().starts_with("no agent runs in lab young (yet)"));
}
