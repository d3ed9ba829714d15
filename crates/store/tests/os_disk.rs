//! A directory of the operating system.

use std::fs::File;
use std::io::Read;

use bitts_store::disk::{Disk, OsDisk};

#[test]
fn a_file_that_somebody_copies_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = OsDisk::open(folder.path()).expect("a disk");
    disk.create("journal-1").and_then(|()| disk.write("journal-1", 0, b"kept")).expect("a file");
    let mut copied = File::open(folder.path().join("journal-1")).expect("the file");
    copied.lock_shared().expect("a lock");
    assert!(!disk.rename_unread("journal-1", "spare-1").expect("no failure"));
    disk.remove("journal-1").expect("no failure");
    let mut text = String::new();
    copied.read_to_string(&mut text).expect("what was there");
    assert_eq!(text, "kept");
    drop(copied);

    disk.create("journal-2").expect("a file");
    assert!(disk.rename_unread("journal-2", "spare-2").expect("no failure"));
    File::open(folder.path().join("spare-2")).expect("it").try_lock().expect("it is free");
}
