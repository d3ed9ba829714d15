//! Worlds that die, the same ones in every run.

/// 100 seeds; a failure prints its seed and the last things that happened.
#[test]
fn a_hundred_worlds_that_die_keep_what_they_promised() {
    let unsound: Vec<String> = (0..100)
        .filter_map(|seed| bitts_sim::crash::run(seed).err())
        .map(|unsound| unsound.to_string())
        .collect();
    assert!(unsound.is_empty(), "{} unsound\n{}", unsound.len(), unsound.join("\n"));
}
