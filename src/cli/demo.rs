//! `weft demo`.

use std::process::ExitCode;

use super::Complaint;

pub(super) fn demo() -> Result<ExitCode, Complaint> {
    Err(Complaint::text("not yet"))
}
