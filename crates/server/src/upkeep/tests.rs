//! An export's text: every kind of line in and out, and what is refused.

use std::path::Path;

use bitts_broker::Now;
use bitts_store::StoreError;

use super::{Secrets, backup, export, import};
use crate::storage::{Durability, Storage};

/// A line of every kind, as an export writes them.
const EVERY_LINE: &str = include_str!("../../tests/data/export.jsonl");

fn exported(dir: &Path, secrets: Secrets) -> String {
    let mut text = Vec::new();
    export(dir, secrets, &mut text).expect("exported");
    String::from_utf8(text).expect("UTF-8")
}

/// Imports a text that is refused; what it says. Nothing is left.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let said = import(folder.path(), text.as_bytes()).expect_err("refused").to_string();
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "{said}");
    said
}

#[test]
fn an_export_of_an_import_is_the_same_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let text = EVERY_LINE;
    let holds = import(&dir, text.as_bytes()).expect("imported");
    let counts = (holds.sessions, holds.owed, holds.retained, holds.shadows, holds.registry_rows);
    assert_eq!(counts, (2, 3, 1, 2, 2));
    assert_eq!(exported(&dir, Secrets::Kept), text);
}

/// The journal that the tests of formats read.
#[test]
fn an_import_of_an_export_is_the_same_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/data/format-1");
    std::fs::create_dir_all(first.join("journal")).expect("made");
    for file in std::fs::read_dir(fixture).expect("readable") {
        let file = file.expect("readable");
        let to = first.join("journal").join(file.file_name());
        std::fs::copy(file.path(), to).expect("copied");
    }
    let text = exported(&first, Secrets::Kept);
    assert!(text.lines().count() > 8, "{text}");
    import(&second, text.as_bytes()).expect("imported");
    assert_eq!(exported(&second, Secrets::Kept), text);
}

#[test]
fn secrets_are_left_out_where_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    import(&first, EVERY_LINE.as_bytes()).expect("imported");
    let text = exported(&first, Secrets::LeftOut);
    for secret in ["AKIDEXAMPLE", "secret", "0102030405060708", "0123456789abcdef"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    import(&second, text.as_bytes()).expect("imported");
    assert_eq!(exported(&second, Secrets::LeftOut), text);
}

#[test]
fn what_is_not_whole_is_refused_and_nothing_is_left() {
    let text = EVERY_LINE;
    let cut = &text[..text.len() - "{\"kind\":\"end\",\"lines\":19}\n".len()];
    assert_eq!(refused(cut), "the export is not whole: its last line is missing");
    let less: String =
        text.lines().filter(|line| !line.contains("gone")).collect::<Vec<_>>().join("\n");
    assert!(
        refused(&less).starts_with("the export is not whole: it had 19 lines before"),
        "{less}"
    );
    let named = text
        .replace(r#""message":{"shard":2,"number":300}"#, r#""message":{"shard":2,"number":9}"#);
    assert_eq!(
        refused(&named),
        "the export is not whole: 2 lines name what no line before them has"
    );
    let ended = format!("{text}{{}}\n");
    assert!(refused(&ended).starts_with("line 21 of the export: "), "{}", refused(&ended));
}

#[test]
fn a_line_that_cannot_be_is_refused_with_its_number() {
    let text = EVERY_LINE;
    for (from, to, line, problem) in [
        ("\"format\":1", "\"format\":2", 1, "format 2: this version reads format 1"),
        ("\"5\",\"exp", "\"4\",\"exp", 2, "\"4\" is no protocol: 3.1.1 or 5 is expected"),
        ("lamps/#", "lamps/#/x", 2, "\"lamps/#/x\" is no Topic Filter"),
        ("CONNECTION_LOST", "BORED", 2, "\"BORED\" is no reason"),
        ("\"packetId\":4", "\"packetId\":0", 4, "0 is no Packet Identifier"),
        ("\"lamps/1\"", "\"lamps/+\"", 5, "\"lamps/+\" is no Topic Name"),
        ("\"qos\":1,\"retain\":true", "\"qos\":3", 7, "3 is no QoS"),
        ("AQIDrAI=", "AQIDrA==", 13, "bytes that are no shadow"),
        ("AQA=", "BQA=", 14, "shadow of format 5, which this release does not read"),
    ] {
        let said = format!("line {line} of the export: {problem}");
        assert_eq!(refused(&text.replacen(from, to, 1)), said);
    }
    let odd = text.replacen(r#""thing":"lamp""#, r#""thing":"lamp","colour":1"#, 1);
    assert!(refused(&odd).starts_with("line 13 of the export: unknown field `colour`"));
    assert!(refused("hello\n").starts_with("line 1 of the export: "));
    assert_eq!(
        refused("{\"kind\":\"end\",\"lines\":0}\n"),
        "line 1 of the export: it is not the first line of an export"
    );
}

/// A process that was killed meanwhile leaves what no server takes for a directory of its own.
#[test]
fn a_journal_has_its_name_when_all_of_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    import(&first, EVERY_LINE.as_bytes()).expect("imported");
    backup(&first, &second).expect("copied");
    assert_eq!(exported(&second, Secrets::Kept), EVERY_LINE);
    std::fs::rename(second.join("journal"), second.join("journal.unfinished")).expect("renamed");
    let opened = Storage::open(Some(&second), Durability::Sync, Now::default());
    assert!(matches!(opened, Err(StoreError::Unfinished { .. })), "{opened:?}");
    let again = backup(&first, &second).expect_err("refused");
    assert!(matches!(again, StoreError::NotEmpty { .. }), "{again}");
}

/// Of a directory that is damaged or not there, nothing is left where the copy would be.
#[test]
fn what_cannot_be_copied_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let is_empty = || std::fs::read_dir(&second).expect("readable").next().is_none();
    assert!(matches!(backup(&first, &second), Err(StoreError::Io { .. })));
    assert!(is_empty());
    import(&first, EVERY_LINE.as_bytes()).expect("imported");
    let journal = std::fs::read_dir(first.join("journal")).expect("readable");
    let segment = journal.map(|file| file.expect("readable").path());
    let segment = segment.into_iter().find(|path| path.to_string_lossy().contains("journal-"));
    std::fs::write(segment.expect("a segment"), b"BITTSJNL and no more").expect("written");
    assert!(backup(&first, &second).is_err());
    assert!(is_empty());
}

#[test]
fn only_a_new_directory_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("mine"), "").expect("written");
    let said = import(folder.path(), EVERY_LINE.as_bytes()).expect_err("refused").to_string();
    assert_eq!(said, format!("{}: it is not empty: nothing is written", folder.path().display()));
    assert!(folder.path().join("mine").exists());
}
