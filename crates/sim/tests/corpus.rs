//! Every input of the fuzz targets' corpora, on a stable compiler.

use std::fs;
use std::path::Path;

use bitts_sim::fuzz::TARGETS;

#[test]
fn the_corpora_break_nothing() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 3, "{name} has {inputs} inputs");
    }
}
