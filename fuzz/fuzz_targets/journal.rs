#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bitts_sim::fuzz::journal(data));
