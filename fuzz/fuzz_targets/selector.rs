//! Any text as a label selector of `pleopod observe --label`, matched against labels made of the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../flows/src/filter/selector.rs"]
mod selector;

fuzz_target!(|text: &str| {
    let labels: Vec<String> = text.split(',').map(|part| format!("k8s:{part}")).collect();
    match selector::Selector::parse(text) {
        Ok(selector) => {
            let _ = selector.matches(&labels);
            let _ = selector.matches(&[]);
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
