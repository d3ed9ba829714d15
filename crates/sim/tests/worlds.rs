//! Random worlds, the same ones in every run.

/// 200 seeds; a failure prints its seed and the last things that happened.
#[test]
fn two_hundred_worlds_are_sound() {
    let unsound: Vec<String> = (0..200)
        .filter_map(|seed| bitts_sim::world::run(seed).err())
        .map(|unsound| unsound.to_string())
        .collect();
    assert!(unsound.is_empty(), "{} unsound\n{}", unsound.len(), unsound.join("\n"));
}
