//! What exists outlives the appliance: restarts and reboots, kills, full disks, damaged files.

mod client;
mod damage;
mod full_disk;
mod ledger;
mod restarts;
mod state;
mod storm;
