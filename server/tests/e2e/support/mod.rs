//! What the tests share: the process under test, receivers for what it sends, clients that read what it wrote.

mod influxd;
mod input;
mod process;
mod python;
mod receiver;
mod wait;

pub use self::influxd::Influxd;
pub use self::input::{examples_dir, machine_csv, machine_csv_missing, pipeline};
pub use self::process::{Run, command, free_port};
pub use self::python::python;
pub use self::receiver::{Receiver, Request};
pub use self::wait::{eventually, within};
