//! Every script of `spec/scenarios` on one to three shards, with a store that is durable at once
//! and with one that takes its time.

use std::path::Path;

use bitts_sim::scenario::core::run_everywhere;
use bitts_sim::scenario::load;

/// Scripts stand beside the crates.
fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/scenarios")
}

#[test]
fn every_scenario_passes_in_the_core() {
    let scenarios = load(&scripts()).unwrap();
    assert!(!scenarios.is_empty());
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        let failures = run_everywhere(scenario);
        match (&scenario.expect_fail, failures.first()) {
            (None, Some(first)) => {
                wrong.push(format!("{first}\n  ({} runs failed)", failures.len()));
            }
            (Some(reason), None) => wrong.push(format!(
                "{}:{}: {}: passes, although it is expected to fail: {reason}",
                scenario.file, scenario.line, scenario.title
            )),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), scenarios.len(), wrong.join("\n"));
}
