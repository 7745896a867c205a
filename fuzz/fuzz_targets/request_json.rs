#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| hostile::targets::request_json::run(input));
