//! Frames built naively, changed by weft-frame, and read back by others.

mod checksum;
mod coalesce;
mod frames;
mod hostile;
mod kernel;
mod offload;
mod reading;
mod segment;
