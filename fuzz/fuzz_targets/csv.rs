#![no_main]

libfuzzer_sys::fuzz_target!(init: thermocline_fuzz::start(), |data: &[u8]| thermocline_gateway::fuzzing::csv(data));
