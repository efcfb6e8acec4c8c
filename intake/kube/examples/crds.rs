//! Prints the definitions of our objects as JSON, one a line: what `deploy/crds` is written from.

fn main() -> Result<(), serde_json::Error> {
    for crd in pleopod_intake_kube::crd::definitions() {
        println!("{}", serde_json::to_string(&crd)?);
    }
    Ok(())
}
