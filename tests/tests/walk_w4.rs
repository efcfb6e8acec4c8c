//! W4: three nodes, watched.

use pleopod_tests::Lab;

#[test]
fn a_lab_goes_down_without_a_trace() {
    let lab = Lab::up();
    lab.kubectl(&["get", "nodes"]).ok();
    lab.down().ok();
    assert_eq!(lab.traces(), [] as [String; 0]);
}
