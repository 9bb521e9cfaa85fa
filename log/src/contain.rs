//! Libraries may panic on bytes that nobody ever wrote. Where such bytes come from a file, that is damage to be named
//! like any other, not the end of the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `decode`; a panic in it becomes the error, with the panic's message. What `decode` had in its hands is not to be
/// used after an error.
pub(crate) fn contained<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|panic| format!("the decoder panicked: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(contained(|| 1), Ok(1));
        let number = 7;
        let error = contained(|| panic!("slice of {number}")).map(|()| 0);
        assert_eq!(error, Err("the decoder panicked: slice of 7".to_owned()));
    }
}
