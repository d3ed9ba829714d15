//! The main job, from nothing to its end.

use crate::process::run_bitts;

#[test]
fn every_step_of_the_demo_is_as_it_must_be() {
    let ended = run_bitts(&["demo"]);
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr, "");
    let shown = [
        "DELETE /connections/thermostat-7\n",
        "Administrative action (0x98)",
        "the will arrives: thermostats/7/status \"offline\"",
        "$aws/events/presence/disconnected/thermostat-7, API_INITIATED_DISCONNECT",
        "connected false, API_INITIATED_DISCONNECT",
        "Session Present is 1",
        "DELETE /connections/thermostat-7?cleanSession=true&preventWillMessage=true\n",
        "no will arrives",
        "404, ResourceNotFoundException",
    ];
    let mut rest = ended.stdout.as_str();
    for step in shown {
        let Some((_, after)) = rest.split_once(step) else {
            panic!("{step:?} is missing or out of order in\n{}", ended.stdout)
        };
        rest = after;
    }
    assert!(!ended.stdout.contains('\u{1b}'), "no colours where no terminal is");
}
