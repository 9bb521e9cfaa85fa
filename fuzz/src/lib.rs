//! What all targets share: panics that the code under test catches itself are no findings, and an allocation that no
//! input of this size can justify is one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::{Mutex, PoisonError};

/// No length field of an input of a few kilobytes justifies more. Parquet's own are 32 bits wide and may ask for 2 GiB.
const MAX_ALLOCATION_BYTES: usize = 1 << 31;

/// Names the folder that seeds are written into.
const SEEDS: &str = "THERMOCLINE_WRITE_SEEDS";

/// The system's allocator, which refuses what no input justifies.
struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

// SAFETY: hands everything on to the system's allocator, or ends the process.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

fn check(bytes: usize) {
    if bytes > MAX_ALLOCATION_BYTES {
        // Nothing may be allocated here; the debugger or the backtrace of the abort tells where it was.
        std::process::abort();
    }
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Run once before the first input. libFuzzer's own hook ends the process at every panic; some are caught by the code under
/// test, and those that are not end the process in the harness.
///
/// When it is asked for, writes the inputs that all targets begin with, and ends.
pub fn start() {
    if let Some(folder) = std::env::var_os(SEEDS) {
        thermocline_log::fuzzing::write_seeds(folder.as_ref()).expect("seeds can be written");
        thermocline_gateway::fuzzing::write_seeds(folder.as_ref()).expect("seeds can be written");
        std::process::exit(0);
    }
    std::panic::set_hook(Box::new(|panic| {
        let mut last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        // The harness cannot be unwound: a panic that nobody has caught ends in a second one.
        if panic.payload_as_str().is_some_and(|text| text.contains("cannot unwind")) {
            eprintln!("{last}\n{}", Backtrace::force_capture());
        } else {
            *last = panic.to_string();
        }
    }));
}
